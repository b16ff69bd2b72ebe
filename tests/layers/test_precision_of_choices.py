"""Under mixed precision, choices and positions are computed in float32, with the same result in every mode."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, ops
from tfpyramid._compat import keras


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("f")


IMAGES, QUERIES = normal(3, 40, 40, 4), normal(500, 8)
# Differences that half precision cannot represent.
CLOSE = 1 + 1e-4 * normal(500, 5)

# A layer, its inputs, and the function whose result is compared.
CASES = {
    "AdaptiveDepthPyramid": (
        lambda **options: layers.AdaptiveDepthPyramid(4, hard=True, **options),
        IMAGES,
        lambda layer, x: layer(x)[1],
    ),
    "ChannelAdaptiveDownsample2D": (
        lambda **options: layers.ChannelAdaptiveDownsample2D(reduction=1, hard=True, **options),
        normal(200, 2, 2, 4),
        lambda layer, x: layer.gates(x),
    ),
    "ContentAdaptiveDownsample2D": (
        lambda **options: layers.ContentAdaptiveDownsample2D(hard=True, **options),
        IMAGES,
        lambda layer, x: layer(x),
    ),
    "QueryLevelSelector": (
        lambda **options: layers.QueryLevelSelector(5, 16, **options),
        QUERIES,
        lambda layer, x: layer(x),
    ),
    "SpatialTransformerDownsample2D": (
        lambda **options: layers.SpatialTransformerDownsample2D(hard=True, **options),
        IMAGES,
        lambda layer, x: layer(x),
    ),
}


def built(name, policy, rounding):
    """Return a layer with random weights, rounded in advance to what a half-precision policy would read."""
    make, inputs, _ = CASES[name]
    layer = make(dtype=keras.mixed_precision.Policy(policy) if hasattr(keras, "mixed_precision") else policy)
    layer.build(inputs.shape)
    for k, weight in enumerate(layer.trainable_weights):
        weight.assign(tf.cast(tf.cast(0.3 * normal(k + 1, *weight.shape)[k], rounding), tf.float32))
    return layer


@pytest.mark.slow
@pytest.mark.parametrize("half", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_hard_choices_are_those_of_float32_in_every_mode(name, half):
    _, inputs, run = CASES[name]
    x = tf.cast(inputs, half)
    expected = run(built(name, "float32", half), tf.cast(x, tf.float32))
    layer = built(name, f"mixed_{half}", half)
    for mode in ("eager", "graph", "XLA"):
        function = run if mode == "eager" else tf.function(run, autograph=False, jit_compile=mode == "XLA")
        y = tf.cast(function(layer, x), tf.float32)
        np.testing.assert_array_equal(y, tf.cast(tf.cast(expected, half), tf.float32), err_msg=mode)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_logits_and_flows_of_float32_are_not_rounded_by_the_policy(policy):
    y = layers.GumbelLevelSelector(dtype=policy)(CLOSE)
    np.testing.assert_array_equal(np.argmax(tf.cast(y, tf.float32), axis=1), np.argmax(CLOSE, axis=1))
    assert y.dtype == policy.split("_")[1]
    images = tf.cast(normal(1, 1, 9, 1), y.dtype)
    flow = np.zeros([1, 1, 9, 2], "f")
    flow[..., 0] = 2.0001  # In half precision this is 2, and the next pixel would not be read.
    moved = layers.Warp2D(dtype=policy)([tf.constant([[[[np.nan if k == 3 else 1.0] for k in range(9)]]]), flow])
    assert moved.dtype == images.dtype
    np.testing.assert_array_equal(np.isnan(tf.cast(moved, tf.float32))[0, 0, :, 0], np.isin(np.arange(9), [0, 1]))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_level_is_chosen_by_weights_that_are_not_rounded(policy):
    layer = layers.WeightedFusion("softmax", hard=True, dtype=policy)
    levels = [tf.zeros([1, 2, 2, 1]), tf.ones([1, 1, 1, 1])]
    layer(levels)
    layer.level_weights.assign([1.0, 1.0001])
    np.testing.assert_array_equal(tf.cast(layer(levels), tf.float32), np.ones([1, 2, 2, 1]))


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_noise_is_added_to_half_precision_logits_in_float32(dtype):
    logits, seed = tf.cast(30 + normal(500, 5), dtype), [3, 4]
    expected = ops.gumbel_softmax(tf.cast(logits, tf.float32), seed=seed, hard=True)
    np.testing.assert_array_equal(ops.gumbel_softmax(logits, seed=seed, hard=True), tf.cast(expected, dtype))


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_points_of_half_precision_matrices_are_float32(dtype):
    matrices = tf.cast(normal(1, 2, 3), dtype)
    points = ops.affine_grid(matrices, (3000, 3000), (4, 4))
    np.testing.assert_array_equal(points, ops.affine_grid(tf.cast(matrices, tf.float32), (3000, 3000), (4, 4)))
