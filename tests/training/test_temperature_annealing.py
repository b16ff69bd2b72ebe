"""Temperatures that are annealed by the steps of the optimizer."""

import numpy as np
import pytest

from tfpyramid import layers, training
from tfpyramid._compat import keras

RNG = np.random.default_rng(0)
X = RNG.standard_normal([12, 8, 8, 1]).astype(np.float32)
Y = RNG.standard_normal([12, 8, 8, 3]).astype(np.float32)


def make_model(**arguments):
    """Return a model with temperatures in a model inside it, and in the steps of a pyramid."""
    image = keras.Input((8, 8, 1))
    adaptive = layers.ContentAdaptiveDownsample2D(2, hidden=2)
    inner = keras.Model(image, layers.UpsampleConcat()(layers.LearnablePyramid(3, adaptive, name="pyramid")(image)))
    outer = keras.Input((8, 8, 1))
    model = keras.Model(outer, inner(outer))
    model.compile(keras.optimizers.Adam(1e-3), "mse", **arguments)
    return model


def steps_of(model):
    (inner,) = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return inner.get_layer("pyramid").downsamplers


def temperatures(model):
    return [float(np.asarray(step.temperature)) for step in steps_of(model)]


class Recorder(keras.callbacks.Callback):
    """Keeps the temperatures that each step trains at."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(temperatures(self.model))


def fit(model, *callbacks, epochs=2):
    model.fit(X, Y, batch_size=4, epochs=epochs, verbose=0, shuffle=False, callbacks=list(callbacks))


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("exponential", [2, 1, 0.5, 0.25, 0.125, 0.125]),
        ("linear", [2, 1.53125, 1.0625, 0.59375, 0.125, 0.125]),
        ("cosine", 0.125 + 1.875 * (1 + np.cos(np.pi * np.minimum(np.arange(6) / 4, 1))) / 2),
    ],
)
def test_each_step_trains_at_its_temperature_at_any_depth(schedule, expected):
    model, recorder = make_model(), Recorder()
    fit(model, training.TemperatureAnnealing(2.0, 0.125, steps=4, schedule=schedule), recorder)
    np.testing.assert_allclose(recorder.seen, np.stack([expected] * 2, 1), rtol=1e-6)
    np.testing.assert_allclose(temperatures(model), [0.125] * 2, rtol=1e-6)


@pytest.mark.slow
def test_a_model_that_is_loaded_goes_on_where_it_was(tmp_path):
    model = make_model()
    fit(model, training.TemperatureAnnealing(steps=8), epochs=1)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(temperatures(again), [0.1 ** (3 / 8)] * 2, rtol=1e-5)
    recorder = Recorder()
    fit(again, training.TemperatureAnnealing(steps=8), recorder, epochs=1)
    np.testing.assert_allclose(recorder.seen, [[0.1 ** (k / 8)] * 2 for k in (3, 4, 5)], rtol=1e-5)


@pytest.mark.slow
def test_a_compiled_step_reads_the_temperature_as_it_is():
    weights = make_model().get_weights()
    trained = []
    for jit_compile in (False, True):
        model = make_model(jit_compile=jit_compile)
        model.set_weights(weights)
        fit(model, training.TemperatureAnnealing(1.0, 0.01, steps=3))
        trained.append(model.get_weights())
    for a, b in zip(*trained, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)
    constant = make_model(jit_compile=True)
    constant.set_weights(weights)
    fit(constant)
    assert max(np.max(np.abs(a - b)) for a, b in zip(constant.get_weights()[:4], trained[1][:4])) > 1e-3


@pytest.mark.slow
def test_layers_can_be_chosen():
    model = make_model()
    fit(model, training.TemperatureAnnealing(steps=1, layers=[steps_of(model)[1]]), epochs=1)
    np.testing.assert_allclose(temperatures(model), [1.0, 0.1], rtol=1e-6)


def test_a_model_that_its_first_batch_builds_is_annealed():
    model = keras.Sequential([layers.ContentAdaptiveDownsample2D(2, hidden=2)])
    model.compile("sgd", "mse")
    model.fit(X, Y[:, ::2, ::2, :1], verbose=0, callbacks=[training.TemperatureAnnealing(steps=1)])
    np.testing.assert_allclose(np.asarray(model.layers[0].temperature), 0.1, rtol=1e-6)


def test_a_model_without_a_temperature_is_refused():
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, layers.BlurPool2D()(keras.layers.Conv2D(1, 1)(image)))
    model.compile("sgd", "mse")
    with pytest.raises(
        ValueError, match="`layers`, or the model if .*must contain a layer with a temperature.* Received: .*BlurPool2D"
    ):
        model.fit(X, X[:, ::2, ::2], verbose=0, callbacks=[training.TemperatureAnnealing(steps=1)])
    model = make_model()
    chosen = training.TemperatureAnnealing(steps=1, layers=[model.layers[0]])
    with pytest.raises(ValueError, match="`layers`, or the model if .*must contain a layer with a temperature"):
        fit(model, chosen)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"start": 0}, "`start` must be a finite number greater than 0, a temperature. Received: start=0"),
        ({"end": -0.1}, "`end` must be a finite number greater than 0, a temperature. Received: end=-0.1"),
        ({"steps": 0}, "`steps` must be an integer of at least 1, .* Received: steps=0"),
        ({"steps": 1.5}, "`steps` must be an integer of at least 1, .* Received: steps=1.5"),
        (
            {"schedule": "step"},
            "`schedule` must be one of 'exponential', 'linear', 'cosine'. Received: schedule='step'",
        ),
        ({"layers": ["pyramid"]}, "`layers` must be None or a list of layers. Received: layers="),
    ],
)
def test_arguments_are_checked_when_it_is_made(arguments, message):
    with pytest.raises(ValueError, match=message):
        training.TemperatureAnnealing(**{"steps": 10, **arguments})
