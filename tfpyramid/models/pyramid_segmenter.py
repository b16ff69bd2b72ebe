"""pyramid_segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, layers
from tfpyramid._compat import keras, shape_tuple
from tfpyramid.layers._base import check_activation
from tfpyramid.models._at_image_size import AtImageSize
from tfpyramid.models._batch_layers import AsManyAsImages, AtLeastOneSample
from tfpyramid.models._pyramid_model import PyramidSegmenter
from tfpyramid.models.feature_levels import check_strides, levels_of


def pyramid_segmenter(
    num_classes: int,
    *,
    backbone: keras.Model | None = None,
    strides: Sequence[int] = (4, 8, 16, 32),
    input_shape: tuple[int | None, int | None, int] | None = None,
    num_levels: int = 4,
    filters: int = 32,
    num_convolutions: int = 2,
    downsample: keras.layers.Layer | None = None,
    scale_factor: float | None = 2.0,
    phase: float | None = None,
    classifier_activation: Any = "softmax",
    name: str = "pyramid_segmenter",
) -> keras.Model:
    """Return a U-shaped model that predicts a class for each pixel, from a small network or a backbone.

    `LearnablePyramid` makes the levels. At each level, `PyramidConv2D`, batch normalization and ReLU follow each other
    `num_convolutions` times. `FeaturePyramid` adds the features of coarser levels to finer ones. `UpsampleConcat`
    resizes all levels to the size of the images and concatenates them, and two convolutions return the classes. Coarse
    levels cover a large part of the image, fine levels locate its edges, and each pixel has the features of all levels.

    With a `backbone`, its feature maps are the levels, and replace the pyramid and the convolutions at each level. All
    levels are resized to the finest map, and the logits are magnified from there to the size of the images.

    Convention:
        Images may have any size from 1 by 1, for any `num_levels`; sides need not be divisible by a number.
        Batch normalization follows every convolution except the last; without it such a model hardly trains. Its
        momentum is 0.9, so that moving averages are accurate after a hundred steps.
        The mask is float32, under mixed precision too.
        A backbone is the model's layer "backbone", and gets the images as they are: preprocess them as it requires. It
        may be frozen (`backbone.trainable = False`). Images must be as large as it requires.

    Args:
        num_classes: channels of the mask, from 1 to 65536.
        backbone: any functional Keras model of images, such as those of `keras.applications`; see `feature_levels`.
            None means the levels that the arguments `num_levels`, `num_convolutions` and `downsample` describe, which
            a backbone replaces.
        strides: strides of the maps of the backbone, finest first, each `scale_factor` times the one before; ignored
            without a backbone.
        input_shape: (height, width, channels) of the images; height and width may be None, for any size. None means the
            shape of the images of the backbone, or (None, None, 3).
        num_levels: number of levels of the pyramid, from 1 to 64. Each level doubles the receptive field.
        filters: channels of the features at every level, from 1 to 65536.
        num_convolutions: number of convolutions at each level, from 1 to 64.
        downsample: the layer that makes the next level from a level, as in `LearnablePyramid`. It must be None with a
            backbone.
        scale_factor: ratio of a level's sides to those of the next. None means that the sizes follow no factor.
        phase: position of sample 0 of a level, in samples of the level before it. None means the phase that
            `downsample` states (`LearnablePyramid.phase`), or 0 with a backbone or if `scale_factor` is None.
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
        >>> backbone = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3))
        >>> model = models.pyramid_segmenter(5, backbone=backbone, filters=8)
        >>> tuple(model(tf.ones([1, 65, 97, 3])).shape)
        (1, 65, 97, 5)

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
    scale_factor = None if scale_factor is None else _checks.scale_factor(scale_factor)
    shape: Any = (None, None, 3) if input_shape is None else input_shape
    if backbone is not None:
        strides = check_strides(strides)
        backbone = _check_backbone(backbone, strides, downsample, scale_factor)
        shape = _backbone_shape(backbone, input_shape)
    images = keras.Input(_checks.input_shape(shape), name="image")
    x = AtLeastOneSample(name="at_least_one")(images)
    own_phase: Any = 0.0
    if backbone is not None:
        x = tf.nest.flatten(backbone(x))
    else:
        pyramid = layers.LearnablePyramid(num_levels, downsample, name="pyramid")
        own_phase = 0.0 if scale_factor is None else pyramid.phase
        x = _convolved(pyramid(x), num_convolutions, filters)
    levels_at: dict[str, Any] = {"scale_factor": scale_factor, "phase": own_phase if phase is None else phase}
    x = layers.FeaturePyramid(filters, **levels_at, batch_norm=True, name="top_down")(x)
    x = _per_level(keras.layers.ReLU(), "top_down_relu")(x)
    x = layers.UpsampleConcat(**levels_at, name="all_levels")(x)
    x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name="head")(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name="head_norm")(x)
    x = keras.layers.ReLU(name="head_relu")(x)
    x = keras.layers.Conv2D(num_classes, 1, name="logits")(x)
    if backbone is not None:
        x = _at_image_size(strides[0], scale_factor, _checks.phase(levels_at["phase"]))([x, images])
    (x,) = AsManyAsImages(name="as_many_as_images")([x, images])
    mask = keras.layers.Activation(activation, dtype="float32", name="mask")(x)
    return PyramidSegmenter(images, mask, name=name)


