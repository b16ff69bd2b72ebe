"""What the layers compute, once more: NumPy and SciPy in float64, a sample at a time, from the equations alone."""

import functools
import math
from fractions import Fraction

import numpy as np
import scipy.ndimage

BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16


@functools.lru_cache(maxsize=None)
def fraction(scale_factor):
    """Return the fraction p / q above 1, p up to 2^15, whose inverse is nearest to that of a factor: try every p."""
    p = np.arange(2, 2**15 + 1)
    q = np.clip(np.round(p / scale_factor), 1, p - 1).astype(int)
    best = np.argmin(np.abs(q / p - 1 / scale_factor))
    return Fraction(int(p[best]), int(q[best]))


def level_side(n, scale_factor, **_):
    return math.ceil(n / fraction(scale_factor))


def taps_of(kernel, scale_factor):
    """Return the taps a kernel argument stands for."""
    if kernel is None:
        kernel = "binomial" if scale_factor == 2 else "gaussian"
    if not isinstance(kernel, str):
        return np.asarray(kernel, np.float64) / np.sum(kernel)
    if kernel == "binomial":
        return BINOMIAL
    if kernel == "gaussian":
        sigma = 2 * scale_factor / 6
        impulse = np.zeros(2 * math.ceil(5 * sigma) + 3)
        impulse[len(impulse) // 2] = 1
        return np.trim_zeros(scipy.ndimage.gaussian_filter1d(impulse, sigma, mode="constant", truncate=4.0))
    return np.full(2 if kernel == "bilinear" else math.ceil(scale_factor), 1.0) / (
        2 if kernel == "bilinear" else math.ceil(scale_factor)
    )


def along(function, x, axis):
    """Apply a function of one line of samples to every line of an axis, none of them included."""
    if x.size == 0:
        length = len(function(np.zeros(x.shape[axis])))
        return np.zeros([*x.shape[:axis], length, *x.shape[axis + 1 :]])
    return np.apply_along_axis(function, axis, x)


def phase_of(kernel, scale_factor):
    """Return the centroid of the taps, from the one at (K - 1) // 2."""
    taps = taps_of(kernel, scale_factor)
    return sum(k * tap for k, tap in enumerate(taps)) - (len(taps) - 1) // 2


def down_line(line, taps, scale_factor, border, moved=0.0):
    """Blur one line of samples at every position, then read it at multiples of the factor, or `moved` from there."""
    left, beyond = (len(taps) - 1) // 2, math.ceil(abs(moved)) + 1
    padded = np.pad(line, (left + beyond, len(taps) - left + beyond), mode=border)
    blurred = np.correlate(padded, taps, "valid")
    positions = np.arange(level_side(len(line), scale_factor)) * float(fraction(scale_factor)) + moved
    return np.interp(positions, np.arange(len(blurred)) - beyond, blurred)


def pyr_down(x, scale_factor=2.0, kernel=None, border="reflect", moved=0.0):
    taps = taps_of(kernel, scale_factor)
    for axis in (1, 2):
        x = along(lambda line: down_line(line, taps, scale_factor, border, moved), x, axis)
    return x


def coarse_sample(line, i, size, scale_factor, border):
    """Return sample i of a coarse line, inside it or outside, where the fine axis of `size` samples is folded."""
    if 0 <= i < len(line):
        return line[i]
    if border == "constant":
        return 0.0
    fine = i * scale_factor
    if border == "wrap":
        fine = fine % size
    else:
        reach = int(abs(fine)) + size + 2
        folded = np.pad(np.arange(size), (reach, reach), mode=border)
        fine = np.interp(fine, np.arange(-reach, size + reach), folded)
    return np.interp(fine / scale_factor, np.arange(len(line)), line)


def up_line(line, size, taps, scale_factor, border):
    """Sum over the inputs near each output, with the linear interpolation that brings the DC gain to 1."""
    scale_factor = float(fraction(scale_factor))
    left = (len(taps) - 1) // 2
    offsets = np.arange(-left - 1, len(taps) - left + 1)
    padded = np.concatenate([[0], taps, [0]])
    result = []
    for j in range(size):
        inputs = np.arange(
            math.floor((j - len(taps)) / scale_factor) - 1, math.ceil((j + len(taps)) / scale_factor) + 2
        )
        spread = scale_factor * np.interp(j - scale_factor * inputs, offsets, padded, left=0, right=0)
        hat = np.maximum(0, 1 - np.abs(j / scale_factor - inputs))
        values = np.array([coarse_sample(line, i, size, scale_factor, border) for i in inputs])
        result.append(np.sum((spread + (1 - spread.sum()) * hat) * values))
    return np.array(result)


def pyr_up(x, output_size, scale_factor=2.0, kernel=None, border="reflect"):
    taps = taps_of(kernel, scale_factor)
    for axis, size in zip((1, 2), output_size):
        x = along(lambda line: up_line(line, size, taps, scale_factor, border), x, axis)
    return x


def finer_places(count, scale_factor, phase, steps):
    """Return where the samples of a level lie in one that is coarser by some steps."""
    offset = sum(phase * scale_factor**k for k in range(steps))
    return (np.arange(count) - offset) / float(fraction(scale_factor**steps))


def gaussian_pyramid(x, num_levels, upsampled_levels=0, **step):
    levels = [x]
    for j in range(1, upsampled_levels + 1):
        finer = x
        for axis in (1, 2):
            # The largest side of which that of the level below is the next.
            side = max(n for n in range(9 * x.shape[axis]) if level_side(n, **step) == levels[0].shape[axis])
            offset = phase_of(step.get("kernel"), step["scale_factor"])
            positions = finer_places(side, step["scale_factor"], offset, j)
            finer = along(lambda line: np.interp(positions, np.arange(line.shape[0]), line), finer, axis)
        levels.insert(0, finer)
    while len(levels) < num_levels if num_levels else min(levels[-1].shape[1:3]) > 1:
        levels.append(pyr_down(levels[-1], **step))
    return levels


def laplacian_pyramid(x, num_levels, **step):
    levels = gaussian_pyramid(x, num_levels, **step)
    return [a - pyr_up(b, a.shape[1:3], **step) for a, b in zip(levels, levels[1:])] + levels[-1:]


def reconstruct(levels, **step):
    x = levels[-1]
    for residual in levels[-2::-1]:
        x = residual + pyr_up(x, residual.shape[1:3], **step)
    return x


def windows(x, rows, columns):
    """Return [batch, i, j, channels, rows, columns]: the window of x that begins at each i, j where all of it is."""
    return np.lib.stride_tricks.sliding_window_view(x, (rows, columns), axis=(1, 2))


def correlate(x, kernel):
    """Return the valid correlation of [batch, h, w, channels] with [rows, columns, channels, filters]."""
    return np.einsum("bijcyx,yxcf->bijf", windows(x, *kernel.shape[:2]), kernel)


def extended(x, rows, columns, border):
    """Extend images so that a window of rows by columns lies about each sample."""
    pads = [(0, 0), ((rows - 1) // 2, rows // 2), ((columns - 1) // 2, columns // 2), (0, 0)]
    return np.pad(x, pads, mode=border)


def conv_down(x, kernel, strides, border):
    return correlate(extended(x, *kernel.shape[:2], border), kernel)[:, ::strides, ::strides]


def depthwise_down(x, kernel, strides, border):
    patches = windows(extended(x, *kernel.shape[:2], border), *kernel.shape[:2])
    return np.einsum("bijcyx,yxc->bijc", patches, kernel[..., 0])[:, ::strides, ::strides]


def conv_same(x, kernel, bias=0.0):
    """Return what `keras.layers.Conv2D(padding="same")` computes."""
    return correlate(extended(x, *kernel.shape[:2], "constant"), kernel) + bias


def window_mean(x, weights, strides, border):
    size = round(weights.shape[3] ** 0.5)
    patches = windows(extended(x, size, size, border), size, size)[:, ::strides, ::strides]
    return np.einsum("bijcyx,bijyx->bijc", patches, weights.reshape([*weights.shape[:3], size, size]))


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


def normalized(values, normalization):
    if normalization == "sum":
        return values + (1 - values.sum(axis=(0, 1))) / (values.shape[0] * values.shape[1])
    if normalization == "softmax":
        return np.exp(values) / np.exp(values).sum(axis=(0, 1))
    return values


def relu(x):
    return x * (x.real > 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def soft(discrete, surrogate):
    """The value of an estimator that is not straight-through."""
    return surrogate


def hard(discrete, surrogate):
    """The value of a straight-through estimator."""
    return discrete


def straight_through(discrete, surrogate):
    """The value of a straight-through estimator, with its gradient as `complex_step` takes it."""
    return np.real(discrete) + 1j * np.imag(surrogate)


def complex_step(function, arguments, upstream):
    """Return the gradients of sum(upstream * function(**arguments)) for every argument, exact to rounding.

    An analytic function at x + i h has f'(x) h as its imaginary part: no difference is taken, and none is rounded.
    """
    step, gradients = 1e-100, {}
    for name, value in arguments.items():
        gradients[name] = np.zeros(value.shape)
        for index in np.ndindex(value.shape):
            moved = np.array(value, np.complex128)
            moved[index] += 1j * step
            y = function(**{**arguments, name: moved})
            gradients[name][index] = np.sum(upstream * np.imag(y)) / step
    return gradients


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
                positions = finer_places(length, scale_factor, offset, k - target)
            samples = np.arange(level.shape[axis])
            if interpolation == "bilinear":
                level = along(lambda line: np.interp(positions, samples, line), level, axis)
            else:
                nearest = np.argmin(np.abs(positions[:, None] - samples), axis=1)
                level = np.take(level, nearest, axis)
        aligned.append(level)
    return aligned


def batch_norm(x, gamma, beta, mean, variance):
    """Return what `keras.layers.BatchNormalization` computes of images by the mean and the variance it is given."""
    return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta


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


def softmax(x):
    powers = np.exp(x - np.max(x.real, axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def fusion_weights(values, method, epsilon=1e-4, temperature=1.0):
    if method == "softmax":
        return softmax(values.T / temperature).T
    if method == "sum":
        return values
    if method == "softplus_normalized":
        return np.log(1 + np.exp(values)) / np.log(1 + np.exp(values)).sum(axis=0)
    return relu(values) / (relu(values).sum(axis=0) + epsilon)


def strided_conv2d(x, kernel, strides, output_size=None):
    """Convolve an output and a tap at a time; complex strides lie in the cell of their real part."""
    (height, width), (rows, columns), strides = x.shape[1:3], kernel.shape[:2], np.asarray(strides)
    cells = np.real(strides)
    if output_size is None:
        output_size = [int((n - taps) / s) + 1 for n, taps, s in zip((height, width), (rows, columns), cells)]

    def pixel(i, j):
        return x[:, i, j] if 0 <= i < height and 0 <= j < width else np.zeros_like(x[:, 0, 0])

    y = np.zeros([len(x), *output_size, kernel.shape[3]], np.result_type(x, kernel, strides))
    for p, q, a, b in np.ndindex(*output_size, rows, columns):
        i, j = math.floor(p * cells[0]), math.floor(q * cells[1])
        f, g = p * strides[0] - i, q * strides[1] - j
        i, j = i + a, j + b
        upper = (1 - g) * pixel(i, j) + g * pixel(i, j + 1)
        lower = (1 - g) * pixel(i + 1, j) + g * pixel(i + 1, j + 1)
        y[:, p, q] += ((1 - f) * upper + f * lower) @ kernel[a, b]
    return y


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


def cost_volume(first, second, max_displacement=4, step=1, kernel_size=1):
    """Compare two patches at a time."""
    batch, height, width, channels = first.shape
    count, half = 2 * (max_displacement // step) + 1, kernel_size // 2
    reach = half + max_displacement
    pads = [(0, 0), (reach, reach), (reach, reach), (0, 0)]
    a, b = np.pad(first, pads), np.pad(second, pads)
    y = np.zeros([batch, height, width, count**2])
    for i, j, k in np.ndindex(height, width, count**2):
        dy, dx = (step * (n - count // 2) for n in divmod(k, count))
        rows, columns = (np.arange(-half, half + 1) + n + reach for n in (i, j))
        patch = a[:, rows][:, :, columns] * b[:, rows + dy][:, :, columns + dx]
        y[:, i, j, k] = patch.sum(axis=(1, 2, 3)) / (kernel_size**2 * channels)
    return y


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


def spectral_gain(f, size, stride, smoothness):
    """Return the soft mask of spectral_pool at a frequency, of a complex stride too."""
    cut = size / (2 * stride)
    gain = (cut - f) / (smoothness if np.real(cut) > smoothness else cut)
    return gain if f and 0 < np.real(gain) < 1 else np.clip(np.real(gain), 0, 1)


def fourier_resize(x, axis, gains, length, count):
    """Keep `count` frequencies of a real axis, f of them times gains[f], at another length."""
    size = x.shape[axis]
    spectrum = np.moveaxis(np.fft.fft(x, axis=axis), axis, 0)
    result = np.zeros((length, *spectrum.shape[1:]), complex)
    for f in range(-(count // 2), count // 2 + 1):
        share = 0.5 if 2 * abs(f) == count else 1.0
        result[f % length] += share * gains[abs(f)] * spectrum[f % size]
    y = np.moveaxis(np.fft.ifft(result, axis=0), 0, axis) * length / size
    assert np.all(np.abs(y.imag) <= 1e-12 * np.max(np.abs(x), initial=0))
    return y.real


def spectral_pool(x, strides, output_size=None, smoothness=4.0, estimate=soft):
    for axis, stride, length in zip((1, 2), strides, output_size or (None, None)):
        size = x.shape[axis]
        ratio = size / np.real(stride)
        length = length or int(np.real(estimate(max(1, round(ratio)), math.ceil(ratio))))
        count = min(length, size, int(np.real(estimate(max(1, round(ratio)), size))))
        gains = np.array(
            [estimate(1.0, spectral_gain(f, size, stride, smoothness)) for f in range(count // 2 + 1)], complex
        )
        # Linear in both, so that the tiny imaginary parts of `complex_step` are not lost in the transform's own.
        real = fourier_resize(x.real, axis, gains.real, length, count)
        if np.any(x.imag) or np.any(gains.imag):
            imaginary = fourier_resize(x.real, axis, gains.imag, length, count)
            imaginary = imaginary + fourier_resize(x.imag, axis, gains.real, length, count)
            real = real + 1j * imaginary
        x = real
    return x
