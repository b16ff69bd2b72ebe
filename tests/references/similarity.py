"""Similarities of images in NumPy: windows are written out, one after the other."""

import numpy as np

from tests.references.pyramids import laplacian_pyramid

POWER_FACTORS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def multi_scale_ssim(t, p, max_val=1.0, power_factors=POWER_FACTORS, size=11, sigma=1.5, k1=0.01, k2=0.03):
    """Return the similarity of each pair of images [batch, height, width, channels]."""
    t, p = np.float64(t), np.float64(p)
    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    product = 1.0
    for k, power in enumerate(power_factors):
        if k:
            t, p = halved(t), halved(p)
        brightness, structure = compared(t, p, size, sigma, c1, c2)
        factor = structure if k + 1 < len(power_factors) else brightness * structure
        product = product * np.maximum(factor.mean(axis=(1, 2)), 0) ** power
    return product.mean(axis=-1)


def halved(x):
    _, h, w, _ = x.shape
    x = np.pad(x, [(0, 0), (0, h % 2), (0, w % 2), (0, 0)], mode="edge")
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def compared(t, p, size, sigma, c1, c2):
    (rows, columns), (_, h, w, _) = (gaussian(min(size, n), sigma) for n in t.shape[1:3]), t.shape
    weights = (rows[:, None] * columns)[None, :, :, None]
    brightness, structure = [], []
    for i in range(h - len(rows) + 1):
        for j in range(w - len(columns) + 1):
            a, b = (x[:, i : i + len(rows), j : j + len(columns)] for x in (t, p))
            ma, mb = ((weights * x).sum(axis=(1, 2)) for x in (a, b))
            a, b = a - ma[:, None, None], b - mb[:, None, None]
            va, vb, cov = ((weights * x).sum(axis=(1, 2)) for x in (a * a, b * b, a * b))
            brightness.append((2 * ma * mb + c1) / (ma**2 + mb**2 + c1))
            structure.append((2 * cov + c2) / (va + vb + c2))
    shape = (t.shape[0], h - len(rows) + 1, w - len(columns) + 1, t.shape[3])
    return tuple(np.stack(each, 1).reshape(shape) for each in (brightness, structure))


def gaussian(length, sigma):
    taps = np.exp(-((np.arange(length) - (length - 1) / 2) ** 2) / (2 * sigma**2))
    return taps / taps.sum()


def laplacian_pyramid_loss(t, p, weights, norm=1, mask=1.0):
    """Return the loss of each sample."""
    difference = np.where(np.float64(mask) == 0, 0.0, np.float64(t) - np.float64(p)) * np.float64(mask) ** (1 / norm)
    levels = laplacian_pyramid(difference, len(weights))
    return sum(w * (np.abs(level) ** norm).mean(axis=(1, 2, 3)) for w, level in zip(weights, levels))
