"""What the monitor writes to `history` and to TensorBoard, and that it leaves training alone."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, training
from tfpyramid._compat import KERAS_3, keras

RNG = np.random.default_rng(0)
X = RNG.standard_normal([8, 8, 8, 2]).astype(np.float32)
Y = RNG.standard_normal([8, 8, 8, 3]).astype(np.float32)


class Chooser(keras.layers.Layer):
    """Weights of two levels, as a selector's: the hook that the monitor asks."""

    def call(self, levels):
        return tf.nn.softmax(tf.stack([tf.reduce_mean(level, [1, 2, 3]) for level in levels], 1))

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], len(input_shape))

    def level_usage(self, outputs):
        return outputs


def make_model(downsample=None, share_weights=False):
    image = keras.Input((8, 8, 2))
    levels = layers.LearnablePyramid(3, downsample, share_weights=share_weights, name="pyramid")(image)
    features = layers.PyramidConv2D(1, name="features")(levels)
    weights = Chooser(name="chooser")(features)
    fused = keras.layers.BatchNormalization()(layers.UpsampleConcat()(features))
    if KERAS_3:  # Keras 2 draws from TensorFlow's global generator, which any other draw moves.
        fused = keras.layers.Dropout(0.3, seed=1)(fused)
    model = keras.Model(image, keras.layers.Multiply()([fused, keras.layers.Reshape((1, 1, 3))(weights)]))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def fit(model, *callbacks):
    return model.fit(X, Y, batch_size=4, epochs=2, verbose=0, shuffle=False, callbacks=list(callbacks)).history


