"""LearnableLaplacianPyramid."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import register
from tfpyramid.layers._base import check_built
from tfpyramid.layers.downsampling._start import classic_taps, logarithm
from tfpyramid.layers.pyramids._step import PyramidLayer
from tfpyramid.ops import kernels, pyramid


@register
class LearnableLaplacianPyramid(PyramidLayer):
    """A Laplacian pyramid with a learned filter, which `LearnableLaplacianReconstruction` inverts exactly.

    Use the pair to learn which detail belongs to which band, for example to compress or denoise images. Whatever the
    filter learns, no information is lost.

    Equation:
        That of `LaplacianPyramid`, `residual[k] = gaussian[k] - pyr_up(gaussian[k + 1], size of gaussian[k])`, with the
        taps `w = normalize_kernel(v, normalization)` for learned values v. `pyr_down` and `pyr_up` apply the same taps
        on both axes and at each step.

    Convention:
        Untrained, it is `LaplacianPyramid` with the binomial filter, for 5 taps and a factor of 2. With other numbers
        it is a Gaussian of sigma scale_factor / 3. The taps always have the sum 1. Positions and sizes are those of
        `GaussianPyramid`. Taps are computed in at least float32, whatever the dtype policy is.

    Args:
        num_levels: length of the list, from 1 to 64. None means as many levels as fit: until the shorter side is 1 or,
            at factors below 2, until it no longer shrinks. This requires known sides.
        kernel_size: number of taps on each axis, from 1 to 1024.
        normalization: "sum" for taps of either sign, or "softmax" for positive taps; see `ops.normalize_kernel`.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        That of `GaussianPyramid`.

    Attributes:
        taps: tensor [kernel_size], the current taps.
        phase: position of sample 0 of a level, in samples of the level before it: 0, or 1/2 if `kernel_size` is even.
            This describes the untrained layer; learned taps can move the level by a fraction of a sample.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> images = tf.random.uniform([1, 33, 47, 3])
        >>> pyramid = LearnableLaplacianPyramid(num_levels=4)
        >>> restored = LearnableLaplacianReconstruction(pyramid)(pyramid(images))
        >>> bool(tf.reduce_max(tf.abs(restored - images)) < 1e-6)
        True

    References:
        Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section III (the fixed filter).
    """

    def __init__(
        self, num_levels: int | None = None, *, kernel_size: int = 5, normalization: str = "sum", **kwargs: Any
    ) -> None:
        super().__init__(num_levels, **kwargs)
        self.kernel_size = _checks.kernel_size(kernel_size, "the number of taps on each axis")
        self.normalization = _checks.one_of("normalization", normalization, ("sum", "softmax"))

    def build(self, input_shape: Any) -> None:
        start = classic_taps(self.kernel_size, self.scale_factor)
        # In half precision the taps would not sum to 1.
        self.tap_values = self.add_parameter(
            "tap_values", logarithm(start) if self.normalization == "softmax" else start
        )
        super().build(input_shape)

    @property
    def taps(self) -> tf.Tensor:
        """The current taps, [kernel_size]; their sum is 1."""
        check_built(self, "taps")
        return kernels.normalize_kernel(tf.convert_to_tensor(self.tap_values), self.normalization, axes=0)

    @property
    def step(self) -> dict[str, Any]:
        """The keyword arguments of `pyr_down` and of the ops that call it."""
        return {"scale_factor": self.scale_factor, "kernel": self.taps, "border": self.border}

    @property
    def phase(self) -> float:
        """Position of sample 0 of a level, in samples of the level before it: 0 or 1/2."""
        return kernels.symmetric_phase(self.kernel_size)

    def call(self, images: tf.Tensor) -> list[tf.Tensor]:
        return pyramid.laplacian_pyramid(images, self.num_levels, **self.step)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kernel_size": self.kernel_size, "normalization": self.normalization}
