"""Sides of levels are the same in Python, in graphs with unknown sides, under XLA, in portable graphs and SavedModels.

The right sizes are those of Python's fractions, with the fraction that stands for a factor found by trying every one.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import _sizes, layers, ops
from tfpyramid._compat import keras
from tfpyramid.ops.portable import portable

DECIMALS = [1.0001, 1.05, 1.1, 1.15, 1.4, 1.7, 1.8, 1.9, 2.0, 2.3, 2.6, 2.7, 3.0, 3.3, 4.7, 5.9, 7.3]
FACTORS = DECIMALS + [2 ** (1 / k) for k in (2, 3, 4, 5, 12)] + [4 / 3, 5 / 3, 10 / 3, math.pi]
SIDES = np.arange(1, 201)
RULES = _sizes.level_size, _sizes.finer_size, _sizes.rounded_size


@pytest.mark.parametrize(
    "factor, fraction",
    [
        (2, (2, 1)),
        (1.4, (7, 5)),
        (float(np.float32(1.4)), (7, 5)),
        (2.3, (23, 10)),
        (3.0000000000000004, (3, 1)),
        (2**0.5, (19601, 13860)),  # A convergent of the continued fraction.
        (1.0001, (10001, 10000)),
        (1.000000001, (32768, 32767)),
        (1, (1, 1)),
        (0.4, (2, 5)),
        (1e9 + 0.2, (10**9, 1)),
        (1e300, (2**31 - 1, 1)),
    ],
)
def test_a_factor_is_a_fraction(factor, fraction):
    assert _sizes.ratio(factor) == fraction
    if factor < 1:
        factor, fraction = 1 / factor, fraction[::-1]
    if 1 < factor < 2**15:
        assert references.fraction(factor) == Fraction(*fraction)


def test_the_fraction_is_close():
    for factor in FACTORS:
        p, q = _sizes.ratio(factor)
        assert Fraction(p, q) == references.fraction(factor)
        # So over n samples, places move by less than n / (2^15 q) samples, which is the bound that the module states.
        assert abs(p / q - factor) < factor / (2**15 * q)


def counted(sides):
    """Return all sizes of all factors, [factors, 3, sides]."""
    return tf.stack([tf.stack([rule(sides, factor) for rule in RULES]) for factor in FACTORS])


@pytest.mark.slow
def test_every_way_of_running_counts_alike(optimised_graphs):
    fractions = [references.fraction(factor) for factor in FACTORS]
    rules = (lambda n, f: math.ceil(n / f)), (lambda n, f: math.floor(n * f)), (lambda n, f: max(1, round(n / f)))
    expected = [[[rule(int(n), f) for n in SIDES] for rule in rules] for f in fractions]
    in_python = [[[rule(int(n), factor) for n in SIDES] for rule in RULES] for factor in FACTORS]
    assert in_python == expected
    sides = tf.constant(SIDES, tf.int32)
    with portable():
        graph = tf.function(counted, autograph=False).get_concrete_function(tf.TensorSpec([None], tf.int32))
    assert {t.dtype for op in graph.graph.get_operations() for t in op.outputs} <= {tf.int32, tf.bool}
    assert np.array_equal(graph(sides), expected)
    assert np.array_equal(tf.function(counted, jit_compile=True, autograph=False)(sides), expected)


def test_large_sides_do_not_overflow():
    for factor in (1.4, 2**0.5, 1.0001, math.pi, 1000.5):
        f = references.fraction(factor)
        for n in (2**31 - 1, 2**31 - 2, 10**9 + 7):
            assert int(_sizes.level_size(tf.constant(n), factor)) == math.ceil(n / f)
            m = n // math.ceil(f) - 1
            assert int(_sizes.finer_size(tf.constant(m), factor)) == math.floor(m * f)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_factors_that_only_the_graph_knows_count_alike(optimised_graphs, dtype):
    def counted(sides, factors):
        quotients = [_sizes.quotient(sides, factor) for factor in tf.unstack(factors)]
        return tf.stack([tf.stack([tf.math.ceil(x), tf.floor(x), tf.round(x)]) for x in quotients])

    factors, sides = np.array(DECIMALS, dtype), tf.constant(SIDES, tf.int32)
    exact = [Fraction(str(factor)) for factor in DECIMALS]
    expected = [[[r(int(n) / f) for n in SIDES] for r in (math.ceil, math.floor, round)] for f in exact]
    assert np.array_equal(counted(sides, tf.constant(factors)), expected)
    for options in ({}, {"jit_compile": True}):
        # As a constant, where the graph would multiply by the inverse, and as an argument, as a weight is one.
        constant = tf.function(lambda n: counted(n, tf.constant(factors)), autograph=False, **options)
        assert np.array_equal(constant(sides), expected)
        assert np.array_equal(tf.function(counted, autograph=False, **options)(sides, tf.constant(factors)), expected)


def everything(x, factor):
    """Return what every operation with a factor makes of images."""
    bands = ops.laplacian_pyramid(x, 3, scale_factor=factor)
    kernel, nearest = tf.ones([3, 3, 1, 1], x.dtype), {"interpolation": "nearest"}
    return [
        *bands,
        ops.reconstruct(bands, scale_factor=factor),
        *ops.gaussian_pyramid(x, 4, scale_factor=factor, upsampled_levels=2, kernel="box"),
        ops.bilinear_down(x, factor),
        ops.bilinear_down(x, factor, antialias=True),
        ops.spectral_pool(x, factor),
        ops.spectral_pool(x, factor, hard=True),
        ops.strided_conv2d(x, kernel, factor),
        *ops.align_levels(ops.gaussian_pyramid(x, 3, scale_factor=factor), 1, scale_factor=factor, **nearest),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("factor, size", [(1.4, (21, 42)), (1.8, (27, 9)), (2**0.5, (20, 13))])
def test_images_of_unknown_sides_are_answered_as_those_of_known_sides(optimised_graphs, factor, size):
    x = np.random.default_rng(0).normal(size=(1, *size, 1))
    known = everything(tf.constant(x), factor)
    np.testing.assert_allclose(known[3], x, atol=1e-12)
    assert known[1].shape[1:3] == tuple(math.ceil(n / references.fraction(factor)) for n in size)
    unknown = [tf.TensorSpec([None, None, None, 1], tf.float64)]
    for options in ({}, {"jit_compile": True}):
        run = tf.function(lambda x: everything(x, factor), input_signature=unknown, autograph=False, **options)
        for a, b in zip(run(tf.constant(x)), known, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, atol=1e-12)
    with portable():
        unknown = [tf.TensorSpec([None, None, None, 1], tf.float32)]
        run = tf.function(lambda x: everything(x, factor), input_signature=unknown, autograph=False)
        for a, b in zip(run(tf.constant(x, tf.float32)), known, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.slow
def test_bands_of_a_saved_model_are_reconstructed(readers, tmp_path):
    x = np.random.default_rng(0).normal(size=(1, 21, 42, 3)).astype(np.float32)
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.LaplacianPyramid(3, scale_factor=1.4)(image))
    model.export(tmp_path / "bands")
    [(bands, _)] = readers["saved_model"].read(tmp_path / "bands", [([x], [np.ones(1, np.float32)] * 3)])
    assert [band.shape[1:3] for band in bands] == [(21, 42), (15, 30), (11, 22)]
    np.testing.assert_allclose(ops.reconstruct(bands, scale_factor=1.4), x, atol=1e-5)
