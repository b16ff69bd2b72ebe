"""export_saved_model: what it writes, and what it refuses."""

import os
import random

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers
from tfpyramid._compat import keras
from tfpyramid.export import export_saved_model
from tfpyramid.export._standalone import found_in_process

# Of these models, only the one that calls Python is checked in another interpreter.
pytestmark = pytest.mark.usefixtures("one_interpreter")


def small_model(sides=(None, None), **kwargs):
    """Return a model with every kind of layer: hard, fused, and with features of each level."""
    image = keras.Input((*sides, 3), name="image")
    downsample = layers.LearnableDownsample2D(hard=True, name="down")
    levels = layers.LearnablePyramid(3, downsample, name="pyramid")(image)
    features = layers.PyramidConv2D(4, activation="relu", name="features")(levels)
    fused = keras.layers.Concatenate(name="both")(
        [
            layers.UpsampleConcat(name="concat")(features),
            layers.WeightedFusion("softmax", hard=True, name="fused")(features),
        ]
    )
    return keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid", name="mask")(fused), **kwargs)


def served(path, **inputs):
    """Return the outputs of a served model as a dict of tensors."""
    return tf.saved_model.load(str(path)).signatures["serving_default"](**inputs)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model and the folder it was exported to."""
    model = small_model()
    return model, export_saved_model(model, tmp_path_factory.mktemp("served") / "pyramid" / "1")


def tiny_model(name="image"):
    image = keras.Input((8, 8, 3), name=name)
    return keras.Model(image, layers.LearnableDownsample2D(hard=True, name="down")(image))


class NeedsPython(keras.layers.Layer):
    def call(self, x):
        y = tf.py_function(lambda a: 2 * a, [x], x.dtype)
        y.set_shape(x.shape)
        return y

    def compute_output_shape(self, input_shape):
        return input_shape


class DrawsWhenTraced(keras.layers.Layer):
    def call(self, x):
        return x * random.random()

    def compute_output_shape(self, input_shape):
        return input_shape


class StringLength(keras.layers.Layer):
    def call(self, x):
        return tf.strings.length(x)

    def compute_output_shape(self, input_shape):
        return input_shape


class CannotBeTraced(keras.layers.Layer):
    armed = False  # The layer must be traceable while the model is built.

    def call(self, x):
        if self.armed and x.shape[0] is None:
            raise RuntimeError("no graph of this")
        return x

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.mark.slow
def test_one_export_serves_many_sizes_with_one_trace(exported):
    model, path = exported
    assert path.parts[-2:] == ("pyramid", "1") and os.listdir(path.parent) == ["1"]
    loaded = tf.saved_model.load(str(path))
    for sides in ((33, 47), (64, 64), (255, 129), (1, 1)):
        image = tf.random.uniform([1, *sides, 3])
        np.testing.assert_allclose(loaded.serve(image)["mask"], model(image), atol=1e-6)
    assert len(loaded.serve.concrete_functions) == 1


@pytest.mark.slow
def test_inputs_and_outputs_are_named(exported):
    loaded = tf.saved_model.load(str(exported[1]))
    signature = loaded.signatures["serving_default"]
    assert list(signature.structured_input_signature[1]) == ["image"]
    assert list(signature.structured_outputs) == ["mask"]


def test_outputs_of_one_layer_are_numbered(tmp_path):
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, layers.GaussianPyramid(2, name="levels")(image))
    outputs = served(export_saved_model(model, tmp_path / "1"), image=tf.ones([1, 8, 8, 3]))
    assert {name: tuple(y.shape) for name, y in outputs.items()} == {"levels_0": (1, 8, 8, 3), "levels_1": (1, 4, 4, 3)}


def test_outputs_of_a_dict_are_named_by_its_keys(tmp_path):
    left, right = keras.Input((4, 5, 1), name="left"), keras.Input((4, 5, 1), name="right")
    outputs = {"sum": keras.layers.Add()([left, right]), "difference": keras.layers.Subtract()([left, right])}
    model = keras.Model({"left": left, "right": right}, outputs)
    path = export_saved_model(model, tmp_path / "1")
    answers = served(path, left=3 * tf.ones([1, 4, 5, 1]), right=tf.ones([1, 4, 5, 1]))
    assert {name: float(y[0, 0, 0, 0]) for name, y in answers.items()} == {"sum": 4.0, "difference": 2.0}


def test_a_list_of_inputs_keeps_its_order(tmp_path):
    inputs = [keras.Input((3, 3, 1), name=name) for name in ("second", "first")]
    model = keras.Model(inputs, keras.layers.Subtract(name="difference")(inputs))
    path = export_saved_model(model, tmp_path / "1")
    answer = served(path, second=5 * tf.ones([1, 3, 3, 1]), first=tf.ones([1, 3, 3, 1]))
    assert float(answer["difference"][0, 0, 0, 0]) == 4.0


def test_a_sequential_model_is_exported(tmp_path):
    model = keras.Sequential([keras.Input((9, 7, 3), name="image"), layers.LearnableDownsample2D(2, name="down")])
    answer = served(export_saved_model(model, tmp_path / "1"), image=tf.ones([2, 9, 7, 3]))
    assert tuple(answer["down"].shape) == (2, 5, 4, 2)


@pytest.mark.slow
def test_the_loaded_model_has_the_straight_through_gradient(exported):
    model, path = exported
    loaded = tf.saved_model.load(str(path))
    image = tf.random.uniform([2, 21, 34, 3])
    gradients = []
    for call in (lambda: model(image), lambda: loaded.serve(image)["mask"]):
        with tf.GradientTape() as tape:
            tape.watch(image)
            objective = tf.reduce_sum(tf.square(call()))
        gradients.append(tape.gradient(objective, image))
    assert np.any(gradients[0])
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-6 * np.max(np.abs(gradients[0])))


def test_integers_are_served(tmp_path):
    index = keras.Input((3,), dtype="int32", name="index")
    model = keras.Model(index, keras.layers.Embedding(5, 2, name="rows")(index))
    answer = served(export_saved_model(model, tmp_path / "1"), index=tf.constant([[0, 1, 2]]))
    assert tuple(answer["rows"].shape) == (1, 3, 2)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_exported(policy, tmp_path):
    image = keras.Input((16, 16, 3), name="image")
    level = layers.LearnableDownsample2D(hard=True, dtype=policy, name="down")(image)
    path = export_saved_model(keras.Model(image, level), tmp_path / "1")
    assert served(path, image=tf.ones([1, 16, 16, 3]))["down"].dtype == policy.split("_")[1]


@pytest.mark.parametrize(
    "layer, reason",
    [(NeedsPython, "EagerPyFunc"), (DrawsWhenTraced, "differs when loaded"), (CannotBeTraced, "no graph of this")],
)
@pytest.mark.slow
def test_the_layer_that_does_not_survive_is_named_and_nothing_is_written(layer, reason, tmp_path):
    image = keras.Input((None, None, 3), name="image")
    culprit = layer(name="culprit")
    model = keras.Model(image, layers.LearnablePyramid(2)(culprit(image)), name="doomed")
    culprit.armed = True
    with pytest.raises(ValueError, match=rf"model 'doomed'; its layer 'culprit' \({layer.__name__}\).*{reason}"):
        export_saved_model(model, tmp_path / "1", sample=np.ones([1, 8, 8, 3], "float32"))
    assert os.listdir(tmp_path) == []


def test_a_gradient_that_is_not_written_is_reported(tmp_path, monkeypatch):
    # In this process the gradient would be found by its name, which the file still holds.
    without = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    save = tf.saved_model.save
    for module in (tf, tf.compat.v2):  # Keras 2 uses the second.
        monkeypatch.setattr(
            module.saved_model, "save", lambda *args, **kwargs: save(*args, **{**kwargs, "options": without})
        )
    with pytest.raises(ValueError, match="its layer 'down' .* when loaded: LookupError: No gradient defined"):
        export_saved_model(tiny_model(), tmp_path / "1")


def test_without_the_check_the_model_is_not_run(tmp_path):
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, DrawsWhenTraced()(image))
    assert export_saved_model(model, tmp_path / "1", verify=False) == tmp_path / "1"
    text = keras.Input((), dtype="string", name="text")
    path = export_saved_model(keras.Model(text, StringLength(name="length")(text)), tmp_path / "2", verify=False)
    assert served(path, text=tf.constant(["four"]))["length"] == 4


def test_without_the_check_too_the_layer_that_cannot_be_traced_is_named(tmp_path):
    image = keras.Input((8, 8, 3), name="image")
    culprit = CannotBeTraced(name="culprit")
    model = keras.Model(image, culprit(image))
    culprit.armed = True
    with pytest.raises(ValueError, match="its layer 'culprit' .*no graph of this"):
        export_saved_model(model, tmp_path / "1", verify=False)
    assert os.listdir(tmp_path) == []


def test_the_model_is_traced_once(tmp_path):
    traces = []

    class Counts(keras.layers.Layer):
        def call(self, x):
            if not tf.executing_eagerly():
                traces.append(x.shape)
            return x + 0.0

    image = keras.Input((None, None, 3), name="image")
    model = keras.Model(image, Counts()(image))
    traces.clear()
    export_saved_model(model, tmp_path / "1")
    assert [tuple(shape) for shape in traces] == [(None, None, None, 3)]


def test_lookup_tables_and_all_variables_are_written(tmp_path):
    text = keras.Input((2,), dtype="string", name="text")
    words = keras.layers.StringLookup(vocabulary=["a", "b"], name="words")(text)
    model = keras.Model(text, keras.layers.BatchNormalization(name="mean")(keras.layers.Embedding(4, 3)(words)))
    sample = tf.constant([["b", "c"]])
    path = export_saved_model(model, tmp_path / "1", sample=sample)
    assert found_in_process(path) == set()
    loaded = tf.saved_model.load(str(path))
    np.testing.assert_allclose(loaded.signatures["serving_default"](text=sample)["mean"], model(sample), atol=1e-6)
    kinds = ("variables", "trainable_variables", "non_trainable_variables")
    assert [len(getattr(loaded, kind)) for kind in kinds] == [len(getattr(model, kind)) for kind in kinds] == [5, 3, 2]


def test_an_existing_model_is_replaced_only_when_asked(tmp_path):
    path = export_saved_model(tiny_model("image"), tmp_path / "1")
    before = sorted(os.listdir(path))
    with pytest.raises(FileExistsError, match="`path` must not exist unless overwrite=True. Received: path="):
        export_saved_model(tiny_model("photo"), path)
    export_saved_model(tiny_model("photo"), path, overwrite=True)
    assert list(served(path, photo=tf.ones([1, 8, 8, 3]))) == ["down"]
    assert sorted(os.listdir(path)) == before and os.listdir(tmp_path) == ["1"]


def test_a_folder_that_is_not_a_model_is_never_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    with pytest.raises(FileExistsError, match="`path` must be a SavedModel, because overwrite=True"):
        export_saved_model(tiny_model(), tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter").read_text() == "years of work"


def test_a_model_with_unknown_inputs_is_refused(tmp_path):
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match=r"`model` must be a keras.Model with known inputs: .* Received: model=<"):
        export_saved_model(Subclassed(), tmp_path / "1")
    with pytest.raises(ValueError, match="`model` must be a keras.Model .* Received: model=None"):
        export_saved_model(None, tmp_path / "1")


def test_a_sample_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`sample` must be a batch that the model can process. .*\(1, 8, 8, 5\)"):
        export_saved_model(tiny_model(), tmp_path / "1", sample=np.ones([1, 8, 8, 5], "float32"))
    with pytest.raises(ValueError, match=r"`sample` must hold one batch for each of \['image'\]. Received: 2 values"):
        export_saved_model(tiny_model(), tmp_path / "1", sample=[np.ones(1), np.ones(1)])


def test_string_inputs_require_a_sample(tmp_path):
    text = keras.Input((), dtype="string", name="text")
    model = keras.Model(text, StringLength()(text))
    with pytest.raises(ValueError, match="`sample` must be given for a model with a string input"):
        export_saved_model(model, tmp_path / "1")
