"""An optimizer for each group: its steps, its clipping, its state on disk, and what it refuses."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, training
from tfpyramid._compat import KERAS_3, keras

RNG = np.random.default_rng(0)
X = RNG.standard_normal([8, 8, 8, 2]).astype(np.float32)
Y = RNG.standard_normal([8, 8, 8, 3]).astype(np.float32)


def make_model(**conv):
    image = keras.Input((None, None, 2))
    levels = layers.LearnablePyramid(3)(image)
    return keras.Model(image, layers.UpsampleConcat()(layers.PyramidConv2D(1, **conv)(levels)))


def parts(model):
    """Return the variables of the pyramid and of the rest."""
    pyramid, convolutions = model.layers[1:3]
    return pyramid.trainable_variables, convolutions.trainable_variables


def compiled(model=None, **arguments):
    model = make_model() if model is None else model
    model.compile(training.discriminative_optimizer(model, **arguments), "mse")
    return model


def fit(model, epochs=2):
    model.fit(X, Y, epochs=epochs, batch_size=4, verbose=0, shuffle=False)


def values(variables):
    return [v.numpy() for v in variables]


def assert_equal(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, e)


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
    groups = {"strides": ([strided.log_strides], keras.optimizers.SGD(10.0))}
    plain = {"pyramid": keras.optimizers.SGD(1.0), "task": keras.optimizers.SGD(0.1)}
    optimizer = training.discriminative_optimizer(model, groups=groups, **plain)
    before = values(model.trainable_variables)
    optimizer.apply_gradients([(tf.ones(v.shape), v) for v in model.trainable_variables])
    for variable, old in zip(model.trainable_variables, before):
        own = any(variable is v for v in strided.trainable_variables)
        rate = 10.0 if variable is strided.log_strides else 1.0 if own else 0.1
        np.testing.assert_allclose(old - variable.numpy(), np.full(old.shape, rate), rtol=1e-4)


def test_groups_can_be_given_by_layer():
    model = make_model()
    pyramid, convolutions = model.layers[1:3]
    optimizer = training.discriminative_optimizer(model, pyramid_layers=[convolutions], task_layers=[pyramid])
    assert len(optimizer.get_config()["places"]["pyramid"]) == 6


def schedule():
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, 20), global_clipnorm=1.0)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_model_that_is_loaded_trains_on_as_the_one_that_was_saved(policy, tmp_path):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = compiled(pyramid=schedule())
        fit(model)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert_equal(values(again.optimizer.variables), values(model.optimizer.variables))
    before = model.get_weights()
    fit(model)
    fit(again)
    assert_equal(again.get_weights(), model.get_weights())
    assert all(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
    assert int(again.optimizer.iterations) == 8


# Keras 3 says this of any optimizer that was never used.
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_a_model_that_was_never_trained_is_loaded_with_its_groups(tmp_path):
    model = compiled(task=keras.optimizers.SGD(0.3))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.optimizer.get_config()["places"] == model.optimizer.get_config()["places"]
    assert type(again.optimizer.groups["task"]) is keras.optimizers.SGD
    fit(model)
    fit(again)
    assert_equal(again.get_weights(), model.get_weights())


def test_a_checkpoint_restores_all_of_it(tmp_path):
    model, again = compiled(pyramid=schedule()), compiled(pyramid=schedule())
    fit(model)
    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "checkpoint"))
    again.optimizer.build(again.trainable_variables)
    tf.train.Checkpoint(model=again, optimizer=again.optimizer).restore(path).assert_consumed()
    fit(model)
    fit(again)
    assert_equal(again.get_weights(), model.get_weights())


def test_weights_of_the_optimizer_can_be_copied():
    model, again = compiled(), compiled()
    fit(model)
    again.set_weights(model.get_weights())
    again.optimizer.build(again.trainable_variables)
    again.optimizer.set_weights(values(model.optimizer.variables))
    fit(model)
    fit(again)
    assert_equal(again.get_weights(), model.get_weights())


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
def test_callbacks_that_set_the_rate_set_all():
    model = compiled()
    model.fit(X, Y, verbose=0, callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 10)])
    rates = [float(each.learning_rate) for each in model.optimizer.groups.values()]
    np.testing.assert_allclose(rates, [1e-5, 1e-4], rtol=1e-5)


def test_what_is_frozen_before_training_stays_and_the_rest_is_trained_and_saved(tmp_path):
    inner = make_model()
    frozen = keras.layers.Conv2D(3, 1)
    model = keras.Model(inner.inputs, frozen(inner.outputs[0]))
    optimizer = training.discriminative_optimizer(model)
    frozen.trainable = False
    model.compile(optimizer, "mse")
    before = frozen.get_weights()
    fit(model)
    assert_equal(frozen.get_weights(), before)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    fit(model)
    fit(again)
    assert_equal(again.get_weights(), model.get_weights())


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


def test_a_variable_of_another_model_is_refused():
    model, other = make_model(), make_model()
    other.compile(training.discriminative_optimizer(model), "mse")
    with pytest.raises(ValueError, match="Every variable must be in a group of the optimizer.*kernel.*in no group"):
        fit(other)


def test_a_saved_optimizer_is_refused_by_a_model_of_other_shapes():
    optimizer = training.discriminative_optimizer(make_model())
    again = type(optimizer).from_config(optimizer.get_config())
    with pytest.raises(
        ValueError, match="must be built on the variables that it was saved with.* Received: 8 variables"
    ):
        again.build(make_model(kernel_size=1).trainable_variables)


def test_a_group_that_matches_no_variable_is_refused():
    image = keras.Input((8, 8, 2))
    plain = keras.Model(image, keras.layers.Conv2D(1, 1)(image))
    with pytest.raises(
        ValueError, match=r"`pyramid_layers` must contain at least one .* Received: none of \['.*kernel"
    ):
        training.discriminative_optimizer(plain)
    only = keras.Model(image, layers.LearnablePyramid(2)(image))
    with pytest.raises(ValueError, match="`task_layers` must contain at least one trainable variable of the model"):
        training.discriminative_optimizer(only)
    model = make_model()
    with pytest.raises(ValueError, match=r"`groups\['extra'\]` must contain at least one trainable variable"):
        training.discriminative_optimizer(model, groups={"extra": ([model.layers[3]], keras.optimizers.SGD())})


def test_a_variable_in_no_group_or_in_two_is_named():
    model = make_model()
    pyramid, convolutions = model.layers[1:3]
    with pytest.raises(ValueError, match=r"exactly one group. Received: .*kernel.* in no group"):
        training.discriminative_optimizer(model, task_layers=[convolutions.level_layers[0]])
    with pytest.raises(ValueError, match=r"exactly one group. Received: .*kernel.* in \['pyramid', 'task'\]"):
        training.discriminative_optimizer(model, pyramid_layers=[pyramid], task_layers=[pyramid, convolutions])
    bias = convolutions.level_layers[0].bias
    groups = {"a": ([bias], keras.optimizers.SGD()), "b": ([bias], keras.optimizers.SGD())}
    with pytest.raises(ValueError, match=r"exactly one group. Received: .*bias.* in \['a', 'b'\]"):
        training.discriminative_optimizer(model, groups=groups)


def test_what_is_none_of_the_models_is_refused():
    model, other = make_model(), make_model()
    with pytest.raises(ValueError, match="`pyramid_layers` must be a list of layers .* which is not in the model"):
        training.discriminative_optimizer(model, pyramid_layers=[other.layers[1]])
    for given in (model.layers[1], ["learnable_pyramid"]):
        with pytest.raises(ValueError, match="`task_layers` must be a list of layers and trainable variables"):
            training.discriminative_optimizer(model, task_layers=given)


@pytest.mark.parametrize("groups", [[1], {"task": ([], None)}, {"a": 3}, {1: ([], None)}])
def test_groups_are_checked(groups):
    with pytest.raises(ValueError, match="`groups` must map names other than 'pyramid' and 'task' to pairs"):
        training.discriminative_optimizer(make_model(), groups=groups)


def test_optimizers_are_checked():
    model = make_model()
    with pytest.raises(ValueError, match="`task` must be a keras.optimizers.Optimizer"):
        training.discriminative_optimizer(model, task="adam")
    scaled = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD())
    with pytest.raises(ValueError, match="`pyramid` must be .* without a loss scale"):
        training.discriminative_optimizer(model, pyramid=scaled)
    one = keras.optimizers.SGD()
    with pytest.raises(ValueError, match="must have a separate optimizer for each group"):
        training.discriminative_optimizer(model, pyramid=one, task=one)


@pytest.mark.skipif(not KERAS_3, reason="an argument of Keras 3")
def test_a_loss_scale_of_one_group_is_refused():
    with pytest.raises(ValueError, match="must not have a `loss_scale_factor`.* Received: loss_scale_factor=2.0"):
        training.discriminative_optimizer(make_model(), task=keras.optimizers.SGD(loss_scale_factor=2.0))


def test_a_model_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="`model` must be a keras.Model that is built"):
        training.discriminative_optimizer(keras.Sequential([layers.LearnableDownsample2D()]))
    with pytest.raises(ValueError, match="`model` must be a keras.Model that is built"):
        training.discriminative_optimizer(layers.LearnablePyramid(2))
