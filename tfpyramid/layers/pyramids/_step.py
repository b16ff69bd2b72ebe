"""Base classes of the Gaussian and Laplacian pyramids and of the inverse: the arguments of one downsampling step."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks, _sizes
from tfpyramid.layers._base import ImageLayer, TakesLevels
from tfpyramid.ops import borders, kernels, pyramid


class StepLayer(ImageLayer):
    """A layer with `scale_factor` and `border`, which it checks and writes to its configuration."""

    def __init__(self, *, scale_factor: float = 2.0, border: str = "reflect", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale_factor = _checks.scale_factor(scale_factor)
        self.border = borders.check(border)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale_factor": self.scale_factor, "border": self.border}


class FixedStepLayer(StepLayer):
    """A `StepLayer` whose kernel is an argument."""

    def __init__(self, *, kernel: kernels.Kernel = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel = kernels.check_constant(kernel)

    @property
    def step(self) -> dict[str, Any]:
        """The keyword arguments of `pyr_down` and of the ops that call it."""
        return {"scale_factor": self.scale_factor, "kernel": self.kernel, "border": self.border}

    def get_config(self) -> dict[str, Any]:
        kernel = list(self.kernel) if isinstance(self.kernel, tuple) else self.kernel
        return {**super().get_config(), "kernel": kernel}


class PyramidLayer(StepLayer):
    """A `StepLayer` that maps images to `num_levels` levels."""

    upsampled_levels = 0

    def __init__(self, num_levels: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_levels = None if num_levels is None else _checks.num_levels(num_levels)

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        shape = _checks.image_shape("images", input_shape)
        count = pyramid.level_count(shape, self.num_levels, self.scale_factor, self.upsampled_levels)
        sizes: list[tuple[int | None, ...]] = [shape[1:3]]
        for size in pyramid.finer_sizes(shape[1:3], self.scale_factor, self.upsampled_levels):
            sizes.insert(0, size)
        while len(sizes) < count:
            sizes.append(_sizes.level_sizes(sizes[-1], self.scale_factor))
        return [(shape[0], *size, shape[3]) for size in sizes]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_levels": self.num_levels}


class FixedPyramidLayer(PyramidLayer, FixedStepLayer):
    """A `PyramidLayer` whose kernel is an argument."""

    @property
    def phase(self) -> float:
        """Position of sample 0 of a level, in samples of the level before it: `ops.phase(kernel, scale_factor)`."""
        return kernels.phase(self.kernel, self.scale_factor)


class InverseLayer(TakesLevels, ImageLayer):
    """A layer that adds the levels of a Laplacian pyramid up to images.

    Attributes:
        step: the keyword arguments of `pyr_up` for the pyramid.
        scale_factor: that of the pyramid.
    """

    step: Any
    scale_factor: Any

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        super().build(input_shape)

    def call(self, levels: list[tf.Tensor]) -> tf.Tensor:
        return pyramid.reconstruct(levels, **self.step)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        shapes = _level_checks.level_shapes(input_shape)
        _level_checks.sizes_follow(shapes, self.scale_factor, exact=True)
        _level_checks.same_channels(shapes)
        return shapes[0]
