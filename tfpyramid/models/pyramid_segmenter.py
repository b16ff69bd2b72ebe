"""pyramid_segmenter."""

from __future__ import annotations

from typing import Any

from tfpyramid import _checks, layers
from tfpyramid._compat import keras
from tfpyramid.layers._base import check_activation
from tfpyramid.models._batch_layers import AsManyAsImages, AtLeastOneSample
from tfpyramid.models._pyramid_model import PyramidModel


def pyramid_segmenter(
    num_classes: int,
    *,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    num_levels: int = 4,
    filters: int = 32,
    num_convolutions: int = 2,
    downsample: keras.layers.Layer | None = None,
    scale_factor: float | None = 2.0,
    phase: float | None = None,
    classifier_activation: Any = "softmax",
    name: str = "pyramid_segmenter",
) -> keras.Model:
    """Return a U-shaped model that predicts a class for each pixel.

    `LearnablePyramid` makes the levels. At each level, `PyramidConv2D`, batch normalization and ReLU follow each other
    `num_convolutions` times. `FeaturePyramid` adds the features of coarser levels to finer ones. `UpsampleConcat`
    resizes all levels to the size of the images and concatenates them, and two convolutions return the classes. Coarse
    levels cover a large part of the image, fine levels locate its edges, and each pixel has the features of all levels.

    Convention:
        Images may have any size from 1 by 1, for any `num_levels`; sides need not be divisible by a number.
        Batch normalization follows every convolution except the last; without it such a model hardly trains. Its
        momentum is 0.9, so that moving averages are accurate after a hundred steps.
        The mask is float32, under mixed precision too.

    Args:
        num_classes: channels of the mask, from 1 to 65536.
        input_shape: (height, width, channels) of the images; height and width may be None, for any size.
        num_levels: number of levels of the pyramid, from 1 to 64. Each level doubles the receptive field.
        filters: channels of the features at every level, from 1 to 65536.
        num_convolutions: number of convolutions at each level, from 1 to 64.
        downsample: the layer that makes the next level from a level, as in `LearnablePyramid`.
        scale_factor: ratio of a level's sides to those of the next, made by `downsample`. None means that the sizes
            follow no factor.
        phase: position of sample 0 of a level, in samples of the level before it. None means the phase that
            `downsample` states (`LearnablePyramid.phase`), or 0 if `scale_factor` is None.
        classifier_activation: Keras activation of the mask: "softmax" for one class per pixel, "sigmoid" for a single
            class or overlapping classes, None for logits.
        name: name of the model.

    Returns:
        A `keras.Model` from images [batch, height, width, channels] to a mask [batch, height, width, num_classes].

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> model = models.pyramid_segmenter(5, num_levels=3, filters=8)
        >>> tuple(model(tf.ones([1, 33, 47, 3])).shape)
        (1, 33, 47, 5)

    References:
        Ronneberger, Fischer and Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015, section 2;
        Kirillov, Girshick, He and Dollar, Panoptic Feature Pyramid Networks, 2019, section 3 (the levels of a feature
        pyramid resized to one size for segmentation).
    """
    name = _checks.text("name", name)
    num_classes = _checks.channels("num_classes", num_classes, "the channels of the mask")
    meaning = "the number at each level"
    num_convolutions = _checks.integer("num_convolutions", num_convolutions, 1, meaning, maximum=_checks.MOST_LEVELS)
    activation = check_activation("classifier_activation", classifier_activation)
    if num_classes == 1 and activation is keras.activations.softmax:
        raise ValueError(
            "`classifier_activation` must not be 'softmax' if `num_classes` is 1: the softmax of one class is 1 "
            "everywhere. Use 'sigmoid', or None for logits. "
            f"{_checks.received('classifier_activation', classifier_activation)}"
        )
    images = keras.Input(_checks.input_shape(input_shape), name="image")
    pyramid = layers.LearnablePyramid(num_levels, downsample, name="pyramid")
    if phase is None:
        phase = 0.0 if scale_factor is None else pyramid.phase
    x = pyramid(AtLeastOneSample(name="at_least_one")(images))
    for k in range(num_convolutions):
        x = layers.PyramidConv2D(filters, use_bias=False, name=f"features_{k}")(x)
        x = _per_level(keras.layers.BatchNormalization(momentum=0.9), f"features_norm_{k}", share_weights=False)(x)
        x = _per_level(keras.layers.ReLU(), f"features_relu_{k}")(x)
    levels_at: dict[str, Any] = {"scale_factor": scale_factor, "phase": phase}
    x = layers.FeaturePyramid(filters, **levels_at, batch_norm=True, name="top_down")(x)
    x = _per_level(keras.layers.ReLU(), "top_down_relu")(x)
    x = layers.UpsampleConcat(**levels_at, name="all_levels")(x)
    x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name="head")(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name="head_norm")(x)
    x = keras.layers.ReLU(name="head_relu")(x)
    x = keras.layers.Conv2D(num_classes, 1, name="logits")(x)
    (x,) = AsManyAsImages(name="as_many_as_images")([x, images])
    mask = keras.layers.Activation(activation, dtype="float32", name="mask")(x)
    return PyramidModel(images, mask, name=name)


def _per_level(layer: keras.layers.Layer, name: str, *, share_weights: bool = True) -> layers.PerLevel:
    return layers.PerLevel(layer, share_weights=share_weights, name=name)
