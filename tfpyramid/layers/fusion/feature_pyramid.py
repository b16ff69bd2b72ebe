"""FeaturePyramid."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras, register
from tfpyramid._sizes import level_sizes
from tfpyramid.layers._base import ImageLayer, TakesLevels, check_initializer, check_regularizer, fresh_initializer
from tfpyramid.layers.fusion.per_level import PerLevel
from tfpyramid.layers.fusion.pyramid_conv2d import PyramidConv2D
from tfpyramid.ops import fusion, kernels, resample
from tfpyramid.ops.shapes import sides


@register
class FeaturePyramid(TakesLevels, ImageLayer):
    """A feature pyramid network (FPN): levels of features, each combined with all coarser levels.

    It takes the levels of a backbone or of a pyramid and returns levels with `filters` channels. Use it if the answer
    is read from several levels, as in object detection.

    Equation:
        `lateral[k] = conv1x1(x[k])`; `top_down[k] = lateral[k] + up(top_down[k + 1])`, and the coarsest is
        `lateral[-1]`; `y[k] = conv3x3(top_down[k])`, with separate weights for each level. Then `extra_levels` times
        `y[k] = y[k - 1][::2, ::2]`, the published P6; with another factor or phase, `y[k - 1]` at those positions.
        There is no activation. With `batch_norm` a batch normalisation follows each convolution and replaces its bias.

    Convention:
        The levels, and the outputs, are finest first. A coarser level is upsampled to the actual size of the finer one,
        so sides need not be divisible by anything. A level's sides are those of the level before it divided by the
        factor, rounded up or down; or up to three less if the factor is an integer, as after convolutions without
        padding. Beyond its last sample a level is constant.
        Sample i of a level sits at i * scale_factor + phase of the level before it, however its sides are rounded.
        "nearest" takes the nearer of two samples, and the first of two equally near ones. At factor 2 and the phases 0
        and 1/2, output samples 2i and 2i + 1 are both input sample i, the published repetition.
        The phase of a backbone follows from its padding. It is 0 for the pyramids of this package with their defaults
        (`pyramid.phase`) and for ResNets; 1/2 for pooling of 2 by 2; 1 for 3 by 3 kernels with stride 2 and no padding
        at the start: `padding="valid"`, and "same" on even sides. The EfficientNets of `keras.applications` pad in this
        way if the sides of their input are unknown, and round odd sides down.
        Extra levels are read at i * scale_factor + phase, linearly between samples.

    Args:
        filters: channels of every output, from 1 to 65536.
        extra_levels: number of coarser levels to add by decimating the coarsest output, from 0 to 64.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024. None is for levels
            without a common factor: they are resized as by `tf.image.resize`, which aligns their centres, and extra
            levels are halved.
        interpolation: "nearest", as published, or "bilinear".
        phase: position of sample 0 of a level, in samples of the level before it; 0 if `scale_factor` is None.
        batch_norm: add a batch normalisation after each convolution. Its momentum is 0.9, because with Keras's 0.99 the
            statistics do not converge in a short training.
        kernel_initializer: Keras initializer of the kernels.
        kernel_regularizer: Keras regularizer of the kernels.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list or dict of [batch, height, width, channels], finest first, with one batch size. Sides are at least 1 and
        may be unknown. Levels may have different numbers of channels.

    Output shape:
        A list of [batch, height, width, filters], finest first, followed by `extra_levels` coarser ones.

    Attributes:
        lateral: the 1 by 1 convolutions, a `PyramidConv2D`.
        output_conv: the 3 by 3 convolutions, a `PyramidConv2D`.

    Raises:
        ValueError: if an argument or the input breaks a rule above, such as levels in the wrong order.

    Example:
        >>> levels = LearnablePyramid(3, LearnableDownsample2D(filters=8))(tf.ones([1, 33, 47, 3]))
        >>> [tuple(y.shape) for y in FeaturePyramid(16, extra_levels=1)(levels)]
        [(1, 33, 47, 16), (1, 17, 24, 16), (1, 9, 12, 16), (1, 5, 6, 16)]

    References:
        Lin, Dollar, Girshick, He, Hariharan and Belongie, Feature Pyramid Networks for Object Detection, 2017,
        section 3 (the network), section 4.1 (P6).
    """

    def __init__(
        self,
        filters: int,
        *,
        extra_levels: int = 0,
        scale_factor: float | None = 2.0,
        interpolation: str = "nearest",
        phase: float = 0.0,
        batch_norm: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = _checks.channels("filters", filters, "the channels of every output")
        meaning = "the number of coarser levels to add"
        self.extra_levels = _checks.integer("extra_levels", extra_levels, 0, meaning, maximum=_checks.MOST_LEVELS)
        self.scale_factor = None if scale_factor is None else _checks.scale_factor(scale_factor)
        self.interpolation = _checks.one_of("interpolation", interpolation, resample.INTERPOLATIONS)
        self.phase = _checks.phase(phase, self.scale_factor)
        self.batch_norm = _checks.flag("batch_norm", batch_norm)
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)
        self.lateral = self._convolutions("lateral", 1)
        self.output_conv = self._convolutions("output_conv", 3)
        self.lateral_norm = self._normalisations("lateral_norm") if batch_norm else None
        self.output_norm = self._normalisations("output_norm") if batch_norm else None

    def _convolutions(self, name: str, kernel_size: int) -> PyramidConv2D:
        return PyramidConv2D(
            self.filters,
            kernel_size,
            use_bias=not self.batch_norm,
            # A fresh copy, because an initializer that is used twice draws the same numbers.
            kernel_initializer=fresh_initializer(self.kernel_initializer),
            kernel_regularizer=self.kernel_regularizer,
            name=name,
            dtype=self.dtype_policy,
        )

    def _normalisations(self, name: str) -> PerLevel:
        normalise = keras.layers.BatchNormalization(momentum=0.9, name="batch_norm", dtype=self.dtype_policy)
        return PerLevel(normalise, share_weights=False, name=name, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        shapes = self.compute_output_shape(input_shape)[: len(_level_checks.level_shapes(input_shape))]
        self.lateral.build(input_shape)
        for part in (self.output_conv, self.lateral_norm, self.output_norm):
            if part is not None:
                part.build(shapes)
        super().build(input_shape)

    def call(self, levels: list[tf.Tensor], training: bool | None = None) -> list[tf.Tensor]:
        laterals = self.lateral(fusion.following(levels, self.scale_factor))
        if self.lateral_norm is not None:
            laterals = self.lateral_norm(laterals, training=training)
        top_down = laterals[-1:]
        for lateral in laterals[-2::-1]:
            top_down.insert(0, lateral + self._magnified(top_down[0], lateral))
        outputs = self.output_conv(top_down)
        if self.output_norm is not None:
            outputs = self.output_norm(outputs, training=training)
        for _ in range(self.extra_levels):
            outputs.append(self._decimated(outputs[-1]))
        return outputs

    def _magnified(self, coarser: tf.Tensor, finer: tf.Tensor) -> tf.Tensor:
        return resample.resize_by(
            coarser, self.scale_factor, sides(finer), interpolation=self.interpolation, phase=self.phase
        )

    def _decimated(self, level: tf.Tensor) -> tf.Tensor:
        kernel = kernels.at_phase([1.0], self._extra_factor, self.phase)
        return resample.pyr_down(level, scale_factor=self._extra_factor, kernel=kernel)

    @property
    def _extra_factor(self) -> float:
        return self.scale_factor or 2.0

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        shapes = _level_checks.level_shapes(input_shape)
        fusion.check_follow(shapes, self.scale_factor)
        outputs: list[tuple[int | None, ...]] = [(*shape[:3], self.filters) for shape in shapes]
        for _ in range(self.extra_levels):
            batch, height, width, _ = outputs[-1]
            outputs.append((batch, *level_sizes((height, width), self._extra_factor), self.filters))
        return outputs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "extra_levels": self.extra_levels,
            "scale_factor": self.scale_factor,
            "interpolation": self.interpolation,
            "phase": self.phase,
            "batch_norm": self.batch_norm,
            "kernel_initializer": keras.saving.serialize_keras_object(self.kernel_initializer),
            "kernel_regularizer": keras.saving.serialize_keras_object(self.kernel_regularizer),
        }
