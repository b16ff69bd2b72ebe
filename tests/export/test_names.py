"""Names of inputs and outputs in an export, and the sizes that stay open, compared with Keras's own export."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers
from tfpyramid._compat import KERAS_3, keras
from tfpyramid.export import Pixels, export_saved_model, load_saved_model
from tfpyramid.export._endpoint import functional, input_specs
from tfpyramid.export._names import argument_name, input_names, output_names

pytestmark = pytest.mark.usefixtures("one_interpreter")


def called(model, shape=(2, 16, 16, 3)):
    """Return a model whose inputs are known from a first call."""
    model(np.zeros(shape, "float32"))
    return model


class Subclassed(keras.Model):
    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer

    def call(self, photo):
        return self.layer(photo)


class OfDict(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(2)

    def call(self, given):
        return {"scores": self.dense(given["left"]) - self.dense(given["right"])}


def specs_of(path):
    """Return the shapes of the inputs of an export."""
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    return {name: spec.shape.as_list() for name, spec in signature.structured_input_signature[1].items()}


@pytest.mark.slow
def test_a_sequential_model_built_by_a_call_is_exported_for_any_batch_size(tmp_path):
    # A Sequential model of Keras 2 cannot have layers with several outputs.
    pyramid = [layers.LearnablePyramid(2), layers.UpsampleConcat()] if KERAS_3 else [layers.LearnableDownsample2D()]
    model = called(keras.Sequential([layers.BlurPool2D(), *pyramid]))
    path = export_saved_model(model, tmp_path / "ours")
    ((name, shape),) = specs_of(path).items()
    assert shape == [None, 16, 16, 3]
    if KERAS_3:  # Keras 2 exports the batch size of the call.
        model.export(str(tmp_path / "theirs"), verbose=False)
        assert specs_of(tmp_path / "theirs") == {name: shape}
    for batch in (1, 2, 5):
        x = np.random.default_rng(batch).random([batch, 16, 16, 3]).astype("float32")
        (answer,) = load_saved_model(path)(**{name: x}).values()
        np.testing.assert_allclose(answer, model(x), atol=1e-6)


@pytest.mark.slow
def test_a_fixed_batch_size_becomes_open_as_in_keras(tmp_path):
    image = keras.Input((8, 8, 3), batch_size=4, name="image")
    model = keras.Model(image, layers.BlurPool2D(name="half")(image))
    path = export_saved_model(model, tmp_path / "1", image_bytes=True, uint8=True)
    assert specs_of(path) == {"image": [None, 8, 8, 3]}
    assert load_saved_model(path)(image=np.ones([3, 8, 8, 3]))["half"].shape == (3, 4, 4, 3)
    assert load_saved_model(path, signature="uint8")(image=np.ones([1, 8, 8, 3], "uint8"))["half"].shape[0] == 1


def test_a_subclassed_model_has_the_shapes_of_its_first_call(tmp_path):
    model = called(Subclassed(layers.LearnableDownsample2D(2), name="mine"))
    path = export_saved_model(model, tmp_path / "1")
    assert specs_of(path) == {"inputs": [None, 16, 16, 3]}
    x = np.random.default_rng(0).random([5, 16, 16, 3]).astype("float32")
    np.testing.assert_allclose(load_saved_model(path)(inputs=x)["mine"], model(x), atol=1e-6)


def test_a_subclassed_model_called_on_a_dict_names_inputs_and_outputs_by_its_keys(tmp_path):
    model = OfDict()
    x = {name: np.random.default_rng(k).random([2, 5]).astype("float32") for k, name in enumerate(["right", "left"])}
    expected = model(x)["scores"]
    path = export_saved_model(model, tmp_path / "1")
    assert specs_of(path) == {"left": [None, 5], "right": [None, 5]}
    np.testing.assert_allclose(load_saved_model(path)(**x)["scores"], expected, atol=1e-6)


# TensorFlow changes these names in the same way.
NAMES = {"input-1": "input_1", "1st": "arg_1st", "a.b": "a_b", "my image": "my_image", "image:0": "image_0"}
# `model.export` fails for these names, and for the one with a space.
NAMES |= {"_x": "arg__x", "näme": "n_me", "class": "arg_class", "self": "arg_self"}
SAME = ["image", "input_1", "training", "name", "inputs", "A_b"]


def two_inputs(names, **kwargs):
    inputs = [keras.Input((8, 8, 3), name=name) for name in names]
    return keras.Model(inputs, keras.layers.Subtract(name="difference")(inputs), **kwargs)


def test_names_become_keyword_arguments():
    assert {name: argument_name(name) for name in NAMES} == NAMES
    assert {name: argument_name(name) for name in SAME} == {name: name for name in SAME}


@pytest.mark.slow
@pytest.mark.parametrize("names", [["input-1", "1st"], ["my image", "a.b"], ["self", "class"], ["_x", "näme"]])
def test_inputs_of_any_name_are_served_under_the_name_in_the_warning(names, tmp_path):
    first, second = (NAMES[name] for name in names)
    given = {name: np.full([2, 8, 8, 3], value, "float32") for name, value in zip(names, (3.0, 1.0))}
    told = f"so these inputs are renamed in them: {{'{names[0]}': '{first}', '{names[1]}': '{second}'}}"
    with pytest.warns(UserWarning, match=told):
        path = export_saved_model(
            two_inputs(names), tmp_path / "1", sample=given, image_bytes=True, uint8=True, pixels=Pixels(input=names[1])
        )
    served = tf.saved_model.load(str(path)).signatures
    taken = {key: sorted(each.structured_input_signature[1]) for key, each in served.items()}
    both = sorted([first, second])
    assert taken.pop("image_bytes") == sorted([first, "image_bytes"])
    assert taken == dict.fromkeys(["serve", "serving_default", "uint8"], both)
    answer = load_saved_model(path)(**{first: given[names[0]], second: given[names[1]]})
    np.testing.assert_array_equal(answer["difference"], np.full([2, 8, 8, 3], 2.0))


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 names what it exports in its own way")
@pytest.mark.parametrize("name", ["input-1", "1st", "a.b"])
def test_names_equal_those_of_the_export_of_keras(name, tmp_path):
    image = keras.Input((8, 8, 3), name=name)
    keras.Model(image, layers.BlurPool2D()(image)).export(str(tmp_path / "theirs"), verbose=False)
    assert list(specs_of(tmp_path / "theirs")) == [NAMES[name]]


@pytest.mark.parametrize("names", [["a-b", "a.b"], ["left", "Left"]])
def test_inputs_that_get_the_same_name_are_refused(names, tmp_path):
    told = rf"`model` must have inputs with different names .* Received: inputs \['{names[0]}', '{names[1]}'\]"
    with pytest.raises(ValueError, match=told):
        export_saved_model(two_inputs(names), tmp_path / "1")
    assert list(tmp_path.iterdir()) == []


def test_inputs_of_a_dict_keep_their_names_in_any_order(tmp_path):
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    model = keras.Model({"right": right, "left": left}, keras.layers.Subtract(name="difference")([left, right]))
    assert set(input_names(model)) == {"left", "right"}
    path = export_saved_model(model, tmp_path / "1")
    answer = load_saved_model(path)(left=np.full([1, 4], 3.0), right=np.ones([1, 4]))
    np.testing.assert_array_equal(answer["difference"], np.full([1, 4], 2.0))


def test_outputs_keep_names_that_are_not_valid_arguments(tmp_path):
    image = keras.Input((8,), name="image")
    outputs = {name: keras.layers.Rescaling(k)(image) for k, name in enumerate(["out 1", "2nd", "a/b", "image", "é-1"])}
    answers = load_saved_model(export_saved_model(keras.Model(image, outputs), tmp_path / "1"))(image=np.ones([1, 8]))
    assert {name: float(y[0, 0]) for name, y in answers.items()} == {
        "out 1": 0.0, "2nd": 1.0, "a/b": 2.0, "image": 3.0, "é-1": 4.0
    }  # fmt: skip


def test_outputs_of_a_list_in_a_dict_are_numbered(tmp_path):
    image = keras.Input((8, 8, 3), name="image")
    levels = layers.GaussianPyramid(2)(image)
    model = keras.Model(image, {"levels": levels, "image": image, "again": {"b": levels[1], "a": levels[0]}})
    answers = load_saved_model(export_saved_model(model, tmp_path / "1"))(image=np.ones([1, 8, 8, 3]))
    sides = {"again_a": 8, "again_b": 4, "image": 8, "levels_0": 8, "levels_1": 4}
    assert {name: y.shape[1] for name, y in answers.items()} == sides


def test_an_output_named_like_a_numbered_output_is_refused(tmp_path):
    image = keras.Input((8, 8, 3), name="image")
    levels = layers.GaussianPyramid(2, name="levels")(image)
    model = keras.Model(image, [*levels, layers.BlurPool2D(name="levels_1")(image)])
    with pytest.raises(
        ValueError, match=r"`model` must have outputs with different names .* 2 of them are named \['levels_1'\]"
    ):
        export_saved_model(model, tmp_path / "1")


def test_an_output_of_a_nested_model_has_the_name_of_the_nested_model():
    inner = called(keras.Sequential([layers.BlurPool2D()], name="inner"), (1, 8, 8, 3))
    image = keras.Input((8, 8, 3), name="image")
    model = functional(keras.Model(image, [inner(image), inner.layers[-1](image)]))
    assert output_names(model) == ["inner", inner.layers[-1].name]
    assert input_specs(model)["image"].shape.as_list() == [None, 8, 8, 3]


def test_a_sample_of_a_wrong_shape_is_named_instead_of_a_layer(tmp_path):
    words = keras.Input((), dtype="string", name="words")
    vectorization = keras.layers.TextVectorization(vocabulary=["which", "shape"], output_sequence_length=3)
    model = keras.Model(words, vectorization(words))
    told = r"`sample` must be .* 'words' must be string of shape \(None,\).* Received: 'words' of shape \(2, 1\)"
    with pytest.raises(ValueError, match=told):
        export_saved_model(model, tmp_path / "1", sample=tf.constant([["which shape"]] * 2))
