"""Operations with custom gradients inside branches and loops, before saving and loaded without the package."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import ops
from tfpyramid.ops import partition, routing

RNG = np.random.default_rng(0)
POINTS = tf.constant(RNG.uniform(0, 7, size=(1, 40, 2)), tf.float32)
KERNEL = tf.constant(RNG.normal(size=(3, 3, 2, 2)), tf.float32)
STAGES = [partition.Stage(lambda x: x**2, [8, 8, 2]), partition.Stage(lambda x: x**3, [8, 8, 2])]


def learned_strides(x):
    strides = 1.5 + tf.tanh(tf.reduce_mean(x, [0, 1, 2]))
    return ops.strided_conv2d(x, KERNEL, strides)


def routed(x):
    images = tf.concat([x, 2 * x], 0)
    return routing.route([images, images + 1], tf.constant([[0.0, 1.0], [1.0, 0.0]]), STAGES)


def in_bfloat16(operation):
    return lambda x: tf.cast(operation(tf.cast(x, tf.bfloat16)), tf.float32)


OPERATIONS = {
    "one_hot_st": lambda x: ops.one_hot_st(x, 0.7),
    "one_hot_st, bfloat16": in_bfloat16(lambda x: ops.one_hot_st(x, 0.7)),
    "heaviside_st": lambda x: ops.heaviside_st(x, 0.5),
    "quantize_st": lambda x: ops.quantize_st(x, 3),
    "quantize_st, bfloat16": in_bfloat16(lambda x: ops.quantize_st(x, 3)),
    "gumbel_softmax": lambda x: ops.gumbel_softmax(x, 0.7, seed=[1, 2], hard=True),
    "normalize_gradient": ops.normalize_gradient,
    "scale_gradient": lambda x: ops.scale_gradient(x, -2.0),
    "pyr_down": lambda x: ops.pyr_down(tf.tile(x, [1, 8, 8, 1])),
    "bilinear_sample": lambda x: ops.bilinear_sample(x, POINTS),
    "bilinear_sample, points": lambda x: ops.bilinear_sample(x, 3 + tf.reshape(x, [1, -1, 2])),
    "strided_conv2d": learned_strides,
    "route": routed,
}


def in_branch(operation, x):
    return tf.cond(tf.reduce_sum(x) < 1e9, lambda: operation(x), lambda: operation(-x))


def in_map(operation, x):
    return tf.map_fn(operation, tf.stack([x, x]))[0]


def in_loop(operation, x):
    first = tf.zeros_like(operation(x))
    return tf.while_loop(lambda k, y: k < 1, lambda k, y: (k + 1, y + operation(x)), [0, first])[1]


FLOWS = (in_branch, in_map, in_loop)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_survive_branches_and_loops_and_being_saved(name, readers, tmp_path):
    operation = OPERATIONS[name]
    x = RNG.normal(size=(1, 8, 8, 2)).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(sample := tf.constant(x))
        y = operation(sample)
    upstream = RNG.normal(size=y.shape).astype(np.float32)
    gradient = tape.gradient(y, sample, upstream)
    assert np.any(gradient)

    model = tf.Module()
    specs = [tf.TensorSpec(x.shape) for _ in FLOWS]
    model.serve = tf.function(
        lambda inputs: [flow(operation, x) for flow, x in zip(FLOWS, inputs)], input_signature=[specs], autograph=False
    )

    @tf.function(autograph=False)
    def differentiated(inputs):
        outputs = model.serve(inputs)
        return outputs, tf.gradients(outputs, inputs, [upstream] * len(FLOWS))

    here = differentiated([sample] * len(FLOWS))
    tf.saved_model.save(model, tmp_path / "model")
    (elsewhere,) = readers["saved_model"].read(tmp_path / "model", [([x] * len(FLOWS), [upstream] * len(FLOWS))])
    for outputs, gradients in (here, elsewhere):
        for flow, output, from_flow in zip(FLOWS, outputs, gradients, strict=True):
            np.testing.assert_allclose(output, y, rtol=1e-5, atol=1e-6, err_msg=flow.__name__)
            np.testing.assert_allclose(from_flow, gradient, rtol=1e-5, atol=1e-6, err_msg=flow.__name__)
