"""Crops around fixations, and the positions of maxima."""

import numpy as np

from tests.references.estimators import soft
from tests.references.fusion import softmax
from tests.references.kernels import phase_of
from tests.references.pyramids import gaussian_pyramid
from tests.references.sampling import bilinear_sample


def foveated_pyramid(x, fixations, size, num_levels, scale_factor=2.0, kernel=None, border="reflect", estimate=soft):
    """Compute all levels, then read each at the points of the equation."""
    crops = []
    steps = np.arange(size) - (size - 1) / 2
    for k, level in enumerate(gaussian_pyramid(x, num_levels, scale_factor=scale_factor, kernel=kernel, border=border)):
        shift = phase_of(kernel, scale_factor) * sum(scale_factor**j for j in range(k))
        first = (fixations * np.array(x.shape[1:3]) - 0.5 - shift) / scale_factor**k
        points = first[..., None, None, :] + np.stack(np.meshgrid(steps, steps, indexing="ij"), -1)
        nearest = np.ceil(points.real - 0.5)
        crops.append(estimate(bilinear_sample(level, nearest, border), bilinear_sample(level, points, border)))
    return crops


def local_maxima(maps, count, separation):
    """Return positions [batch, count, 2] and values [batch, count] for maps [batch, height, width, 1]."""
    _, height, width, _ = maps.shape
    reach = separation // 2
    positions, values = np.zeros([len(maps), count, 2]), np.zeros([len(maps), count])
    for b, each in enumerate(maps[..., 0]):
        pixels = list(np.ndindex(height, width))
        around = {(i, j): each[max(i - reach, 0) : i + reach + 1, max(j - reach, 0) : j + reach + 1] for i, j in pixels}
        pixels.sort(key=lambda p: (each[p] < around[p].max(), -each[p]))
        chosen = (pixels + pixels[:1] * count)[:count]
        positions[b] = (np.array(chosen) + 0.5) / [height, width]
        values[b] = [each[p] for p in chosen]
        values[b, len(pixels) :] = np.finfo(np.float32).min
    return positions, values


def softmax_mixture(logits, scores):
    """Return [batch, classes] for logits [batch, n, classes] and scores [batch, n]."""
    return np.log(np.einsum("bn,bnc->bc", softmax(scores), softmax(logits)))


def soft_argmax(maps, temperature=1.0, estimate=soft):
    """Return [batch, n, 2] for maps [batch, height, width, n]."""
    batch, height, width, count = maps.shape
    centers = np.array([[(i + 0.5) / height, (j + 0.5) / width] for i, j in np.ndindex(height, width)])
    flat = np.moveaxis(maps, 3, 1).reshape(batch, count, height * width)
    return estimate(centers[flat.real.argmax(axis=-1)], softmax(flat / temperature) @ centers)
