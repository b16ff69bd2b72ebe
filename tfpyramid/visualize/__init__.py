"""Pictures of what was learned, for `savefig`. They are drawn with matplotlib, which is imported by the first."""

from tfpyramid.visualize.kernels import show_kernels
from tfpyramid.visualize.sampling_grid import show_sampling_grid
from tfpyramid.visualize.strides import show_strides

__all__ = ["show_kernels", "show_sampling_grid", "show_strides"]
