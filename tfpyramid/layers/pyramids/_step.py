"""Base classes of the fixed pyramids: the arguments of one downsampling step."""

from __future__ import annotations

from typing import Any

from tfpyramid import _checks, _sizes
from tfpyramid.layers._base import ImageLayer
from tfpyramid.ops import borders, kernels, pyramid


class StepLayer(ImageLayer):
    """A layer with `scale_factor`, `kernel` and `border`, which it checks and writes to its configuration."""

    def __init__(
        self, *, scale_factor: float = 2.0, kernel: kernels.Kernel = None, border: str = "reflect", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.scale_factor = _checks.scale_factor(scale_factor)
        self.kernel = kernels.check_constant(kernel)
        self.border = borders.check(border)

    @property
    def step(self) -> dict[str, Any]:
        """The keyword arguments of `pyr_down` and of the ops that call it."""
        return {"scale_factor": self.scale_factor, "kernel": self.kernel, "border": self.border}

    def get_config(self) -> dict[str, Any]:
        kernel = list(self.kernel) if isinstance(self.kernel, tuple) else self.kernel
        return {**super().get_config(), **self.step, "kernel": kernel}


class PyramidLayer(StepLayer):
    """A `StepLayer` that maps images to `num_levels` levels."""

    upsampled_levels = 0

    def __init__(self, num_levels: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_levels = None if num_levels is None else _checks.num_levels(num_levels)

    @property
    def phase(self) -> float:
        """Position of sample 0 of a level, in samples of the level before it: `ops.phase(kernel, scale_factor)`."""
        return kernels.phase(self.kernel, self.scale_factor)

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
