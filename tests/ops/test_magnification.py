"""Magnification by a convolution, which images of many channels and known sides take, is that by reads."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import ops
from tfpyramid.ops import magnification, portable

FACTORS = [(2, "bilinear"), (3, "bilinear"), (8, "bilinear"), (2, "nearest")]


def photograph(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def by_reads(images, *arguments, **keywords):
    """Return `resize_by` of pairs of channels: too few for a convolution."""
    return tf.concat([ops.resize_by(pair, *arguments, **keywords) for pair in tf.split(images, 4, -1)], -1)


def is_convolved(shape, *arguments, **keywords):
    resize = tf.function(lambda x: ops.resize_by(x, *arguments, **keywords), autograph=False)
    graph = resize.get_concrete_function(tf.TensorSpec(shape)).graph
    return "DepthwiseConv2dNativeBackpropInput" in [op.type for op in graph.get_operations()]


@pytest.mark.parametrize("phase", [0, 0.5, (1, -0.5), 1 / 3])
@pytest.mark.parametrize("size", [(5, 7), (1, 2)])
@pytest.mark.parametrize("factor, interpolation", FACTORS)
@pytest.mark.slow
def test_it_returns_what_reads_return_and_their_gradient(factor, interpolation, size, phase):
    images = tf.constant(photograph(2, *size, 8))
    convolved = []
    for rest in (0, 1 - factor, 1):
        output_size = [n * factor + rest for n in size]
        options = {"interpolation": interpolation, "phase": phase}
        upstream = photograph(2, *output_size, 8)
        found = []
        for resize in (ops.resize_by, by_reads):
            with tf.GradientTape() as tape:
                tape.watch(images)
                y = resize(images, factor, output_size, **options)
            found.append((y, tape.gradient(y, images, upstream)))
        for one, other in zip(*found):
            np.testing.assert_allclose(one, other, atol=1e-6 * factor**2)
        convolved.append(is_convolved(images.shape, factor, output_size, **options))
    assert convolved[1]


@pytest.mark.parametrize("factor, interpolation", FACTORS)
def test_a_nan_reaches_the_outputs_that_read_it(factor, interpolation):
    images = photograph(1, 5, 6, 8)
    images[0, 2, 3, 4], images[0, 0, 0, 1] = np.nan, np.inf
    size = (5 * factor, 6 * factor)
    y, expected = (
        resize(images, factor, size, interpolation=interpolation).numpy() for resize in (ops.resize_by, by_reads)
    )
    np.testing.assert_array_equal(np.isnan(y[..., 4]), np.isnan(expected[..., 4]))
    assert np.isfinite(np.delete(y, [1, 4], -1)).all()


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
def test_it_keeps_the_dtype(dtype):
    images = tf.cast(photograph(1, 4, 4, 8), dtype)
    y = ops.resize_by(images, 2, (8, 8))
    assert y.dtype == dtype
    expected = by_reads(tf.cast(images, tf.float64), 2, (8, 8))
    np.testing.assert_allclose(tf.cast(y, tf.float64), expected, atol=2.0**-7)


def test_second_derivatives_and_empty_batches():
    assert ops.resize_by(tf.zeros([0, 3, 4, 8]), 2, (6, 8)).shape == (0, 6, 8, 8)
    images = tf.constant(photograph(1, 3, 3, 8))
    with tf.GradientTape() as outer:
        outer.watch(images)
        with tf.GradientTape() as tape:
            tape.watch(images)
            y = tf.reduce_sum(ops.resize_by(images, 2, (6, 6)) ** 3)
        inner = tf.reduce_sum(tape.gradient(y, images) ** 2)
    with tf.GradientTape() as reads:
        reads.watch(images)
        with tf.GradientTape() as tape:
            tape.watch(images)
            y = tf.reduce_sum(by_reads(images, 2, (6, 6)) ** 3)
        other = tf.reduce_sum(tape.gradient(y, images) ** 2)
    np.testing.assert_allclose(outer.gradient(inner, images), reads.gradient(other, images), rtol=1e-4)


def test_reads_remain_where_a_convolution_is_slower_or_unavailable():
    assert is_convolved([None, 4, 4, 8], 2, (8, 8))
    assert not is_convolved([None, 4, 4, 7], 2, (8, 8))
    assert not is_convolved([None, None, 4, 8], 2, (8, 8))
    assert not is_convolved([None, 4, 4, 8], 2, (12, 8))
    assert not is_convolved([None, 4, 4, 8], 4, (16, 16), interpolation="nearest")
    with portable.portable():
        assert magnification.by_integer(tf.zeros([1, 4, 4, 8]), 2, (8, 8), (0.0, 0.0), "bilinear") is None
