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


def soft_argmax(maps, temperature=1.0, estimate=soft):
    """Return [batch, n, 2] for maps [batch, height, width, n]."""
    batch, height, width, count = maps.shape
    centers = np.array([[(i + 0.5) / height, (j + 0.5) / width] for i, j in np.ndindex(height, width)])
    flat = np.moveaxis(maps, 3, 1).reshape(batch, count, height * width)
    return estimate(centers[flat.real.argmax(axis=-1)], softmax(flat / temperature) @ centers)
