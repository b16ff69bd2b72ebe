"""Operations that run as traced functions of their own: in eager calls, and in graphs with unknown sides."""

import numpy as np
import pytest
import tensorflow as tf

from tests.graph_size import count_operations, with_gradient
from tests.ops.linear_derivatives import derivatives
from tfpyramid import ops
from tfpyramid.ops import _operation
from tfpyramid.ops._operation import shared

UNKNOWN = tf.TensorSpec([None, None, None, 3])
RNG = np.random.default_rng(0)


@pytest.fixture
def doubled():
    """Return a shared function, and the list of the shapes that its body saw."""
    seen = []

    @shared
    def function(images, factor):
        seen.append(images.shape.as_list())
        return factor * images

    return function, seen


def test_eager_calls_of_one_size_are_traced_after_a_few(doubled):
    function, seen = doubled
    x = tf.ones([1, 4, 5, 3])
    for _ in range(_operation._CALLS_BEFORE_TRACE + 5):
        np.testing.assert_array_equal(function(x, 2.0), 2 * x)
    assert seen == [[1, 4, 5, 3]] * (_operation._CALLS_BEFORE_TRACE + 1)
    function(tf.ones([1, 4, 6, 3]), 2.0)
    function(x, 3.0)
    assert seen[-2:] == [[1, 4, 6, 3], [1, 4, 5, 3]]


def test_a_graph_with_unknown_sides_traces_it_once_and_one_with_known_sides_each_time(doubled):
    function, seen = doubled
    for sides, times in ((None, 1), (4, 2)):
        seen.clear()
        signature = [tf.TensorSpec([None, sides, sides, 3])]
        run = tf.function(lambda x: function(function(x, 2.0), 2.0), signature, autograph=False)
        np.testing.assert_array_equal(run(tf.ones([2, 4, 4, 3])), 4 * np.ones([2, 4, 4, 3]))
        assert len(seen) == times


def test_the_parts_of_an_operation_are_not_traced_on_their_own():
    inner = shared(lambda images: 2 * images)
    outer = shared(lambda images: inner(inner(inner(inner(inner(images))))))
    x = tf.ones([1, 2, 2, 1])
    _operation._traced.cache_clear()
    outer(x)
    assert _operation._traced.cache_info().currsize == 1


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: ops.gaussian_pyramid(x, 3),
        lambda x: ops.laplacian_pyramid(x, 3, kernel=[1.0, 2.0, 1.0], border="wrap"),
        lambda x: ops.gaussian_pyramid(x, 3, scale_factor=1.5, upsampled_levels=1),
        lambda x: [ops.reconstruct(ops.laplacian_pyramid(x, 3))],
        lambda x: [ops.pyr_up(ops.pyr_down(x), x.shape[1:3])],
    ],
)
def test_a_traced_call_and_its_gradients_equal_the_first_ones(operation):
    x = tf.constant(RNG.normal(size=[2, 13, 10, 2]))
    upstream = [tf.constant(RNG.normal(size=level.shape)) for level in operation(x)]

    first = tf.nest.flatten(derivatives(operation, x, upstream, x))
    for _ in range(_operation._CALLS_BEFORE_TRACE + 1):
        last = tf.nest.flatten(derivatives(operation, x, upstream, x))
    for a, b in zip(first, last):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_a_variable_as_kernel_gets_its_gradient_from_a_traced_call():
    x, kernel = tf.ones([1, 8, 8, 1]), tf.Variable([1.0, 2.0, 1.0])
    for _ in range(_operation._CALLS_BEFORE_TRACE + 2):
        kernel.assign_add([1.0, 0.0, 0.0])
        with tf.GradientTape() as tape:
            y = ops.pyr_down(x * tf.reshape(tf.range(8.0), [1, 1, 8, 1]), kernel=kernel)[0, 0, 1, 0]
        # The mean of the positions 1, 2 and 3 with the weights of the kernel.
        total = tf.reduce_sum(kernel)
        np.testing.assert_allclose(y, tf.reduce_sum(kernel * [1.0, 2.0, 3.0]) / total, rtol=1e-6)
        np.testing.assert_allclose(tape.gradient(y, kernel), ([1.0, 2.0, 3.0] - y) / total, rtol=1e-5)


def test_errors_of_traced_calls_name_the_argument():
    for _ in range(_operation._CALLS_BEFORE_TRACE + 2):
        ops.pyr_up(tf.ones([1, 3, 3, 1]), (6, 6))
        with pytest.raises(ValueError, match="`output_size` must satisfy.*Received: output_size=\\(7, 6\\)"):
            ops.pyr_up(tf.ones([1, 3, 3, 1]), (7, 6))


@pytest.mark.parametrize(
    "pyramid, most",
    [
        (lambda x: ops.gaussian_pyramid(x, 5), 500),
        (lambda x: ops.laplacian_pyramid(x, 5), 800),
        (lambda x: ops.gaussian_pyramid(x, 6, scale_factor=2**0.5), 900),
    ],
)
def test_a_pyramid_of_unknown_sides_with_its_gradient_is_few_operations(pyramid, most):
    assert count_operations(with_gradient(pyramid), UNKNOWN) <= most
