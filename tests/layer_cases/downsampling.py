"""Cases of the downsamplers.

Each equation takes images, the layer's weights by name, and `estimate(discrete, surrogate)`. The soft form, the hard
forward pass and the straight-through gradient differ only in this function.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tests import references
from tests.layer_cases.case import LARGE, ODD, ONE_PIXEL, LayerCase, weight
from tfpyramid import layers


def _case(name: str, equation: Callable, label: str, *, case: dict | None = None, **arguments: object) -> LayerCase:
    """A case of the layer `name` with `arguments`, which are also passed to the equation."""
    hard = arguments.get("hard", False)
    settings = {key: value for key, value in arguments.items() if key not in ("hard", "kernel_regularizer")}

    def weights_of(layer: object) -> dict[str, np.ndarray]:
        names = [w.name.split(":")[0].split("/")[-1] for w in layer.weights]
        return {name: weight(layer, name) for name in names}

    def reference(layer: object, x: np.ndarray) -> np.ndarray:
        estimate = references.hard if hard else references.soft
        return equation(x, weights_of(layer), estimate, **settings)

    def closed_form(layer: object, inputs: list, upstream: list) -> dict:
        def function(x: np.ndarray, **weights: np.ndarray) -> np.ndarray:
            return equation(x, weights, references.straight_through if hard else references.soft, **settings)

        gradients = references.complex_step(function, {"x": inputs[0], **weights_of(layer)}, upstream[0])
        return {"inputs": [gradients.pop("x")], **gradients}

    return LayerCase(
        make=lambda **common: getattr(layers, name)(**arguments, **common),
        label=label,
        reference=reference,
        closed_form=closed_form if hard or equation in (_learnable_stride, _spectral) else None,
        **(case or {}),
    )


def _quantized(kernel: np.ndarray, bits: int, estimate: Callable) -> np.ndarray:
    """Round to fixed point. No weight of the cases is close enough to 1 to be clipped."""
    return estimate(np.round(kernel.real * 2**bits) / 2**bits, kernel)


def _learnable(x, w, estimate, *, strides=2, border="reflect", kernel_bits=8, use_bias=False, **shape):
    kernel = _quantized(w["kernel"], kernel_bits, estimate)
    return references.conv_down(x, kernel, strides, border) + (w["bias"] if use_bias else 0)


def _anti_aliased(
    x, w, estimate, *, filters=None, strides=2, normalization="sum", border="reflect", kernel_bits=8, **_
):
    blur = _quantized(references.normalized(w["blur_values"], normalization), kernel_bits, estimate)
    if filters is None:
        return references.depthwise_down(x, blur, strides, border)
    kernel = _quantized(w["kernel"], kernel_bits, estimate)
    return references.conv_down(references.depthwise_down(x, blur, 1, border), kernel, strides, border)


def _blur_pool(x, w, estimate, *, kernel_size=4, strides=2, pool_size=1, padding=None, pooling="max", border="reflect"):
    strides = pool_size if strides is None else strides
    sizes = list(zip((1, 2), *(np.broadcast_to(n, 2) for n in (kernel_size, strides, pool_size)), x.shape[1:3]))
    if pooling == "max":
        for axis, _, _, pool, _ in sizes:
            x = references.window_maxima(x, axis, pool, padding == "valid")
    for axis, taps, step, pool, size in sizes:
        first = references.window_centre(size, pool, step, padding) if padding else 0
        count = (size - pool) // step + 1 if padding == "valid" else math.ceil(size / step)
        skipped = (pool - 1) // 2 if pooling == "max" and padding == "valid" else 0
        x = references.blurred_samples(x, axis, first - skipped, count, step, taps, border)
    return x


def _bilinear(x, w, estimate, **arguments):
    return references.bilinear_down(x, **arguments)


def _channel_adaptive(x, w, estimate, *, strides=2, border="reflect", use_bias=False, temperature=1.0, **shape):
    squeezed = references.relu(x.mean(axis=(1, 2)) @ w["squeeze_kernel"] + w["squeeze_bias"])
    logits = squeezed @ w["excite_kernel"] + w["excite_bias"]
    gates = estimate(logits.real >= 0, references.sigmoid(logits / w["temperature"]))
    return references.conv_down(x * gates[:, None, None], w["kernel"], strides, border) + (w["bias"] if use_bias else 0)


def _content_adaptive(x, w, estimate, *, strides=2, border="reflect", normalization="softmax", **_):
    features = references.conv_down(x, w["features_kernel"], strides, border) + w["features_bias"]
    logits = references.relu(features) @ w["logits_kernel"][0, 0] + w["logits_bias"]
    one_hot = np.arange(logits.shape[-1]) == logits.real.argmax(axis=-1)[..., None]
    if normalization == "softmax":
        weights = references.softmax(logits / w["temperature"])
    else:
        weights = logits + (1 - logits.sum(axis=-1, keepdims=True)) / logits.shape[-1]
    weights = estimate(one_hot, weights)
    return references.window_mean(x, weights, strides, border)


def _strides(w, initial_strides, speed):
    """Return the soft strides. The gradient of the weight is that of log(strides) divided by the speed."""
    log_ratio = references.straight_through(speed * w, w / speed) if np.iscomplexobj(w) else speed * w
    return np.array(initial_strides) * np.exp(log_ratio)


def _learnable_stride(
    x, w, estimate, *, initial_strides=(2.0, 2.0), output_size=None, use_bias=True, stride_speed=10.0, **_
):
    strides = _strides(w["scaled_log_strides"], initial_strides, stride_speed)
    strides = estimate(np.maximum(np.round(strides.real), 1), strides)
    output_size = (output_size, output_size) if isinstance(output_size, int) else output_size
    if output_size:
        largest = (np.array(x.shape[1:3]) - 1) / np.maximum(np.array(output_size) - 1, 1)
        initial = np.array(initial_strides)
        limit = np.maximum(estimate(np.floor(largest), largest).real, estimate(np.round(initial), initial).real)
        within = np.minimum(strides.real, limit)
        strides = references.straight_through(within, strides) if np.iscomplexobj(strides) else within
    return references.strided_conv2d(x, w["kernel"], strides, output_size) + (w["bias"] if use_bias else 0)


def _spatial_transformer(
    x,
    w,
    estimate,
    *,
    output_size=None,
    scale_factor=2.0,
    grid_size=4,
    affine=True,
    offsets=True,
    border="constant",
    **_,
):
    size = np.array(x.shape[1:3])
    output_size = (output_size, output_size) if isinstance(output_size, int) else output_size
    output_size = output_size or tuple(math.ceil(n / scale_factor) for n in size)
    features = references.relu(references.conv_down(x, w["features_kernel"], 2, "reflect") + w["features_bias"])
    summary = references.area_resize(features, (grid_size, grid_size)).reshape(len(x), -1)
    numbers = summary @ w["map_kernel"] / summary.shape[1] + w["map_bias"]
    matrices = np.eye(2, 3) + (numbers[:, :6].reshape(-1, 2, 3) if affine else np.zeros([len(x), 2, 3]))
    points = references.affine_grid(matrices, size, output_size)
    if offsets:
        grid = numbers[:, 6 * affine :].reshape(-1, grid_size, grid_size, 2)
        points = points + references.align([points, grid], scale_factor=None)[1] * size / 2
    nearest = np.ceil(points.real - 0.5)
    level = references.bilinear_sample(x, points, border)
    return estimate(references.bilinear_sample(x, nearest, border), level)


def _spectral(x, w, estimate, *, initial_strides=(2.0, 2.0), output_size=None, smoothness=4.0, stride_speed=10.0, **_):
    strides = _strides(w["scaled_log_strides"], initial_strides, stride_speed)
    return references.spectral_pool(x, strides, output_size, smoothness, estimate)


SMALL = {"size": (5, 4), "channels": 2}

_LEARNABLE = ("LearnableDownsample2D", _learnable)
_ANTI_ALIASED = ("AntiAliasedDownsample2D", _anti_aliased)
_BLUR_POOL = ("BlurPool2D", _blur_pool)
_BILINEAR = ("BilinearDownsample2D", _bilinear)
_CHANNEL_ADAPTIVE = ("ChannelAdaptiveDownsample2D", _channel_adaptive)
_CONTENT_ADAPTIVE = ("ContentAdaptiveDownsample2D", _content_adaptive)
_LEARNABLE_STRIDE = ("LearnableStrideConv2D", _learnable_stride)
_SPECTRAL = ("SpectralDownsample2D", _spectral)
_SPATIAL_TRANSFORMER = ("SpatialTransformerDownsample2D", _spatial_transformer)

LEARNED_SIDES = {"learned_sides": True}

CASES = [
    _case(*_LEARNABLE, "default"),
    _case(*_LEARNABLE, "odd", case=ODD),
    _case(*_LEARNABLE, "one-pixel", case=ONE_PIXEL),
    _case(*_LEARNABLE, "more-filters", filters=4, use_bias=True, kernel_regularizer="l2", case={"channels": 2}),
    _case(*_LEARNABLE, "fewer-filters", filters=1, kernel_size=3, border="constant"),
    _case(*_LEARNABLE, "stride-3-even", strides=3, kernel_size=4, border="wrap", case=ODD),
    _case(*_LEARNABLE, "one-axis", kernel_size=(3, 5), strides=(2, 1), case=ODD),
    _case(*_LEARNABLE, "two-strides-zeros", kernel_size=(4, 3), strides=(2, 3), border="constant"),
    _case(*_LEARNABLE, "hard", hard=True, case=SMALL),
    _case(*_LEARNABLE, "hard-4-bits", hard=True, kernel_bits=4, kernel_size=3, border="edge", case=SMALL),
    _case(*_ANTI_ALIASED, "default"),
    _case(*_ANTI_ALIASED, "softmax-even", kernel_size=4, normalization="softmax", border="edge", case=ODD),
    _case(*_ANTI_ALIASED, "free-stride-3", strides=3, normalization=None, case=ONE_PIXEL),
    _case(*_ANTI_ALIASED, "filters", filters=4, case={"channels": 2, "size": (5, 6)}),
    _case(*_ANTI_ALIASED, "hard-4-bits", hard=True, filters=1, kernel_bits=4, kernel_size=3, case=SMALL),
    _case(*_BLUR_POOL, "default"),
    _case(*_BLUR_POOL, "max-odd", pool_size=2, case=ODD),
    _case(*_BLUR_POOL, "wide-max", pool_size=3, strides=3, kernel_size=5, border="wrap", case={"channels": 1}),
    _case(*_BLUR_POOL, "one-pixel", pool_size=2, kernel_size=1, case=ONE_PIXEL),
    _case(*_BLUR_POOL, "large", case=LARGE),
    _case(*_BLUR_POOL, "keras", kernel_size=3, strides=None, pool_size=2, padding="valid", case=ODD),
    _case(*_BLUR_POOL, "rectangles", kernel_size=(4, 1), strides=(3, 1), pool_size=(3, 2), padding="same"),
    _case(*_BLUR_POOL, "average", strides=1, pool_size=(2, 3), padding="valid", pooling="average", border="edge"),
    _case(*_BILINEAR, "default", case=ODD),
    _case(*_BILINEAR, "antialias", scale_factor=2.7, antialias=True, case={"channels": 2}),
    _case(*_BILINEAR, "one-pixel", antialias=True, case=ONE_PIXEL),
    _case(*_CHANNEL_ADAPTIVE, "default"),
    _case(*_CHANNEL_ADAPTIVE, "one-axis", strides=(1, 2), reduction=1, case={"size": (5, 6)}),
    _case(
        *_CHANNEL_ADAPTIVE, "filters", filters=2, use_bias=True, reduction=1, temperature=0.5, border="wrap", case=ODD
    ),
    _case(*_CHANNEL_ADAPTIVE, "one-pixel", strides=3, reduction=1, case=ONE_PIXEL),
    _case(*_CHANNEL_ADAPTIVE, "hard", hard=True, reduction=1, case=SMALL),
    _case(*_CONTENT_ADAPTIVE, "default", case={"channels": 1}),
    _case(*_CONTENT_ADAPTIVE, "box-odd", window=3, start="box", hidden=4, temperature=0.7, border="edge", case=ODD),
    # Every mean of a single pixel is that pixel, so no weight has a gradient.
    _case(*_CONTENT_ADAPTIVE, "one-row", strides=3, hidden=4, case={"size": (1, 5), "channels": 1}),
    _case(*_CONTENT_ADAPTIVE, "sum", normalization="sum", window=3, hidden=5, case=ODD),
    _case(*_CONTENT_ADAPTIVE, "hard", hard=True, window=2, hidden=3, case=SMALL),
    _case(*_LEARNABLE_STRIDE, "default", case=LEARNED_SIDES),
    _case(
        *_LEARNABLE_STRIDE,
        "fixed-size-odd",
        filters=2,
        kernel_size=2,
        initial_strides=(2.6, 1.7),
        output_size=(3, 7),
        use_bias=False,
        kernel_initializer="he_normal",
        kernel_regularizer="l2",
        cost_weight=0.1,
        case=ODD,
    ),
    _case(*_LEARNABLE_STRIDE, "one-pixel", initial_strides=(0.7, 0.6), output_size=2, stride_speed=2.0, case=ONE_PIXEL),
    _case(*_LEARNABLE_STRIDE, "hard", hard=True, filters=2, initial_strides=(1.6, 2.3), output_size=3, case=SMALL),
    _case(*_SPATIAL_TRANSFORMER, "default", filters=2, grid_size=2),
    _case(*_SPATIAL_TRANSFORMER, "affine-odd", scale_factor=1.5, offsets=False, border="reflect", case=ODD),
    _case(*_SPATIAL_TRANSFORMER, "offsets", output_size=(3, 4), affine=False, border="wrap", case={"channels": 2}),
    _case(*_SPATIAL_TRANSFORMER, "one-pixel", output_size=2, filters=3, grid_size=1, case=ONE_PIXEL),
    _case(*_SPECTRAL, "default", case=LEARNED_SIDES),
    _case(*_SPECTRAL, "odd", initial_strides=1.6, smoothness=2.3, case={**ODD, **LEARNED_SIDES, "channels": 2}),
    # A single sample has only the frequency 0, so the strides have no gradient.
    _case(*_SPECTRAL, "one-pixel", trainable=False, case={**ONE_PIXEL, **LEARNED_SIDES}),
    _case(*_SPECTRAL, "fixed-size", initial_strides=(1.7, 2.3), output_size=(5, 12), cost_weight=0.1, stride_speed=2.0),
    _case(*_SPECTRAL, "hard", initial_strides=(1.5, 2.4), hard=True, case={**SMALL, **LEARNED_SIDES, "size": (7, 6)}),
    _case(*_SPECTRAL, "hard-fixed-size", output_size=(2, 6), hard=True, case={**SMALL, "size": (7, 6)}),
    _case(*_SPATIAL_TRANSFORMER, "hard", hard=True, filters=2, grid_size=2, output_size=3, border="edge", case=SMALL),
]
