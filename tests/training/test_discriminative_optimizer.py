"""An optimizer for each group of variables: its steps, its clipping and its learning rate."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training.grouped import RNG, X, Y, assert_equal, compiled, fit, make_model, parts, schedule, values
from tfpyramid import layers, training
from tfpyramid._compat import KERAS_3, keras

PAIRS = {
    "adam": lambda: (
        keras.optimizers.Adam(1e-2, global_clipnorm=0.3),
        keras.optimizers.Adam(1e-1, clipnorm=0.7),
    ),
    "mixed": lambda: (
        keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), momentum=0.9),
        keras.optimizers.RMSprop(1e-2, clipvalue=0.1, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_each_group_steps_as_its_optimizer_does_on_it_alone(name):
    model, alone = make_model(), make_model()
    alone.set_weights(model.get_weights())
    pyramid, task = PAIRS[name]()
    grouped = training.discriminative_optimizer(model, pyramid=pyramid, task=task)
    plain = PAIRS[name]()
    for _ in range(4):
        gradients = [tf.constant(10 * RNG.standard_normal(v.shape), tf.float32) for v in model.trainable_variables]
        grouped.apply_gradients(zip(gradients, model.trainable_variables))
        of = {id(v): g for v, g in zip(alone.trainable_variables, gradients)}
        for optimizer, own in zip(plain, parts(alone)):
            optimizer.apply_gradients([(of[id(v)], v) for v in own])
    assert_equal(model.get_weights(), alone.get_weights())
    assert int(grouped.iterations) == 4


def test_each_group_is_clipped_by_its_own_norm():
    model = make_model()
    pyramid, task = keras.optimizers.SGD(1.0, global_clipnorm=1.0), keras.optimizers.SGD(1.0, global_clipnorm=5.0)
    optimizer = training.discriminative_optimizer(model, pyramid=pyramid, task=task)
    before = [values(part) for part in parts(model)]
    optimizer.apply_gradients([(tf.fill(v.shape, 1e3), v) for v in model.trainable_variables])
    steps = [[a - b for a, b in zip(values(part), old)] for part, old in zip(parts(model), before)]
    lengths = [np.sqrt(sum(np.sum(step**2) for step in part)) for part in steps]
    np.testing.assert_allclose(lengths, [1, 5], rtol=1e-5)


def test_by_default_the_pyramid_learns_ten_times_slower_and_each_is_clipped():
    optimizers = compiled().optimizer.groups
    assert list(optimizers) == ["pyramid", "task"]
    assert [type(each) for each in optimizers.values()] == [keras.optimizers.Adam] * 2
    np.testing.assert_allclose([float(each.learning_rate) for each in optimizers.values()], [1e-4, 1e-3], rtol=1e-6)
    assert [each.global_clipnorm for each in optimizers.values()] == [1.0, 5.0]


@pytest.mark.slow
def test_a_first_step_of_adam_is_as_long_as_the_rate_of_its_group():
    model = compiled()
    before = [values(part) for part in parts(model)]
    model.fit(X, Y, verbose=0)
    for part, old, rate in zip(parts(model), before, (1e-4, 1e-3)):
        for a, b in zip(values(part), old):
            np.testing.assert_allclose(np.max(np.abs(a - b)), rate, rtol=2e-2)


def test_a_pyramid_inside_a_model_inside_a_model_is_found():
    image = keras.Input((8, 8, 2))
    inner = make_model()
    model = keras.Model(image, keras.layers.Conv2D(1, 1)(layers.BlurPool2D()(inner(image))))
    optimizer = training.discriminative_optimizer(model)
    optimizer.build(model.trainable_variables)
    config = optimizer.get_config()
    found = [model.trainable_variables[k] for k in config["places"]["pyramid"]]
    assert {id(v) for v in found} == {id(v) for v in inner.layers[1].trainable_variables}
    assert len(config["places"]["task"]) == len(model.trainable_variables) - 2


def test_strides_can_have_a_rate_of_their_own():
    image = keras.Input((16, 16, 2))
    strided = layers.LearnableStrideConv2D(3, 3, output_size=(5, 5))
    model = keras.Model(image, keras.layers.Conv2D(1, 1)(strided(image)))
    groups = {"strides": ([strided.scaled_log_strides], keras.optimizers.SGD(10.0))}
    plain = {"pyramid": keras.optimizers.SGD(1.0), "task": keras.optimizers.SGD(0.1)}
    optimizer = training.discriminative_optimizer(model, groups=groups, **plain)
    before = values(model.trainable_variables)
    optimizer.apply_gradients([(tf.ones(v.shape), v) for v in model.trainable_variables])
    for variable, old in zip(model.trainable_variables, before):
        own = any(variable is v for v in strided.trainable_variables)
        rate = 10.0 if variable is strided.scaled_log_strides else 1.0 if own else 0.1
        np.testing.assert_allclose(old - variable.numpy(), np.full(old.shape, rate), rtol=1e-4)


def test_groups_can_be_given_by_layer():
    model = make_model()
    pyramid, convolutions = model.layers[1:3]
    optimizer = training.discriminative_optimizer(model, pyramid_layers=[convolutions], task_layers=[pyramid])
    assert len(optimizer.get_config()["places"]["pyramid"]) == 6


@pytest.mark.slow
def test_half_precision_trains_both_groups():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = compiled()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert isinstance(model.optimizer, keras.mixed_precision.LossScaleOptimizer)
    before = model.get_weights()
    fit(model)
    assert all(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.slow
def test_xla_compiles_its_steps():
    model = make_model()
    model.build((None, 8, 8, 2))
    plain = make_model()
    plain.set_weights(model.get_weights())
    for each, jit in ((model, True), (plain, False)):
        each.compile(training.discriminative_optimizer(each), "mse", jit_compile=jit)
        fit(each)
    for a, b in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_setting_the_rate_multiplies_those_of_all_groups():
    optimizer = compiled(groups={}).optimizer
    assert float(optimizer.learning_rate) == pytest.approx(1e-3)
    optimizer.learning_rate = 5e-4
    rates = [float(each.learning_rate) for each in optimizer.groups.values()]
    np.testing.assert_allclose(rates, [5e-5, 5e-4], rtol=1e-5)
    scheduled = compiled(pyramid=schedule()).optimizer
    with pytest.raises(
        ValueError, match=r"`learning_rate` can only be set if .* is a number .* schedules in \['pyramid'\]"
    ):
        scheduled.learning_rate = 1e-4


@pytest.mark.parametrize("rate", [None, -1e-3, float("nan"), float("inf"), "fast", True, 10**400, [1e-3, 1e-3]])
def test_a_rate_that_is_no_number_is_refused_and_changes_nothing(rate):
    optimizer = compiled().optimizer
    before = [float(each.learning_rate) for each in optimizer.groups.values()]
    with pytest.raises(ValueError, match="`learning_rate` must be a finite number of at least 0. Received: learning_"):
        optimizer.learning_rate = rate
    assert [float(each.learning_rate) for each in optimizer.groups.values()] == before


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 sets the variable that it is given")
@pytest.mark.slow
def test_callbacks_that_set_the_rate_set_all():
    model = compiled()
    model.fit(X, Y, verbose=0, callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 10)])
    rates = [float(each.learning_rate) for each in model.optimizer.groups.values()]
    np.testing.assert_allclose(rates, [1e-5, 1e-4], rtol=1e-5)


def test_moving_averages_of_a_group_are_its_own():
    pyramid = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model = compiled(pyramid=pyramid)
    optimizer = model.optimizer
    for _ in range(3):
        optimizer.apply_gradients([(tf.ones(v.shape), v) for v in model.trainable_variables])
    after = [values(part) for part in parts(model)]
    optimizer.finalize_variable_values(model.trainable_variables)
    assert all(np.any(a != b) for a, b in zip(values(parts(model)[0]), after[0]))
    assert_equal(values(parts(model)[1]), after[1])
