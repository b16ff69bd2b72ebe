"""Pooling in the frequency domain."""

import math

import numpy as np

from tests.references.estimators import soft


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
        weight = 0.5 if 2 * abs(f) == count else 1.0
        result[f % length] += weight * gains[abs(f)] * spectrum[f % size]
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
