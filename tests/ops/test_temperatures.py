"""Temperatures at the ends of what they may be, and beyond: the limits of softmax and sigmoid, or an error by name."""

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.test_numbers import BEYOND, LOGITS, UPSTREAM, value_and_gradient
from tfpyramid import layers, ops, training

WITH_TEMPERATURE = {
    "one_hot_st": ops.one_hot_st,
    "gumbel_softmax": ops.gumbel_softmax,
    "gumbel_softmax hard": lambda z, t: ops.gumbel_softmax(z, t, hard=True),
    "heaviside_st": ops.heaviside_st,
    "cumulative_gates": lambda z, t: ops.cumulative_gates(z, t)[1:],
    "cumulative_gates hard": lambda z, t: ops.cumulative_gates(z, t, hard=True)[1:],
    "fusion_weights": lambda z, t: ops.fusion_weights(z, "softmax", temperature=t),
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", WITH_TEMPERATURE)
def test_the_softest_and_the_hardest_temperature_are_the_limits(name, dtype):
    op, logits, upstream = WITH_TEMPERATURE[name], tf.cast(LOGITS, dtype), tf.cast(UPSTREAM, dtype)
    softmax = {"one_hot_st": [0, 1, 0, 0], "gumbel_softmax hard": [0, 1, 0, 0]}.get(name, [0, 0.5, 0.5, 0])
    hardest = {
        "heaviside_st": [1, 1, 1, 0],
        "cumulative_gates": [0.5, 0.5, 0.5, 0],
        "cumulative_gates hard": [1, 1, 1, 0],
    }.get(name, softmax)
    for temperature in (1e-30, tf.constant(1e-30), tf.constant(1e-45), tf.constant(0.0), tf.constant(-1.0)):
        value, gradient = value_and_gradient(lambda z, t=temperature: op(z, t), logits, upstream)
        np.testing.assert_allclose(value, hardest, rtol=1e-3)
        if dtype != "float16":  # The slope at equal logits is beyond it.
            assert np.isfinite(gradient).all()
        # The gradient of a choice that is far from equal is 0.
        assert gradient[-1] == 0
    for temperature in (1e30, tf.constant(1e30), tf.constant(np.inf)):
        value, gradient = value_and_gradient(lambda z, t=temperature: op(z, t), logits, upstream)
        if "softmax" in name and "hard" not in name or name == "fusion_weights":
            np.testing.assert_allclose(value, np.full(4, 0.25), rtol=1e-3)
        np.testing.assert_allclose(gradient, np.zeros(4), atol=1e-20)


@pytest.mark.parametrize("temperature", [1e-30, 1e-6, 1.0])
def test_logits_of_any_size_have_a_softmax(temperature):
    for logits in ([3e38, -3e38, 0.0], [1e38, 1e38, -1e38], [5.0, -np.inf, 1.0]):
        value, gradient = value_and_gradient(lambda z: ops.gumbel_softmax(z, temperature), tf.constant(logits))
        with np.errstate(over="ignore"):
            powers = np.exp((np.array(logits) - max(logits)) / temperature)
        np.testing.assert_allclose(value, powers / powers.sum(), rtol=1e-6, atol=1e-37)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", WITH_TEMPERATURE)
def test_a_temperature_is_one_number_within_bounds(name):
    for value in BEYOND:
        with pytest.raises(ValueError, match="`temperature` must be at (least 1e-30|most 1e.30).* Received: temp"):
            WITH_TEMPERATURE[name](LOGITS, value)
    for value in (tf.ones([3]), tf.ones([1]), tf.Variable(tf.ones([4]))):
        with pytest.raises(ValueError, match="`temperature` must be one number, or a scalar tensor.* Received: temp"):
            WITH_TEMPERATURE[name](LOGITS, value)
    if name in ("gumbel_softmax", "cumulative_gates", "fusion_weights"):
        assert np.isnan(WITH_TEMPERATURE[name](LOGITS, tf.constant(np.nan))).all()


@pytest.mark.parametrize("temperature", BEYOND)
def test_layers_and_callbacks_refuse_temperatures_beyond_the_bounds(temperature):
    for make in (
        layers.GumbelLevelSelector,
        lambda temperature: layers.QueryLevelSelector(3, temperature=temperature),
        lambda temperature: layers.WeightedFusion("softmax", temperature=temperature),
        lambda temperature: layers.AdaptiveDepthPyramid(3, temperature=temperature),
        lambda temperature: layers.ChannelAdaptiveDownsample2D(temperature=temperature),
        lambda temperature: layers.ContentAdaptiveDownsample2D(temperature=temperature),
    ):
        with pytest.raises(ValueError, match="`temperature` must be at "):
            make(temperature=temperature)
    for name in ("start", "end"):
        with pytest.raises(ValueError, match=f"`{name}` must be at "):
            training.TemperatureAnnealing(**{name: temperature}, steps=3)


@pytest.mark.parametrize("temperature", [1e-30, 0.0])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(
    "layer",
    [
        lambda **options: layers.ChannelAdaptiveDownsample2D(**options),
        lambda **options: layers.ContentAdaptiveDownsample2D(**options),
        lambda **options: layers.AdaptiveDepthPyramid(3, layers.BlurPool2D(), **options),
    ],
    ids=["ChannelAdaptiveDownsample2D", "ContentAdaptiveDownsample2D", "AdaptiveDepthPyramid"],
)
def test_a_layer_computes_at_its_hardest_temperature(layer, hard, temperature):
    layer = layer(hard=hard)
    images = tf.random.stateless_uniform([2, 9, 7, 3], [1, 2])
    layer(images)
    layer.temperature.assign(temperature)
    with tf.GradientTape() as tape:
        outputs = tf.nest.flatten(layer(images))
        total = tf.add_n([tf.reduce_sum(tf.square(y)) for y in outputs])
    assert all(np.isfinite(y).all() for y in outputs)
    assert all(np.isfinite(g).all() for g in tape.gradient(total, layer.trainable_weights) if g is not None)
