"""Figures of pyramids, what they learned, fixations and flows.

They need matplotlib: `pip install 'tfpyramid[visualize]'`.
"""

from tfpyramid.visualize.cost_curve import show_cost_curve
from tfpyramid.visualize.fixations import show_fixations
from tfpyramid.visualize.flow import flow_colors, show_flow
from tfpyramid.visualize.gates import show_gates
from tfpyramid.visualize.gradient_norms import show_gradient_norms
from tfpyramid.visualize.kernels import show_kernels
from tfpyramid.visualize.level_weights import show_level_weights
from tfpyramid.visualize.pyramid import show_pyramid
from tfpyramid.visualize.sampling_grid import show_sampling_grid
from tfpyramid.visualize.strides import show_strides

__all__ = [
    "flow_colors",
    "show_cost_curve",
    "show_fixations",
    "show_flow",
    "show_gates",
    "show_gradient_norms",
    "show_kernels",
    "show_level_weights",
    "show_pyramid",
    "show_sampling_grid",
    "show_strides",
]
