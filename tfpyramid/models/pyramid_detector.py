"""pyramid_detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, layers
from tfpyramid._compat import keras
from tfpyramid._plain import plain, received
from tfpyramid.models._batch_layers import AsManyAsImages, AtLeastOneSample
from tfpyramid.models._detection_layers import Detections, LevelDistances
from tfpyramid.models._detector_model import PyramidDetector
from tfpyramid.models._pyramid_model import PyramidModel
from tfpyramid.models.feature_levels import levels_of

_PRIOR = 0.01  # The probability of each class before training, as in Lin et al., Focal Loss, 2017, section 4.1.


def pyramid_detector(
    num_classes: int,
    *,
    backbone: keras.Model | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    strides: Sequence[int] = (8, 16, 32),
    extra_levels: int = 2,
    filters: int = 64,
    num_convolutions: int = 2,
    reach: float = 8.0,
    center_radius: float | None = 1.5,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.6,
    max_detections: int = 100,
    max_candidates: int = 1000,
    name: str = "pyramid_detector",
) -> keras.Model:
    """Return a model that finds objects: a box, a class and a score for each.

    It is FCOS, a detector without anchor boxes. `FeaturePyramid` makes levels of features. At each point of each
    level, two heads predict the logits of the classes, the distances to the four sides of a box, and the centre-ness:
    how close the point is to the centre of the box. All levels share the heads. Coarse levels predict large objects,
    because each of their points covers a large part of the image; fine levels predict small objects.

    Train it with `compile` and `fit` as usual, without a loss: the model computes its own, and reports its three parts
    too. They are the focal loss of the classes, the generalized IoU of the boxes, weighted by centre-ness, and the
    cross-entropy of the centre-ness.

    Convention:
        A box is (y_min, x_min, y_max, x_max) in pixels of the image, as `tf.image` orders it. Pixel i covers i to
        i + 1.
        Targets are a dict of arrays: "boxes" [batch, n, 4], and "classes" [batch, n] from 0 to num_classes - 1, or -1
        for padding. Integers are converted. Images without objects have padding only. Boxes are clipped to the image;
        those without area are ignored. `sample_weight` [batch] weighs the loss of each image.
        Sample i of a level with stride s predicts boxes around the middle of pixel i s, at i s + 1/2. It learns a box
        if it lies inside it, within `center_radius` strides from its centre, and if the farthest side is at most
        `reach` strides away, but too far for the level before it; the coarsest level learns all larger ones too. If it
        could learn several boxes, it learns the smallest.
        Predicted distances are stride exp(scale x) with a learned scale for each level. Scores are the square root of
        the product of the probability of the class and the centre-ness. Overlapping boxes of a class are removed by
        `tf.image.combined_non_max_suppression`, which is part of the model and of its exports.
        In training mode the model returns the predictions of all points, as its `network` does. So `compile` takes no
        `metrics`; to measure the average precision, pass the outputs of `predict` to a library such as pycocotools.
        Batch normalization follows each convolution except the last ones; in the heads, each level has its own. Its
        momentum is 0.9. Images may have any size, and an empty batch has empty outputs.
        XLA and TFLite have no combined non-maximum suppression: compile with `jit_compile=False`, which is the default
        of Keras 3 for this model. `model.network`, which has all other operations, can be converted alone.

    Args:
        num_classes: number of classes, from 1 to 65536.
        backbone: any functional Keras model of images, such as those of `keras.applications`. Its last feature maps of
            these `strides` are used, as `feature_levels` returns them. It gets the images as they are: preprocess them
            as the backbone requires. None means a small network with convolutions and batch normalization.
        input_shape: (height, width, channels) of the images; height and width may be None, for any size. None means
            that of the backbone, or (None, None, 3).
        strides: strides of the levels, finest first, each twice the one before. They are powers of 2 from 2 to 1024.
        extra_levels: number of coarser levels to add, from 0 to 64; see `FeaturePyramid`.
        filters: channels of the features at every level and in the heads, from 1 to 65536; 256 as published.
        num_convolutions: number of convolutions in each head before the last, from 1 to 64; 4 as published.
        reach: a level learns boxes with all sides at most this many strides away; 8 as published.
        center_radius: see Convention. None means that all points inside a box learn it.
        score_threshold: detections with lower scores are dropped, from 0 to 1.
        iou_threshold: of two boxes of a class with an intersection over union above this, the one with the lower score
            is dropped, from 0 to 1.
        max_detections: number of detections that are returned for an image, from 1 to 65536.
        max_candidates: number of points with the best scores of which boxes are compared, from 1 to 1048576.
        name: name of the model.

    Returns:
        A `keras.Model` from images [batch, height, width, channels] to a dict, sorted by score: "boxes" [batch,
        max_detections, 4] and "scores" [batch, max_detections], both float32; "classes" [batch, max_detections] and
        "counts" [batch], both int32. After the first `counts` detections of an image, boxes and scores are 0 and
        classes are -1. Its attribute `network` is the model from images to {"logits", "distances", "centerness"}, each
        a list of levels.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> model = models.pyramid_detector(3, strides=(4, 8), extra_levels=0, filters=8)
        >>> model.compile("adam")
        >>> targets = {"boxes": tf.constant([[[2.0, 3.0, 20.0, 30.0]]]), "classes": tf.constant([[2]])}
        >>> history = model.fit(tf.ones([1, 33, 47, 3]), targets, verbose=0)
        >>> {key: tuple(y.shape) for key, y in model(tf.ones([1, 65, 30, 3])).items()}
        {'boxes': (1, 100, 4), 'scores': (1, 100), 'classes': (1, 100), 'counts': (1,)}

    References:
        Tian, Shen, Chen and He, FCOS: Fully Convolutional One-Stage Object Detection, 2019, section 3, and FCOS: A
        Simple and Strong Anchor-Free Object Detector, 2020 (sampling near centres, centre-ness in the head of the
        boxes, the root of the score); Lin, Goyal, Girshick, He and Dollar, Focal Loss for Dense Object Detection, 2017,
        section 3.2.
    """
    name = _checks.text("name", name)
    num_classes = _checks.channels("num_classes", num_classes, "the number of classes")
    filters = _checks.channels("filters", filters, "the channels of the features")
    meaning = "the number in each head before the last"
    num_convolutions = _checks.integer("num_convolutions", num_convolutions, 1, meaning, maximum=_checks.MOST_LEVELS)
    reach = _checks.number("reach", reach, above=0, meaning="in strides", maximum=_checks.LARGEST)
    if center_radius is not None:
        center_radius = _checks.number("center_radius", center_radius, above=0, meaning="in strides, or None")
    strides = _check_strides(strides)
    top_down = layers.FeaturePyramid(filters, extra_levels=extra_levels, batch_norm=True, name="top_down")
    strides += tuple(strides[-1] * 2**k for k in range(1, top_down.extra_levels + 1))
    decoder = Detections(
        strides,
        max_detections=max_detections,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_candidates=max_candidates,
        name="detections",
    )
    own_strides = strides[: len(strides) - top_down.extra_levels]
    levels = None if backbone is None else levels_of(backbone, own_strides, name="backbone", argument="backbone")
    if input_shape is None:
        input_shape = (None, None, 3) if levels is None else levels.input_shape[1:]
    images = keras.Input(_checks.input_shape(input_shape), name="image")
    x = AtLeastOneSample(name="at_least_one")(images)
    x = _small_backbone(x, own_strides, filters) if levels is None else tf.nest.flatten(levels(x))
    x = _per_level(keras.layers.ReLU(), "top_down_relu")(top_down(x))
    predictions = _heads(x, num_classes, filters, num_convolutions, strides)
    flat = AsManyAsImages(name="as_many_as_images")([*(y for levels in predictions.values() for y in levels), images])
    outputs = {key: flat[k * len(strides) : (k + 1) * len(strides)] for k, key in enumerate(predictions)}
    network = PyramidModel(images, outputs, name="network")
    return PyramidDetector(network, decoder, reach, center_radius, name=name)


def _small_backbone(x: Any, strides: Sequence[int], filters: int) -> list[Any]:
    """Return the levels of a network in which two convolutions halve the sides again and again."""
    levels = []
    steps = strides[-1].bit_length() - 1
    for k in range(1, steps + 1):
        # Fewer channels at the two largest sizes, and more at small ones, where they cost little.
        channels = max(filters >> max(3 - k, 0), 1) * (1 if k < 4 else 2)
        for stride in (2, 1):
            label = f"backbone_{2**k}_{'ab'[stride == 1]}"
            # With this padding sample i is in the middle of pixel 2 i for even and odd sides, unlike with "same".
            x = keras.layers.ZeroPadding2D(1, name=f"{label}_pad")(x)
            x = keras.layers.Conv2D(channels, 3, strides=stride, use_bias=False, name=label)(x)
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"{label}_norm")(x)
            x = keras.layers.ReLU(name=f"{label}_relu")(x)
        if 2**k in strides:
            levels.append(x)
    return levels


def _heads(
    x: list[Any], num_classes: int, filters: int, num_convolutions: int, strides: Sequence[int]
) -> dict[str, list[Any]]:
    """Return the predictions for each level."""
    tower = {}
    for head in ("class", "box"):
        y = x
        for k in range(num_convolutions):
            y = layers.PyramidConv2D(filters, use_bias=False, share_weights=True, name=f"{head}_{k}")(y)
            norm = keras.layers.BatchNormalization(momentum=0.9)
            y = _per_level(norm, f"{head}_norm_{k}", share_weights=False)(y)
            y = _per_level(keras.layers.ReLU(), f"{head}_relu_{k}")(y)
        tower[head] = y
    prior = keras.initializers.Constant(math.log(_PRIOR / (1 - _PRIOR)))
    logits = keras.layers.Conv2D(num_classes, 3, padding="same", bias_initializer=prior, dtype="float32")
    distances = keras.layers.Conv2D(4, 3, padding="same", dtype="float32")
    centerness = keras.layers.Conv2D(1, 3, padding="same", dtype="float32")
    return {
        "logits": _per_level(logits, "logits", dtype="float32")(tower["class"]),
        "distances": LevelDistances(strides, name="distances")(
            _per_level(distances, "log_distances", dtype="float32")(tower["box"])
        ),
        "centerness": _per_level(centerness, "centerness", dtype="float32")(tower["box"]),
    }


def _per_level(layer: keras.layers.Layer, name: str, *, share_weights: bool = True, **kwargs: Any) -> layers.PerLevel:
    return layers.PerLevel(layer, share_weights=share_weights, name=name, **kwargs)


def _check_strides(value: Any) -> tuple[int, ...]:
    strides = plain(value)
    strides = tuple(strides) if isinstance(strides, (list, tuple)) else ()
    found = [each for each in map(plain, strides) if isinstance(each, int) and not isinstance(each, bool)]
    powers = all(each in [2**k for k in range(1, 11)] for each in found)
    if not found or len(found) != len(strides) or not powers or any(b != 2 * a for a, b in zip(found, found[1:])):
        raise ValueError(
            "`strides` must be powers of 2 from 2 to 1024, finest first, each twice the one before, such as "
            f"(8, 16, 32). {received('strides', value)}"
        )
    return tuple(found)
