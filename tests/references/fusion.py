"""Levels combined: alignment, weights of levels, the two networks of several levels."""

import numpy as np

from tests.references.kernels import along
from tests.references.pyramids import finer_positions, pyr_down


def align(levels, target=0, scale_factor=2.0, interpolation="bilinear", phase=(0.0, 0.0)):
    """Return every level at the size of the target level."""
    phase = np.broadcast_to(phase, 2)
    target %= len(levels)
    size = levels[target].shape[1:3]
    aligned = []
    for k, level in enumerate(levels):
        for _ in range(k, target):
            level = pyr_down(level, scale_factor, moved=phase[0])
        if k <= target:
            aligned.append(level[:, : size[0], : size[1]])
            continue
        for axis, length, offset in zip((1, 2), size, phase):
            if scale_factor is None:
                positions = (np.arange(length) + 0.5) * level.shape[axis] / length - 0.5
            else:
                positions = finer_positions(length, scale_factor, offset, k - target)
            samples = np.arange(level.shape[axis])
            if interpolation == "bilinear":
                level = along(lambda line: np.interp(positions, samples, line), level, axis)
            else:
                nearest = np.argmin(np.abs(positions[:, None] - samples), axis=1)
                level = np.take(level, nearest, axis)
        aligned.append(level)
    return aligned


def feature_pyramid(levels, laterals, outputs, extra_levels=0, scale_factor=2.0, interpolation="nearest", phase=0.0):
    """Return the published network; `laterals` and `outputs` are functions of a level, one for each."""
    top_down = [lateral(x) for lateral, x in zip(laterals, levels, strict=True)]
    for k in range(len(levels) - 2, -1, -1):
        top_down[k] = top_down[k] + align(top_down[k : k + 2], 0, scale_factor, interpolation, phase)[1]
    maps = [output(x) for output, x in zip(outputs, top_down, strict=True)]
    for _ in range(extra_levels):
        maps.append(pyr_down(maps[-1], scale_factor or 2.0, [1.0], moved=phase))
    return maps


def pyramid_block(x, depth, conv, strides=1, interpolation="nearest", kernel_size=(3, 3)):
    """Go down and back up; `conv(k, x, strides)` is convolution k, in the order they are made, and the activation."""
    # Where the middle of a kernel lies from the tap at (K - 1) // 2.
    middle = np.array([(size - 1) / 2 - (size - 1) // 2 for size in kernel_size])
    back_at = 2 * middle  # The innermost kernel has stride 1.
    ladder = [x]
    for k in range(depth):
        ladder.append(conv(k, ladder[-1], 2))
    back = conv(depth, ladder.pop(), 1)
    while ladder:
        here = ladder.pop()
        back_at = back_at + middle
        back = np.concatenate([here, align([here, back], 0, 2.0, interpolation, back_at)[1]], -1)
        back_at = np.zeros(2)
    return conv(depth + 1, back, strides)


def normalized(values, normalization):
    if normalization == "sum":
        return values + (1 - values.sum(axis=(0, 1))) / (values.shape[0] * values.shape[1])
    if normalization == "softmax":
        return np.exp(values) / np.exp(values).sum(axis=(0, 1))
    return values


def fusion_weights(values, method, epsilon=1e-4, temperature=1.0):
    if method == "softmax":
        return softmax(values.T / temperature).T
    if method == "sum":
        return values
    if method == "softplus_normalized":
        return np.log(1 + np.exp(values)) / np.log(1 + np.exp(values)).sum(axis=0)
    return relu(values) / (relu(values).sum(axis=0) + epsilon)


def softmax(x):
    powers = np.exp(x - np.max(x.real, axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def relu(x):
    return x * (x.real > 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))
