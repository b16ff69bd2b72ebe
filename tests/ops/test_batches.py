"""Empty batches: outputs of the right shape, and zeros as the gradients of what all samples share."""

import pytest
import tensorflow as tf

from tests import empty_batch
from tfpyramid import ops
from tfpyramid.ops import batches


@pytest.mark.parametrize("dtype", empty_batch.DTYPES)
@pytest.mark.parametrize("name", empty_batch.OPERATIONS)
def test_the_gradient_of_what_samples_share_is_zero(name, dtype):
    empty_batch.check_operation(name, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(0, 9, 1, 2), (0, 1, 9, 2), (0, 1, 1, 2)])
def test_optimised_graphs_of_fixed_kernels_return_the_right_shape(shape):
    # Of a side of 1, the reshape behind a convolution changes no static shape, and TensorFlow removes it.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    try:
        for specs in ([None, *shape[1:]], [None, None, None, 2]):
            run = tf.function(lambda x: ops.laplacian_pyramid(x, 3), [tf.TensorSpec(specs)], autograph=False)
            for level, size in zip(run(tf.zeros(shape)), [(9, 1), (5, 1), (3, 1)]):
                expected = tuple(n if side > 1 else 1 for n, side in zip((max(size),) * 2, shape[1:3]))
                assert level.shape == (0, *expected, 2)
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def test_a_batch_that_is_not_empty_is_passed_on():
    seen = []
    x = tf.ones([2, 3])
    assert batches.call(lambda y: seen.append(y) or y, x) is x and seen[0] is x


def test_batches_that_are_never_empty_need_no_padding():
    def nodes(x):
        return len(tf.function(lambda x: batches.call(tf.nn.relu, x)).get_concrete_function(x).graph.get_operations())

    spec = tf.TensorSpec([None, 3])
    with batches.never_empty():
        assert nodes(spec) == 3  # The argument, the function, and the result.
    assert nodes(spec) > 3
