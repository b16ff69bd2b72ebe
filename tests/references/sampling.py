"""Images read between their samples: resizing, warping, cost volumes."""

import itertools
import math

import numpy as np

from tests.references.sizes import level_side


def bilinear_down(x, scale_factor=2.0, antialias=False):
    """Resize to the next level's size by the hat about the centre of each output's cell, a row of weights at a time."""
    for axis in (1, 2):
        length = x.shape[axis]
        size = level_side(length, scale_factor)
        ratio = length / size
        rows = []
        for centre in (np.arange(size) + 0.5) * ratio - 0.5:
            if antialias:
                row = np.maximum(0, 1 - np.abs(np.arange(length) - centre) / max(ratio, 1))
                rows.append(row / row.sum())
            else:
                rows.append([np.interp(centre, np.arange(length), unit) for unit in np.eye(length)])
        x = np.moveaxis(np.tensordot(rows, x, axes=(1, axis)), 0, axis)
    return x


def bilinear_sample(x, points, border="constant"):
    """Read [batch, h, w, c] at [batch, ..., 2], a point at a time; a complex one lies in the cell of its real part."""
    reach = int(np.abs(np.real(points)).max(initial=0)) + 2
    padded = np.pad(x, [(0, 0), (reach, reach), (reach, reach), (0, 0)], mode=border)
    y = np.zeros([*points.shape[:-1], x.shape[3]], np.result_type(x, points))
    for place in np.ndindex(points.shape[:-1]):
        p, q = points[place]
        i, j = math.floor(p.real), math.floor(q.real)
        f, g = p - i, q - j
        (a, b), (c, d) = padded[place[0], i + reach : i + reach + 2, j + reach : j + reach + 2]
        y[place] = (1 - f) * ((1 - g) * a + g * b) + f * ((1 - g) * c + g * d)
    return y


def warp(x, flow, border="constant"):
    points = np.zeros(flow.shape, flow.dtype)
    for i, j in np.ndindex(*flow.shape[1:3]):
        points[:, i, j] = np.array([i, j]) + flow[:, i, j, ::-1]
    return bilinear_sample(x, points, border)


def inside(flow):
    """Return 1 where a flow points to a position between the first and the last pixel of both axes."""
    mask = np.zeros([*flow.shape[:3], 1])
    for b, i, j in np.ndindex(flow.shape[:3]):
        across, down = flow[b, i, j].real
        mask[b, i, j] = 0 <= i + down <= flow.shape[1] - 1 and 0 <= j + across <= flow.shape[2] - 1
    return mask


def cost_volume(first, second, max_displacement=4, step=1, kernel_size=1, flow=None, sampling="warp"):
    """Compare two patches at a time."""
    if flow is not None and sampling == "lookup":
        return _looked_up(first, second, flow, step * np.arange(-(max_displacement // step), 1), kernel_size)
    if flow is not None:
        second = warp(second, flow)
    batch, height, width, channels = first.shape
    count, half = 2 * (max_displacement // step) + 1, kernel_size // 2
    reach = half + max_displacement
    pads = [(0, 0), (reach, reach), (reach, reach), (0, 0)]
    a, b = np.pad(first, pads), np.pad(second, pads)
    y = np.zeros([batch, height, width, count**2], np.result_type(first, second))
    for i, j, k in np.ndindex(height, width, count**2):
        dy, dx = (step * (n - count // 2) for n in divmod(k, count))
        rows, columns = (np.arange(-half, half + 1) + n + reach for n in (i, j))
        patch = a[:, rows][:, :, columns] * b[:, rows + dy][:, :, columns + dx]
        y[:, i, j, k] = patch.sum(axis=(1, 2, 3)) / (kernel_size**2 * channels)
    return y


def _looked_up(first, second, flow, steps, kernel_size):
    """Compare each pixel with samples around the end of its flow, then average over patches of costs."""
    batch, height, width, channels = first.shape
    steps = np.concatenate([steps, -steps[-2::-1]])
    costs = np.zeros([batch, height, width, steps.size**2], np.result_type(first, second, flow))
    for i, j, (k, (dy, dx)) in itertools.product(
        range(height), range(width), enumerate(itertools.product(steps, steps))
    ):
        points = np.array([i + dy, j + dx]) + flow[:, i, j, None, ::-1]
        samples = bilinear_sample(second, points)[:, 0]
        costs[:, i, j, k] = (first[:, i, j] * samples).sum(axis=-1) / channels
    half = kernel_size // 2
    padded = np.pad(costs, [(0, 0), (half, half), (half, half), (0, 0)])
    parts = [padded[:, i : i + height, j : j + width] for i, j in np.ndindex(kernel_size, kernel_size)]
    return np.mean(parts, axis=0)


def affine_grid(matrices, image_size, output_size):
    (height, width), (rows, columns) = image_size, output_size
    points = np.zeros([len(matrices), rows, columns, 2], matrices.dtype)
    for i, j in np.ndindex(rows, columns):
        place = np.array([(2 * i + 1) / rows - 1, (2 * j + 1) / columns - 1, 1])
        points[:, i, j] = (matrices @ place + 1) * np.array([height, width]) / 2 - 0.5
    return points


def area_resize(x, output_size):
    """Average cells, by sampling each so finely that all the borders between samples are hit."""
    for axis, size in zip((1, 2), output_size):
        x = np.repeat(x, size, axis=axis)
        shape = [*x.shape[:axis], size, x.shape[axis] // size, *x.shape[axis + 1 :]]
        x = x.reshape(shape).mean(axis=axis + 1)
    return x
