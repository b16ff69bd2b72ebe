"""load_saved_model: what it loads, and its errors."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid.export import load_saved_model


class Scaled(tf.Module):
    """A model of three weights with a number, a word and a count as inputs in addition to the image."""

    def __init__(self, weight):
        super().__init__()
        self.weight = tf.Variable(3 * [weight])

    @tf.function
    def __call__(self, image, count, word):
        return {"scaled": image * self.weight, "count": count + 1, "length": tf.strings.length(word)}


def save(path, weight=2.0):
    model = Scaled(weight)
    specs = [
        tf.TensorSpec([None, None, 3], tf.float32, name="image"),
        tf.TensorSpec([], tf.int32, name="count"),
        tf.TensorSpec([None], tf.string, name="word"),
    ]
    tf.saved_model.save(model, str(path), signatures=model.__call__.get_concrete_function(*specs))
    return path


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """A folder of versions: 2, with weights of 2, and 10, with weights of 10."""
    folder = tmp_path_factory.mktemp("versions")
    for number in (2, 10):
        save(folder / str(number), float(number))
    return folder


GIVEN = {"image": np.ones([1, 2, 3]), "count": 4, "word": ["pyramid", ""]}


def test_the_highest_version_is_loaded(versions):
    answers = load_saved_model(versions)(**GIVEN)
    np.testing.assert_array_equal(answers["scaled"], np.full([1, 2, 3], 10, np.float32))
    assert answers["count"] == 5 and list(answers["length"].numpy()) == [7, 0]
    assert load_saved_model(str(versions / "2"))(**GIVEN)["scaled"][0, 0, 0] == 2


def test_the_loaded_function_is_differentiable(versions):
    answer = load_saved_model(versions)
    image = tf.ones([1, 2, 3], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(image)
        y = answer(**{**GIVEN, "image": image})["scaled"]
    gradient = tape.gradient(y, image)
    assert gradient.dtype == tf.float64
    np.testing.assert_array_equal(gradient, np.full([1, 2, 3], 10))


@pytest.mark.parametrize(
    "given, told",
    [
        ({}, r"must be \['count', 'image', 'word'\]. Received: \[\]"),
        ({**GIVEN, "imgae": 1}, r"must be \['count', 'image', 'word'\]. Received: \['count', 'image', 'imgae', 'w"),
        ({**GIVEN, "image": np.ones([1, 2, 4])}, r"`image` must be float32 of shape \(None, None, 3\). Received: fl"),
        ({**GIVEN, "image": np.ones([1, 2, 3], np.uint8)}, "`image` must be float32 .* Received: uint8 of shape"),
        ({**GIVEN, "count": 4.5}, r"`count` must be int32 of shape \(\). Received: float64"),
        ({**GIVEN, "count": "4"}, r"`count` must be int32 of shape \(\). Received: string"),
        ({**GIVEN, "count": None}, r"`count` must be int32 of shape \(\). Received: NoneType, which raised"),
        ({**GIVEN, "image": [[1.0], [1.0, 2.0]]}, r"`image` must be float32 .* Received: list, which raised"),
        (
            {**GIVEN, "image": np.ma.masked_array(np.ones([1, 2, 3]), 1)},
            r"`image` must be .* a masked array: the model would ignore the mask",
        ),
        ({**GIVEN, "word": [4]}, r"`word` must be string of shape \(None,\). Received: int64"),
    ],
)
def test_wrong_inputs_are_named(versions, given, told):
    with pytest.raises(ValueError, match=told):
        load_saved_model(versions)(**given)


def test_an_unknown_signature_is_named(versions):
    with pytest.raises(ValueError, match=r"`signature` must be one of \['serving_default'\] in .* Received: .*'uint8'"):
        load_saved_model(versions, signature="uint8")


def cut(path):
    path.write_bytes(path.read_bytes()[:10])


@pytest.mark.parametrize(
    "damage, told",
    [
        (lambda path: shutil.rmtree(path), "does not exist"),
        (lambda path: (path / "saved_model.pb").unlink(), "does not exist"),
        (lambda path: (path / "saved_model.pb").write_bytes(b"garbage"), "Cannot parse file"),
        (lambda path: (path / "saved_model.pb").write_bytes(b""), "0 MetaGraphs"),
        (lambda path: cut(path / "variables" / "variables.data-00000-of-00001"), "Read less bytes than requested"),
        (lambda path: (path / "variables" / "variables.data-00000-of-00001").unlink(), "No such file"),
        (lambda path: cut(path / "variables" / "variables.index"), "."),
        (lambda path: shutil.rmtree(path / "variables"), "Failed to find any matching files"),
    ],
)
def test_an_incomplete_model_is_named(versions, damage, told, tmp_path):
    path = shutil.copytree(versions / "2", tmp_path / "copy")
    damage(path)
    rule = f"`path` must be a complete SavedModel.* Received: path='{path}', which raised: .*{told}"
    with pytest.raises(ValueError, match=rule):
        load_saved_model(path)


@pytest.mark.parametrize("path", ["http://host/model", "none://model"])
def test_a_file_system_that_tensorflow_does_not_know_is_an_error_that_names_the_path(path):
    with pytest.raises(ValueError, match=f"Received: path='{path}', which raised: File system"):
        load_saved_model(path)


def test_an_incomplete_highest_version_is_an_error_and_no_older_one_is_loaded(versions, tmp_path):
    shutil.copytree(versions / "2", tmp_path / "2")
    (tmp_path / "10").mkdir()
    (tmp_path / ".11.exporting-abcdefgh").mkdir()
    with pytest.raises(ValueError, match=f"`path` must be a complete SavedModel.* path='{tmp_path / '10'}'"):
        load_saved_model(tmp_path)