def events(folder):
    """Return the values in a folder's event files by tag, a list of (step, array) each."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, tf.make_ndarray(value.tensor)))
    return found


def test_norms_and_usage_of_each_level_are_in_the_history_and_in_tensorboard(tmp_path):
    history = fit(make_model(), training.PyramidMonitor(tmp_path, sample=(X[:4], Y[:4])))
    names = [f"gradient_norm/pyramid/level_{k}" for k in (1, 2)]
    names += [f"gradient_norm/features/level_{k}" for k in range(3)]
    usage = [f"level_usage/chooser/level_{k}" for k in range(3)]
    assert set(history) == {"loss", *names, *usage}
    assert all(len(history[name]) == 2 and min(history[name]) > 0 for name in names)
    np.testing.assert_allclose(np.sum([history[name] for name in usage], axis=0), [1, 1], rtol=1e-5)
    written = events(tmp_path)
    for name in (*names, *usage):
        assert [step for step, _ in written[name]] == [0, 1]
        np.testing.assert_allclose([value for _, value in written[name]], history[name], rtol=1e-6)
    pictures = [tag for tag in written if tag.startswith("kernel/")]
    assert len(pictures) == 2
    first, second = written[pictures[0]]
    assert len(first[1]) == 2 + 4  # Width, height, and two by two kernels.
    drawn = np.stack([tf.io.decode_png(picture) for picture in first[1][2:]])
    assert drawn.shape == (4, 5, 5, 1) and drawn.min() == 0 and drawn.max() == 255
    assert list(first[1]) != list(second[1])


def test_norms_are_those_of_the_gradient_of_the_loss():
    image = keras.Input((8, 8, 2))
    pyramid = layers.LearnablePyramid(3, name="pyramid")
    model = keras.Model(image, layers.UpsampleConcat()(pyramid(image)))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    y = RNG.standard_normal([8, 8, 8, 6]).astype(np.float32)
    monitor = training.PyramidMonitor(sample=(X, y))
    history = model.fit(X, y, verbose=0, callbacks=[monitor]).history
    for k, step in enumerate(pyramid.downsamplers):
        kernel, steps = step.get_weights()[0], []
        direction = RNG.standard_normal(kernel.shape).astype(np.float32)
        for sign in (1, -1):
            step.set_weights([kernel + sign * 1e-2 * direction])
            steps.append(float(np.mean((model(X) - y) ** 2)))
        step.set_weights([kernel])
        slope = (steps[0] - steps[1]) / 2e-2
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(X) - y) ** 2)
        variable = step.kernel.value if KERAS_3 else step.kernel
        gradient = tape.gradient(loss, variable).numpy()
        np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-2, atol=1e-4)
        np.testing.assert_allclose(
            history[f"gradient_norm/pyramid/level_{k + 1}"], [np.linalg.norm(gradient)], rtol=1e-4
        )


@pytest.mark.slow
def test_watching_changes_nothing():
    weights = make_model().get_weights()  # Those of random draws too.
    trained = []
    for callbacks in ((), (training.PyramidMonitor(sample=(X, Y)),)):
        model = make_model()
        model.set_weights(weights)
        history = fit(model, *callbacks)
        trained.append((model.get_weights(), history["loss"]))
    np.testing.assert_array_equal(trained[0][1], trained[1][1])
    for a, b in zip(trained[0][0], trained[1][0], strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_state_of_the_model_is_put_back():
    model = make_model()
    monitor = training.PyramidMonitor(sample=(X, Y))
    monitor.set_model(model)
    before = [v.numpy() for v in model.variables]
    monitor.on_epoch_end(0, {})
    for a, b in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_without_a_sample_it_writes_what_needs_none(tmp_path):
    model = make_model(layers.ContentAdaptiveDownsample2D(2, hidden=2))
    annealing = training.TemperatureAnnealing(1.0, 0.25, steps=4)
    history = fit(model, annealing, training.PyramidMonitor(tmp_path))
    temperatures = [name for name in history if name.startswith("temperature/")]
    assert len(temperatures) == 2 and set(history) == {"loss", *temperatures}
    for name in temperatures:
        np.testing.assert_allclose(history[name], [0.5, 0.25], rtol=1e-6)
    assert set(events(tmp_path)) == set(temperatures)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.QueryLevelSelector(3, objective="softmax", name="selector"),
        lambda: layers.GumbelLevelSelector(name="selector"),
    ],
    ids=["query", "gumbel"],
)
def test_the_usage_of_a_selector_is_how_often_it_chooses_each_level(make):
    query = keras.Input((3,))
    model = keras.Model(query, keras.layers.Dense(1)(make()(keras.layers.Dense(3)(query))))
    model.compile(keras.optimizers.SGD(0.5), "mse")
    x, y = RNG.standard_normal([2, 40, 3]).astype(np.float32)
    history = model.fit(x, y[:, :1], verbose=0, callbacks=[training.PyramidMonitor(sample=(x, y[:, :1]))]).history
    chosen = keras.Model(model.input, model.get_layer("selector").output)(x)
    for k in range(3):
        np.testing.assert_allclose(history[f"level_usage/selector/level_{k}"], [np.mean(chosen[:, k])], rtol=1e-6)


@pytest.mark.parametrize("pyramids", [1, 2])
def test_the_usage_of_a_layer_with_several_outputs_is_recorded(pyramids):
    image = keras.Input((8, 8, 1))
    names = [f"pyramid_{k}" for k in range(pyramids)]
    levels = [level for name in names for level in layers.AdaptiveDepthPyramid(2, name=name)(image)[0]]
    means = [keras.layers.GlobalAveragePooling2D()(level) for level in levels]
    model = keras.Model(image, keras.layers.Dense(1)(keras.layers.Concatenate()(means)))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = RNG.standard_normal([4, 8, 8, 1]).astype(np.float32), np.zeros([4, 1], np.float32)
    history = model.fit(x, y, verbose=0, callbacks=[training.PyramidMonitor(sample=(x, y))]).history
    for name in names:
        gates = np.mean(model.get_layer(name)(x)[1], axis=0)
        np.testing.assert_allclose([history[f"level_usage/{name}/level_{k}"][0] for k in range(2)], gates, rtol=1e-6)


def test_weights_that_levels_share_are_one_number():
    model = make_model(layers.AntiAliasedDownsample2D(), share_weights=True)
    history = fit(model, training.PyramidMonitor(sample=(X, Y)))
    assert [name for name in history if "pyramid" in name] == ["gradient_norm/pyramid/shared"]


def test_several_outputs_and_weights_of_samples_are_counted():
    image = keras.Input((8, 8, 2))
    model = keras.Model(image, layers.LearnablePyramid(2, name="pyramid")(image))
    model.compile(keras.optimizers.SGD(0.0), ["mse", "mse"])
    targets = [np.zeros([8, 8, 8, 2], np.float32), np.zeros([8, 4, 4, 2], np.float32)]
    norms = []
    for weights in ((), ([np.zeros([8, 1, 1], np.float32)] * 2,)):
        monitor = training.PyramidMonitor(sample=(X, targets, *weights))
        history = model.fit(X, targets, verbose=0, callbacks=[monitor]).history
        norms.append(history["gradient_norm/pyramid/level_1"][0])
    assert norms[0] > 0 and norms[1] == 0


BAD_SAMPLES = {
    "an array": X,
    "one part": (X,),
    "four parts": (X, Y, None, None),
    "text": "xy",
    "no targets": (X, None),
    "words": (X, ["word"] * 7 + [object()]),
    "fewer targets": (X, Y[:7]),
    "fewer weights": (X, Y, np.ones(7)),
    "one target": (X, Y[:1]),
    "no samples": (X[:0], Y[:0]),
    "no batch": (1.0, 2.0),
    "nothing": ([], []),
}


@pytest.mark.parametrize("sample", BAD_SAMPLES.values(), ids=BAD_SAMPLES)
def test_a_sample_that_is_none_is_refused(sample):
    with pytest.raises(ValueError, match=r"`sample` must be None, \(x, y\) or \(x, y, sample_weight\).* Received"):
        training.PyramidMonitor(sample=sample)


MISFITS = {"sides": (X[:, :7], Y), "channels": (X[..., :1], Y), "axes": (X[0], Y[0]), "targets": (X, Y[:, :5])}


@pytest.mark.parametrize("sample", MISFITS.values(), ids=MISFITS)
def test_a_sample_that_does_not_fit_the_model_is_refused_before_training(sample, tmp_path):
    model, folder = make_model(), tmp_path / "log"
    before = [weight.numpy() for weight in model.weights]
    with pytest.raises(ValueError, match="`sample` must be a batch that the model can train .*Received: sample of"):
        fit(model, training.PyramidMonitor(folder, sample=sample))
    assert not folder.exists()
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


class BuiltByItsFirstBatch(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = layers.LearnableDownsample2D(3)

    def call(self, images):
        return self.layer(images)


def test_a_sample_that_does_not_fit_a_model_that_its_first_batch_builds_is_refused_in_the_first_epoch():
    model = BuiltByItsFirstBatch()
    model.compile("sgd", "mse")
    epochs = []
    ended = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch))
    monitor = training.PyramidMonitor(sample=MISFITS["channels"])
    with pytest.raises(ValueError, match="`sample` must be a batch that the model can train on"):
        model.fit(X, Y[:, ::2, ::2], epochs=2, verbose=0, callbacks=[ended, monitor])
    assert not epochs


def test_weights_of_the_sample_may_be_none():
    history = fit(make_model(), training.PyramidMonitor(sample=(X, Y, None)))
    assert "gradient_norm/pyramid/level_1" in history


@pytest.mark.parametrize("log_dir", [True, 5, "", b"log", ["log"], 1.5, "a\0b", X])
def test_the_folder_is_checked(log_dir):
    with pytest.raises(ValueError, match="`log_dir` must be None or the path of a folder. Received: log_dir="):
        training.PyramidMonitor(log_dir)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="`log_dir` must be the path of a folder. Received: .*, a file"):
        training.PyramidMonitor(tmp_path / "file")


def test_usage_is_watched_in_models_of_several_inputs():
    query, image = keras.Input((4,), name="query"), keras.Input((8, 8, 2), name="image")
    weights = layers.QueryLevelSelector(3, name="selector")(query)
    model = keras.Model({"query": query, "image": image}, keras.layers.Dense(1)(weights))
    model.compile(keras.optimizers.SGD(0.5), "mse")
    x, y = {"query": X[:, 0, :2].reshape(8, 4), "image": X}, Y[:, 0, 0, :1]
    history = model.fit(x, y, verbose=0, callbacks=[training.PyramidMonitor(sample=(x, y))]).history
    assert sum(history[f"level_usage/selector/level_{k}"][0] for k in range(3)) == pytest.approx(1)
