"""What the layers that go down by whole strides share."""

from __future__ import annotations

from typing import Any

from tfpyramid import _checks
from tfpyramid._sizes import level_sizes
from tfpyramid.layers._base import ImageLayer
from tfpyramid.ops import borders, kernels


class StridedLayer(ImageLayer):
    """Holds `strides` and `border`; a side of n becomes ceil(n / strides)."""

    filters: int | None = None  # Channels of the output; None means as many as the input has.
    kernel_size: int = 3  # Rows and columns of the window that an output is made of.

    def __init__(self, strides: int = 2, *, border: str = "reflect", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strides = _checks.strides(strides, 2)
        self.border = borders.check(border)

    @property
    def phase(self) -> float:
        """Where output sample 0 sits in the input, in samples: in the middle of its window, 0 or 1/2."""
        return kernels.symmetric_phase(self.kernel_size)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, height, width, channels = _checks.image_shape("images", input_shape)
        return (batch, *level_sizes((height, width), self.strides), self.filters or channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": self.strides, "border": self.border}
