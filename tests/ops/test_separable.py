"""Steps by whole factors at sizes on both sides of every branch of `ops.separable` and `ops.axes`."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tests.ops.linear_derivatives import derivatives
from tfpyramid import ops
from tfpyramid.ops import axes, borders, separable

BORDERS = ("reflect", "symmetric", "edge", "constant", "wrap")
KERNELS = [[1.0], [1.0, 2.0], [1.0, 3.0, 2.0], [2.0, 1.0, 5.0, 4.0, 3.0], [2.0, 1.0, 5.0, 7.0, 4.0, 3.0, 1.0]]


@functools.lru_cache(maxsize=None)
def matrix(direction, size, kernel, factor, border):
    """Return the matrix of one step down from `size` samples, or of one step up to them."""
    taps = np.array(kernel) / sum(kernel)
    if direction == "down":
        return np.stack([references.down_line(unit, taps, factor, border) for unit in np.eye(size)], 1)
    return np.stack([references.up_line(unit, size, taps, factor, border) for unit in np.eye(-(-size // factor))], 1)


def sizes(taps, factor):
    """Return the smallest sizes, and some on both sides of where images are no longer extended."""
    large = 4 * max(taps, factor)
    return [1, 2, taps // 2 + 1, taps, large - 1, large, large + 1]


@pytest.mark.slow
@pytest.mark.parametrize("few_elements", [0, borders._SMALL])
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("direction", ["down", "up"])
def test_steps_and_their_gradients_are_the_matrices(direction, factor, border, few_elements, monkeypatch):
    monkeypatch.setattr(separable, "_LARGE", 1)  # The references would take too long for large images.
    monkeypatch.setattr(borders, "_SMALL", few_elements)
    rng = np.random.default_rng(factor)
    for kernel in KERNELS:
        heights = sizes(len(kernel), factor)
        for height, width in zip(heights, rng.permutation(heights).tolist()):
            rows, columns = (matrix(direction, n, tuple(kernel), factor, border) for n in (height, width))
            shape = [2, rows.shape[1], columns.shape[1], 2]
            x, more = tf.constant(rng.normal(size=[2, *shape]))
            g = tf.constant(rng.normal(size=[2, len(rows), len(columns), 2]))
            step = {"scale_factor": factor, "kernel": kernel, "border": border}
            if direction == "down":
                results = derivatives(lambda x: ops.pyr_down(x, **step), x, g, more)
            else:
                results = derivatives(lambda x: ops.pyr_up(x, (height, width), **step), x, g, more)
            expected = _both(rows, x, columns), _both(rows.T, g, columns.T), _both(rows, more, columns)
            for result, value in zip(results, expected):
                np.testing.assert_allclose(result, value, atol=1e-12, err_msg=f"{step}, {height}, {width}")


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2, 3])
def test_down_from_unknown_sizes_and_its_gradients_are_the_matrices(factor):
    rng = np.random.default_rng(factor)
    for kernel, border in zip(KERNELS, BORDERS[factor:] + BORDERS[:factor]):
        step = {"scale_factor": factor, "kernel": kernel, "border": border}
        signature = [tf.TensorSpec([None, None, None, 2], tf.float64)] * 3
        run = tf.function(
            functools.partial(derivatives, functools.partial(ops.pyr_down, **step)), signature, autograph=False
        )
        # Until the ends no longer meet, with every rest of samples that are neither, and beyond.
        heights = [*range(1, 2 * len(kernel) + factor), 50]
        for height, width in zip(heights, rng.permutation(heights).tolist()):
            rows, columns = (matrix("down", n, tuple(kernel), factor, border) for n in (height, width))
            for batch in (0, 2) if height in (1, 50) else (2,):
                x, more = rng.normal(size=[2, batch, height, width, 2])
                g = rng.normal(size=[batch, len(rows), len(columns), 2])
                expected = _both(rows, x, columns), _both(rows.T, g, columns.T), _both(rows, more, columns)
                for result, value in zip(run(x, g, more), expected):
                    assert result.shape == value.shape
                    np.testing.assert_allclose(result, value, atol=1e-12, err_msg=f"{step}, {height}, {width}")


def _both(rows, x, columns):
    return np.einsum("ij,bjkc,lk->bilc", rows, x, columns, optimize=True)


def test_windows_far_apart_have_all_samples_between_them():
    for size in [23, 24, 30, 31, 32, 33, 60, 62]:
        x = np.random.default_rng(size).normal(size=(1, size, 1, 1))
        y = ops.pyr_down(x, scale_factor=30.0, kernel=KERNELS[2])
        np.testing.assert_allclose(y, references.pyr_down(x, 30.0, KERNELS[2]), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("factor, kernel, border", [(2, KERNELS[3], "reflect"), (3, KERNELS[4], "constant")])
def test_traced_for_unknown_sizes_and_in_slices_it_is_the_same(factor, kernel, border):
    step = {"scale_factor": factor, "kernel": kernel, "border": border}

    def there_and_back(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = ops.pyr_down(x, **step)
            back = ops.pyr_up(y, tf.shape(x)[1:3] if None in x.shape else tuple(x.shape[1:3]), **step)
            loss = tf.reduce_sum(back**2)
        return y, back, tape.gradient(loss, x)

    signature = [tf.TensorSpec([None, None, None, 2], tf.float64)]
    unknown = tf.function(there_and_back, input_signature=signature, autograph=False)
    known = [tf.function(there_and_back, jit_compile=compiled, autograph=False) for compiled in (False, True)]
    for size, functions in [((1, 2), [unknown]), ((73, 9), [unknown, *known])]:
        x = tf.constant(np.random.default_rng(0).normal(size=(2, *size, 2)))
        expected = there_and_back(x)
        for traced in functions:
            for result, value in zip(traced(x), expected):
                np.testing.assert_allclose(result, value, atol=1e-12)


def test_only_what_xla_compiles_is_traced_in_slices():
    seen = []
    for compiled in (True, False):
        inner = tf.function(lambda x: seen.append(axes.in_slices()) or x)
        tf.function(lambda x: tf.cond(x > 0, lambda: inner(x), lambda: x), jit_compile=compiled)(tf.constant(1.0))
    axes.in_slices()
    assert seen == [True, False] and not axes.in_slices()


def test_adding_the_gradient_of_the_strips_leaves_the_upstream_gradient_alone():
    x, upstream = tf.zeros([1, 9, 3, 1]), tf.ones([1, 9, 3, 1])

    # The upstream gradient comes without a known shape, as it does through many an operation.
    signature = [tf.TensorSpec([None, 9, 3, 1]), tf.TensorSpec(None)]

    @tf.function(input_signature=signature, autograph=False)
    def gradients(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            same, strips = separable.border_strips(x, 1, 2, step=2)
        return tape.gradient([same, strips], x, [upstream, 3 * tf.ones_like(strips)]), upstream

    gradient, after = gradients(x, upstream)
    np.testing.assert_array_equal(after, upstream)
    # A multiple of the step is left out, four of the five between, so there are three at the end.
    np.testing.assert_array_equal(gradient[0, :, 0, 0], [4, 4, 1, 1, 1, 1, 4, 4, 4])
    np.testing.assert_array_equal(upstream, np.ones([1, 9, 3, 1]))
