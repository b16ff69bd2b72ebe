"""Base class of the layers that resize levels to the size of one of them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid.layers._base import ImageLayer, TakesLevels
from tfpyramid.ops import fusion, resample


class AlignedLayer(TakesLevels, ImageLayer):
    """A layer that aligns levels; it checks the arguments of `align_levels` and writes them to its configuration."""

    def __init__(
        self,
        target_level: int = 0,
        *,
        scale_factor: float | None = 2.0,
        interpolation: str = "bilinear",
        phase: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        meaning, most = "the index of a level", _checks.LARGEST
        self.target_level = _checks.integer("target_level", target_level, -most, meaning, maximum=most - 1)
        self.scale_factor = None if scale_factor is None else _checks.scale_factor(scale_factor)
        self.interpolation = _checks.one_of("interpolation", interpolation, resample.INTERPOLATIONS)
        self.phase = _checks.phase(phase, self.scale_factor)

    def aligned(self, levels: list[tf.Tensor]) -> list[tf.Tensor]:
        """Return the levels at the size of the target level."""
        return fusion.align_levels(
            levels,
            self.target_level,
            scale_factor=self.scale_factor,
            interpolation=self.interpolation,
            phase=self.phase,
        )

    def aligned_shapes(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        """Return the shapes of the levels at the size of the target level."""
        shapes = _level_checks.level_shapes(input_shape)
        target = fusion.check_target_level(self.target_level, len(shapes))
        fusion.check_sizes(shapes, target, self.scale_factor)
        return [(*shapes[target][:3], shape[3]) for shape in shapes]

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        super().build(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "target_level": self.target_level,
            "scale_factor": self.scale_factor,
            "interpolation": self.interpolation,
            "phase": self.phase,
        }
