"""Process images that do not fit in memory."""

from tfpyramid.scale.ome_zarr import write_ome_zarr
from tfpyramid.scale.tiles import pyr_down_tiles, pyr_up_tiles

__all__ = ["pyr_down_tiles", "pyr_up_tiles", "write_ome_zarr"]
