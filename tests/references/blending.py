"""Images merged on Laplacian pyramids."""

import numpy as np

from tests.references.convolutions import depthwise_down
from tests.references.pyramids import gaussian_pyramid, laplacian_pyramid, reconstruct


def blend(a, b, mask, num_levels, **step):
    """Merge both images level by level, as published; the package merges their difference."""
    weights = gaussian_pyramid(mask, num_levels, **step)
    pairs = zip(weights, laplacian_pyramid(a, num_levels, **step), laplacian_pyramid(b, num_levels, **step))
    return reconstruct([w * x + (1 - w) * y for w, x, y in pairs], **step)


def exposure_weights(image, exponents, border):
    grey = image @ np.array([0.299, 0.587, 0.114]) if image.shape[3] == 3 else image.mean(axis=3)
    taps = np.float64([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[:, :, None, None]
    contrast = np.abs(depthwise_down(grey[..., None], taps, 1, border))[..., 0]
    saturation = image.std(axis=3)
    exposedness = np.prod(np.exp(-((image - 0.5) ** 2) / (2 * 0.2**2)), axis=3)
    measures = (contrast, saturation if image.shape[3] > 1 else 1.0, exposedness)
    return np.prod([m**exponent * np.ones_like(grey) for m, exponent in zip(measures, exponents)], axis=0) + 1e-12


def exposure_fusion(images, num_levels, exponents=(1, 1, 1), **step):
    weights = [exposure_weights(image, exponents, step["border"]) for image in images]
    total = sum(weights)
    inside = {**step, "border": "edge" if step["border"] == "constant" else step["border"]}
    shares = [gaussian_pyramid((w / total)[..., None], num_levels, **inside) for w in weights]
    bands = [laplacian_pyramid(image, num_levels, **step) for image in images]
    merged = [sum(w * x for w, x in zip(*level)) for level in zip(zip(*shares), zip(*bands))]
    return reconstruct(merged, **step)


def focus_stack(images, num_levels, **step):
    *bands, lowpass = zip(*(laplacian_pyramid(image, num_levels, **step) for image in images))
    merged = []
    for band in bands:
        chosen = np.argmax([np.sum(np.square(x), axis=3) for x in band], axis=0)
        merged.append(np.choose(chosen[..., None], band))
    return reconstruct([*merged, np.mean(lowpass, axis=0)], **step)
