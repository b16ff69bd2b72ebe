"""Operations agree with themselves: eagerly, in a graph of unknown sides, under XLA, and from a SavedModel.

Hypothesis draws shapes, factors, kernels, borders and dtypes. `pytest tests/test_properties.py
--hypothesis-profile=nightly` draws thousands of them; see conftest.py.
"""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.check_layer import TOLERANCE
from tfpyramid import ops
from tfpyramid._sizes import level_size, rounded_down
from tfpyramid.ops.borders import NAMES

DTYPES = ("float32", "float32", "float64", "float16", "bfloat16")


class Example(NamedTuple):
    """A call of an operation."""

    run: Callable  # From tensors to one or a list of them.
    shapes: list[tuple[int, ...]]  # Of what has a gradient. Axes are unknown in a graph, but for the last of images.
    static: int = 0  # How many of the last shapes are those of kernels, which are known in a graph too.
    # The standard deviation of the last values. Not a factor within `run`: XLA keeps the digits of such a product that
    # bfloat16 has not, and a position or a choice beside a jump is then another one.
    scale: float = 1.0


sides = st.one_of(st.integers(1, 6), st.integers(1, 30))
factors = st.one_of(st.sampled_from([2.0, 3.0, 1.5, 2**0.5, 2**0.25]), st.integers(105, 420).map(lambda n: n / 100))
kernels = st.sampled_from([None, "binomial", "gaussian", "box", "bilinear", [1.0, 2.0, 4.0]])
borders = st.sampled_from(NAMES)
phases = st.sampled_from([0.0, 0.5, 1.0, -0.75])


@st.composite
def images(draw: Callable, *, least: int = 1) -> tuple[int, ...]:
    height, width = draw(sides), draw(sides)
    return draw(st.integers(1, 2)), max(height, least), max(width, least), draw(st.integers(1, 3))


@st.composite
def pyr_down(draw: Callable) -> Example:
    options = {"scale_factor": draw(factors), "kernel": draw(kernels), "border": draw(borders)}
    return Example(lambda x: ops.pyr_down(x, **options), [draw(images())])


@st.composite
def pyr_up(draw: Callable) -> Example:
    options = {"scale_factor": draw(factors), "kernel": draw(kernels), "border": draw(borders)}
    batch, height, width, channels = draw(images())
    coarse = [level_size(n, options["scale_factor"]) for n in (height, width)]
    return Example(lambda x: ops.pyr_up(x, (height, width), **options), [(batch, *coarse, channels)])


@st.composite
def resize_by(draw: Callable) -> Example:
    size, factor = (draw(sides), draw(sides)), draw(st.one_of(st.none(), factors))
    interpolation, phase = draw(st.sampled_from(["bilinear", "nearest"])), draw(phases) if factor else 0.0
    options = {"interpolation": interpolation, "phase": phase}
    return Example(lambda x: ops.resize_by(x, factor, size, **options), [draw(images())])


@st.composite
def bilinear_down(draw: Callable) -> Example:
    factor, antialias = draw(factors), draw(st.booleans())
    return Example(lambda x: ops.bilinear_down(x, factor, antialias=antialias), [draw(images())])


@st.composite
def gaussian_pyramid(draw: Callable) -> Example:
    levels, finer = draw(st.integers(2, 3)), draw(st.integers(0, 1))
    options = {"scale_factor": draw(factors), "kernel": draw(kernels), "border": draw(borders)}
    return Example(lambda x: ops.gaussian_pyramid(x, levels, upsampled_levels=finer, **options), [draw(images())])


@st.composite
def reconstruct(draw: Callable) -> Example:
    options = {"scale_factor": draw(factors), "kernel": draw(kernels), "border": draw(borders)}
    return Example(lambda x: ops.reconstruct(ops.laplacian_pyramid(x, 2, **options), **options), [draw(images())])


@st.composite
def align_levels(draw: Callable) -> Example:
    factor, target, shape = draw(factors), draw(st.integers(0, 1)), draw(images())
    rounded = draw(st.sampled_from([level_size, rounded_down]))
    coarser = (shape[0], *(rounded(n, factor) for n in shape[1:3]), shape[3])
    interpolation = draw(st.sampled_from(["bilinear", "nearest"]))
    options = {"scale_factor": factor, "interpolation": interpolation, "phase": draw(phases)}
    return Example(lambda *x: ops.align_levels(x, target, **options), [shape, coarser])


