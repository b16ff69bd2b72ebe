"""Base class of the downsampling layers with integer strides."""

from __future__ import annotations

from typing import Any

from tfpyramid import _checks, _size_checks
from tfpyramid._sizes import level_size, per_axis
from tfpyramid.layers._base import ImageLayer
from tfpyramid.ops import borders, kernels


class StridedLayer(ImageLayer):
    """A layer with `strides` and `border`, which maps a side of n to ceil(n / strides)."""

    filters: int | None = None  # Channels of the output; None means those of the input.
    kernel_size: Any = 3  # Rows and columns of the window that an output reads, one number or two.
    strides_may_differ = False  # On the two axes.

    def __init__(self, strides: int | tuple[int, int] = 2, *, border: str = "reflect", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strides = (_size_checks if self.strides_may_differ else _checks).strides(strides, 2)
        self.border = borders.check(border)

    @property
    def phase(self) -> Any:
        """Position of output sample 0 in the input, in samples: the middle of its window, 0 or 1/2.

        It is a pair (rows, columns) if the two differ.
        """
        rows, columns = map(kernels.symmetric_phase, per_axis(self.kernel_size))
        return rows if rows == columns else (rows, columns)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, height, width, channels = _checks.image_shape("images", input_shape)
        return (batch, *map(level_size, (height, width), per_axis(self.strides)), self.filters or channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": self.strides, "border": self.border}
