"""Places of a map to read in training: its largest local maxima, and places drawn from all of it."""

import numpy as np
import tensorflow as tf

from tfpyramid.ops import maxima
from tfpyramid.ops.shapes import dimensions


def draw(
    maps: tf.Tensor, num_peaks: int, grid: int, jitter: int, separation: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the positions of `num_peaks + grid^2` pixels of each map, [batch, n, 2], and the values there, [batch, n].

    The pixels are the largest local maxima, moved by at most `jitter` rows and columns, and one for each cell of a grid
    over the map: the one that holds a position drawn uniformly in that cell. `seed` determines the draws, also under
    XLA. The maps are float32 or float64, [batch, height, width, 1].
    """
    batch, height, width, _ = dimensions(maps)
    index, found = maxima.largest(maps, num_peaks, separation)
    # A GPU computes with int64; it leaves int32 to the host.
    index, rows, columns = (tf.cast(n, tf.int64) for n in (index, height, width))
    uniform = tf.random.stateless_uniform([batch, num_peaks + grid**2, 2], seed, alg="philox")
    shift = tf.cast(tf.floor(uniform[:, :num_peaks] * (2 * jitter + 1)), tf.int64) - jitter
    moved = tf.stack([index // columns, index % columns], -1) + shift
    cells = np.stack(np.meshgrid(range(grid), range(grid), indexing="ij"), -1).reshape(-1, 2)
    drawn = (uniform[:, num_peaks:] + np.float32(cells)) * (tf.cast([height, width], tf.float32) / max(grid, 1))
    # A product may be rounded up to the side of the map.
    places = tf.clip_by_value(tf.concat([moved, tf.cast(drawn, tf.int64)], 1), 0, tf.stack([rows - 1, columns - 1]))
    index = places[..., 0] * columns + places[..., 1]
    found = tf.pad(found, [[0, 0], [0, grid**2]], constant_values=True)
    return maxima.read(maps, index, found)