@st.composite
def spectral_pool(draw: Callable) -> Example:
    strides, hard = [draw(st.integers(100, 350)) / 100 for _ in range(2)], draw(st.booleans())
    return Example(lambda x: ops.spectral_pool(x, strides, hard=hard), [draw(images())])


@st.composite
def depthwise_down(draw: Callable) -> Example:
    strides, border, shape = draw(st.integers(1, 3)), draw(borders), draw(images())
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)), shape[3], 1)
    return Example(lambda x, w: ops.depthwise_down(x, w, strides, border=border), [shape, kernel], 1)


@st.composite
def conv_down(draw: Callable) -> Example:
    strides, border, shape = draw(st.integers(1, 3)), draw(borders), draw(images())
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)), shape[3], 2)
    return Example(lambda x, w: ops.conv_down(x, w, strides, border=border), [shape, kernel], 1)


@st.composite
def strided_conv2d(draw: Callable) -> Example:
    strides = [draw(st.integers(60, 350)) / 100 for _ in range(2)]
    size, shape = draw(st.one_of(st.none(), st.tuples(sides, sides))), draw(images(least=3))
    return Example(lambda x, w: ops.strided_conv2d(x, w, strides, output_size=size), [shape, (3, 2, shape[3], 2)], 1)


@st.composite
def window_mean(draw: Callable) -> Example:
    strides, border, shape, window = draw(st.integers(1, 3)), draw(borders), draw(images()), draw(st.integers(1, 4))
    weights = (shape[0], -(-shape[1] // strides), -(-shape[2] // strides), window**2)
    return Example(lambda x, w: ops.window_mean(x, w, strides, border=border), [shape, weights])


@st.composite
def warp(draw: Callable) -> Example:
    border, shape = draw(borders), draw(images())
    return Example(lambda x, flow: ops.warp(x, flow, border=border), [shape, (*shape[:3], 2)], scale=3.7)


@st.composite
def cost_volume(draw: Callable) -> Example:
    options = {"step": draw(st.integers(1, 2)), "kernel_size": draw(st.sampled_from([1, 3]))}
    displacement, shape = draw(st.integers(0, 2)), draw(images())
    return Example(lambda x, y: ops.cost_volume(x, y, displacement, **options), [shape, shape])


@st.composite
def cost_lookup(draw: Callable) -> Example:
    options = {"step": draw(st.integers(1, 2)), "kernel_size": draw(st.sampled_from([1, 3])), "sampling": "lookup"}
    displacement, shape = draw(st.integers(0, 2)), draw(images())
    shapes = [shape, shape, (*shape[:3], 2)]
    return Example(lambda x, y, flow: ops.cost_volume(x, y, displacement, flow=flow, **options), shapes, scale=3.7)


@st.composite
def choices(draw: Callable) -> Example:
    operation = draw(
        st.sampled_from([ops.round_st, ops.heaviside_st, ops.quantize_st, ops.one_hot_st, ops.normalize_gradient])
    )
    return Example(operation, [draw(images())], scale=3.0)


OPERATIONS = {
    strategy.__name__: strategy
    for strategy in (
        align_levels,
        bilinear_down,
        choices,
        conv_down,
        cost_lookup,
        cost_volume,
        depthwise_down,
        gaussian_pyramid,
        pyr_down,
        pyr_up,
        reconstruct,
        resize_by,
        spectral_pool,
        strided_conv2d,
        warp,
        window_mean,
    )
}

# Traces of these with unknown sides take seconds, so they get half as many examples.
SLOW = {"gaussian_pyramid", "reconstruct"}


def outputs_and_gradients(run: Callable, values: list[tf.Tensor], upstream: list[tf.Tensor] | None) -> tuple:
    """Return the outputs, and the gradients of sum(upstream * outputs) for all values."""
    with tf.GradientTape() as tape:
        tape.watch(values)
        outputs = tf.nest.flatten(run(*values))
    return outputs, tape.gradient(outputs, values, upstream, unconnected_gradients="zero")


def assert_agree(actual: tuple, expected: tuple, dtype: str, what: str) -> None:
    for part, a, e in zip(("output", "gradient"), actual, expected):
        for k, (x, y) in enumerate(zip(a, e, strict=True)):
            assert x.dtype == y.dtype and x.shape == y.shape, f"{what}: {part} {k} is {x.shape}, eagerly {y.shape}"
            x, y = (np.asarray(tf.cast(z, tf.float64)) for z in (x, y))
            bound = TOLERANCE[dtype] * max(1.0, np.max(np.abs(y), initial=0))
            np.testing.assert_allclose(x, y, atol=bound, rtol=0, err_msg=f"{what}: {part} {k}")


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.usefixtures("optimised_graphs")
def test_sizes_values_and_gradients_agree(name):
    # The operations share the examples of a profile.
    share = (1 if name in SLOW else 2) / (2 * len(OPERATIONS) - len(SLOW))

    @settings(max_examples=math.ceil(share * settings.default.max_examples))
    @given(example=OPERATIONS[name](), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 2**16))
    def check(example: Example, dtype: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        arrays = [rng.standard_normal(shape) for shape in example.shapes]
        values = [tf.constant(array, dtype) for array in (*arrays[:-1], example.scale * arrays[-1])]
        y = tf.nest.flatten(example.run(*values))
        upstream = [tf.constant(rng.standard_normal(each.shape), dtype) for each in y]
        expected = outputs_and_gradients(example.run, values, upstream)

        compiled = tf.function(
            lambda *x: outputs_and_gradients(example.run, list(x), upstream), jit_compile=True, autograph=False
        )
        assert_agree(compiled(*values), expected, dtype, "compiled by XLA")

        dynamic = len(values) - example.static
        specs = [
            tf.TensorSpec([None, None, None, *x.shape[3:]] if k < dynamic else x.shape, x.dtype)
            for k, x in enumerate(values)
        ]
        module = tf.Module()
        module.run = tf.function(lambda *x: tf.nest.flatten(example.run(*x)), specs, autograph=False)
        assert_agree(outputs_and_gradients(module.run, values, upstream), expected, dtype, "of unknown sides")
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(module, folder)
            loaded = tf.saved_model.load(folder)
        assert_agree(outputs_and_gradients(loaded.run, values, upstream), expected, dtype, "of a SavedModel")

    check()


def first_row(images: tf.Tensor, flow: tf.Tensor, border: str) -> tf.Tensor:
    """Return the first row of `warp`, by `bilinear_sample`, which reads few points in another way than many."""
    x = tf.range(tf.shape(flow)[2], dtype=flow.dtype)
    points = flow[:, 0, :, ::-1] + tf.stack([tf.zeros_like(x), x], -1)
    return ops.bilinear_sample(images, points, border=border)[:, None]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["warp", "bilinear_sample"])
@pytest.mark.usefixtures("optimised_graphs")
def test_a_nan_in_a_flow_stays_at_its_pixel(name):
    """Outputs, and the gradients of the images and of all other flows, are those without it."""

    @settings(max_examples=math.ceil(settings.default.max_examples / 16))
    @given(shape=images(), border=borders, dtype=st.sampled_from(["float32", "float64"]), seed=st.integers(0, 2**16))
    def check(shape: tuple[int, ...], border: str, dtype: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        batch, height, width, channels = shape
        pixels = [batch, height if name == "warp" else 1, width]
        x, flow, upstream = (rng.standard_normal(s) for s in (shape, [*pixels, 2], [*pixels, channels]))
        unknown = rng.random(flow.shape) < 0.2
        broken = unknown.any(-1, keepdims=True)
        clean, nan = (tf.constant(3.7 * each, dtype) for each in (flow, np.where(unknown, np.nan, flow)))
        x, upstream = tf.constant(x, dtype), tf.constant(upstream, dtype)

        def run(x: tf.Tensor, flow: tf.Tensor, upstream: tf.Tensor) -> tuple:
            read = functools.partial(ops.warp if name == "warp" else first_row, border=border)
            return outputs_and_gradients(read, [x, flow], [upstream])

        (wanted,), (of_x, of_flow) = run(x, clean, tf.where(broken, tf.zeros_like(upstream), upstream))
        for way in (run, tf.function(run, jit_compile=True, autograph=False), tf.function(run, autograph=False)):
            (y,), (to_x, to_flow) = way(x, nan, upstream)
            np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(broken, y.shape))
            for found, expected in ((tf.where(broken, wanted, y), wanted), (to_x, of_x)):
                bound = TOLERANCE[dtype] * max(1.0, np.max(np.abs(expected), initial=0))
                np.testing.assert_allclose(found, expected, atol=bound, rtol=0)
            np.testing.assert_allclose(tf.where(broken, of_flow, to_flow), of_flow, rtol=1e-3, atol=1e-4)

    check()