def _convolved(levels: Any, num_convolutions: int, filters: int) -> Any:
    for k in range(num_convolutions):
        levels = layers.PyramidConv2D(filters, use_bias=False, name=f"features_{k}")(levels)
        norm = keras.layers.BatchNormalization(momentum=0.9)
        levels = _per_level(norm, f"features_norm_{k}", share_weights=False)(levels)
        levels = _per_level(keras.layers.ReLU(), f"features_relu_{k}")(levels)
    return levels


def _check_backbone(
    backbone: keras.Model, strides: Sequence[int], downsample: Any, scale_factor: float | None
) -> keras.Model:
    """Return the model of the levels of a backbone."""
    if downsample is not None:
        rule = "`downsample` must be None with a `backbone`, which makes the levels."
        raise ValueError(f"{rule} {_checks.received('downsample', downsample)}")
    levels = levels_of(backbone, strides, name="backbone", argument="backbone")
    if scale_factor is not None and any(a * scale_factor != b for a, b in zip(strides, strides[1:])):
        rule = f"`strides` must each be `scale_factor` = {scale_factor:g} times the one before."
        raise ValueError(f"{rule} {_checks.received('strides', strides)}")
    return levels


def _backbone_shape(backbone: keras.Model, input_shape: Any) -> tuple[int | None, ...]:
    """Return the shape of the images, which must be that of the images of the backbone where that is known."""
    own = shape_tuple(backbone.inputs[0].shape)[1:]
    shape = own if input_shape is None else _checks.input_shape(input_shape)
    if any(n is not None and n != m for n, m in zip(own, shape)):
        raise ValueError(
            f"`input_shape` must be that of the images of the `backbone`, {own}. For images of any size, build the "
            f"backbone with input_shape=(None, None, {own[2]}). {_checks.received('input_shape', input_shape)}"
        )
    return shape


def _at_image_size(stride: int, scale_factor: float | None, phase: float) -> AtImageSize:
    """Return the layer that magnifies the finest map of a backbone; the phases of all levels before it add up."""
    if scale_factor is None:
        return AtImageSize(None, name="at_image_size")
    return AtImageSize(stride, phase * (stride - 1) / (scale_factor - 1), name="at_image_size")


def _per_level(layer: keras.layers.Layer, name: str, *, share_weights: bool = True) -> layers.PerLevel:
    return layers.PerLevel(layer, share_weights=share_weights, name=name)
