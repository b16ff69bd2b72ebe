"""Arguments that `export_saved_model` and `load_saved_model` refuse, by name and before anything is written."""

import os
import tempfile

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid._compat import keras
from tfpyramid.export import Pixels, export_saved_model, load_saved_model, saved_model


@pytest.fixture(scope="module")
def model():
    inputs = [keras.Input((4,), name="right"), keras.Input((4,), name="left")]
    return keras.Model(inputs, keras.layers.Subtract(name="difference")(inputs))


@pytest.fixture
def unchecked(monkeypatch):
    monkeypatch.setattr(saved_model, "difference", lambda *args: None)


ONES = np.ones([1, 4], "float32")
BOTH = {"left": ONES, "right": 3 * ONES}
NOT_PATHS = [None, 5, b"model", "", "a\0b", "\udc80", True, ["model"], {"path": "model"}]


@pytest.mark.parametrize("path", NOT_PATHS, ids=repr)
def test_a_value_that_is_not_a_path_is_refused(path, model):
    with pytest.raises(ValueError, match="`path` must be a path: a str or a pathlib.Path. Received: path="):
        export_saved_model(model, path)
    with pytest.raises(ValueError, match="`path` must be a path: a str or a pathlib.Path. Received: path="):
        load_saved_model(path)


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"path": "gs://bucket/model"}, "`path` must be on a disk of this machine"),
        ({"path": ".."}, "`path` must end in the name of the folder"),
        ({"path": "."}, "`path` must end in the name of the folder"),
        ({"version": 10**30}, f"`version` must be at most {2**63 - 1}"),
        ({"version": 2**63}, f"`version` must be at most {2**63 - 1}"),
        ({"version": float("nan")}, "`version` must be an integer"),
        ({"version": tf.constant(2.0)}, "`version` must be an integer"),
        ({"version": [1]}, "`version` must be an integer"),
        ({"version": b"next"}, "`version` must be an integer"),
        ({"version": "Next"}, "`version` must be an integer, 'next' or None"),
        ({"overwrite": "yes"}, "`overwrite` must be True or False"),
        ({"portable": 1}, "`portable` must be True or False"),
        ({"verify": "no"}, "`verify` must be True or False"),
        ({"sample": "x"}, "`sample` must hold one batch for each of .* Received: 1 values"),
        ({"sample": ()}, "`sample` must hold one batch for each of .* Received: 0 values"),
        ({"sample": ("x", "y")}, "`sample` must be a batch .* process: 'right' must be float32 of shape"),
        ({"sample": (ONES, None)}, "`sample` must be a batch .* 'left' must be .* Received: left=None"),
        ({"sample": (ONES, object())}, "`sample` must be a batch .* 'left' must be float32"),
        ({"sample": (ONES, [[1.0], [1.0, 2.0]])}, "`sample` must hold one batch for each of"),
        ({"sample": (ONES, np.ones([4]))}, r"`sample` must be a batch .* Received: 'left' of shape \(4,\)"),
        ({"sample": (ONES[:0], ONES[:0])}, r"`sample` must be a batch .* and not empty. .* of shape \(0, 4\)"),
        ({"sample": (ONES, tf.ones([1, 4], tf.int32))}, "`sample` must be a batch .* 'left' must be float32"),
        (
            {"sample": (ONES, np.ma.masked_array(ONES, ONES > 0))},
            "(?s)`sample` must .* masked array: the model would ignore",
        ),
        ({"sample": {"left": ONES, "rihgt": ONES}}, r"`sample` must hold one .* a dict of \['left', 'rihgt'\]"),
        ({"sample": {"a": ONES, "b": ONES}}, r"`sample` must hold one .* Received: a dict of \['a', 'b'\]"),
        ({"sample": {1: ONES, 2: ONES}}, r"`sample` must hold one .* Received: a dict of \[1, 2\]"),
        ({"warmup": "x"}, "`warmup` must hold one batch for each of"),
        ({"warmup": 1}, "`warmup` must hold one batch for each of"),
        ({"warmup": {"a": ONES, "b": ONES}}, r"`warmup` must hold one .* Received: a dict of \['a', 'b'\]"),
        ({"pixels": None}, "`pixels` must be a tfpyramid.export.Pixels"),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value)[:40],
)
def test_a_bad_argument_is_named_before_anything_is_written(arguments, told, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=told):
        export_saved_model(model, **{"path": tmp_path / "served" / "model", **arguments})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "sample", [BOTH, (3 * ONES, ONES), [tf.constant(3 * ONES), ONES]], ids=["dict", "tuple", "list"]
)
def test_a_sample_may_be_a_dict_by_names_or_the_structure_of_the_model(sample, model, tmp_path, monkeypatch):
    def seen(path, expected, given):
        np.testing.assert_array_equal(given["serving_default"]["right"], 3 * ONES)
        np.testing.assert_array_equal(given["serving_default"]["left"], ONES)
        np.testing.assert_array_equal(expected["serving_default"]["output/difference"], 2 * ONES)

    monkeypatch.setattr(saved_model, "difference", seen)
    export_saved_model(model, tmp_path / "1", sample=sample)


@pytest.mark.parametrize("kind", ["model", "dangling", "file"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_is_neither_replaced_nor_followed(kind, overwrite, model, tmp_path, unchecked):
    there, link = tmp_path / "there", tmp_path / "link"
    if kind == "model":
        export_saved_model(model, there)
    elif kind == "file":
        there.write_text("a file")
    link.symlink_to(there)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=f"`path` must not be a symbolic link, .* Received: path='{link}', a link to"):
        export_saved_model(model, link, overwrite=overwrite)
    assert sorted(tmp_path.rglob("*")) == before and link.is_symlink()


def test_a_link_to_the_folder_of_the_versions_is_followed(model, tmp_path, unchecked):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    export_saved_model(model, tmp_path / "link", version=3)
    assert export_saved_model(model, tmp_path / "link", version="next") == tmp_path / "link" / "4"
    assert sorted(os.listdir(tmp_path / "there")) == ["3", "4"]
    (tmp_path / "there" / "5").symlink_to(tmp_path / "there" / "4")
    with pytest.raises(ValueError, match="`path` must not be a symbolic link"):
        export_saved_model(model, tmp_path / "link", version=5, overwrite=True)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for version in (1, "next"):
        with pytest.raises(ValueError, match="`path` must not be a symbolic link"):
            export_saved_model(model, tmp_path / "dangling", version=version)
    assert not (tmp_path / "nowhere").exists()


def test_folders_that_tensorflow_serving_ignores_do_not_count_as_versions(model, tmp_path, unchecked):
    for name in (str(2**63), "9" * 200):
        (tmp_path / name).mkdir()
    assert export_saved_model(model, tmp_path, version="next") == tmp_path / "1"
    path = export_saved_model(model, tmp_path, version=2**63 - 1)
    assert load_saved_model(tmp_path)(left=ONES, right=ONES)["difference"].shape == (1, 4)
    assert int(path.name) == 2**63 - 1
    with pytest.raises(ValueError, match="`version` must be a free number: 9223372036854775807, the highest"):
        export_saved_model(model, tmp_path, version="next")


@pytest.mark.parametrize("path", ["x" * 300, "file/model", "file"])
def test_an_impossible_path_is_an_os_error_that_names_it(path, model, tmp_path):
    (tmp_path / "file").touch()
    for options in ({}, {"version": "next"}, {"version": 1}):
        with pytest.raises(OSError, match="`path` must"):
            export_saved_model(model, tmp_path / path, **options)
    with pytest.raises(ValueError, match="`path` must be a complete SavedModel"):
        load_saved_model(tmp_path / path)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "options, told",
    [
        ({"value_range": value}, "`value_range` must be two finite numbers, low < high")
        for value in (
            "01",
            b"01",
            {0, 1},
            {0: 1, 1: 2},
            (0,),
            (0, 1, 2),
            (0, 0),
            (1, 0),
            (None, 1),
            (0, "1"),
            (False, True),
            None,
            (0, 10**400),
            (-1e308, 1e308),
            (0, 1e39),
            (0, 1e-320),
            (0, np.nan),
            np.ma.masked_array([0, 1], [0, 1]),
            tf.constant(1.0),
            [[0, 1]],
        )
    ]
    + [
        ({"max_pixels": value}, "`max_pixels` must be an integer of at least 1, or None")
        for value in (0, -1, 1.5, "many", True, tf.constant(2.0), [1])
    ]
    + [({"max_pixels": 10**30}, "`max_pixels` must be at most 1073741824"), ({"input": b"image"}, "`input` must be")],
    ids=repr,
)
def test_pixels_refuses_wrong_arguments(options, told):
    with pytest.raises(ValueError, match=told):
        Pixels(**options)


def test_pixels_accepts_numbers_of_every_kind():
    for low, high in ((0, 1), np.array([0, 1]), [np.float32(0), np.int64(1)], tf.constant([0.0, 1.0])):
        assert Pixels(value_range=(low, high), max_pixels=np.int64(9)).value_range == (0.0, 1.0)


@pytest.mark.parametrize(
    "dtype, value_range", [("float16", (0, 70000)), ("float16", (1, 1 + 1e-6)), ("float32", (1, 1 + 1e-9))]
)
def test_a_range_that_is_empty_in_the_dtype_of_the_input_is_refused(dtype, value_range, tmp_path):
    image = keras.Input((8, 8, 3), dtype=dtype, name="image")
    model = keras.Model(image, keras.layers.Activation("linear", dtype=dtype)(image))
    with pytest.raises(ValueError, match=f"`value_range` must be two different numbers in {dtype}"):
        export_saved_model(model, tmp_path / "1", uint8=True, pixels=Pixels(value_range=value_range))
    assert os.listdir(tmp_path) == []


def test_a_limit_below_the_batch_of_the_check_is_refused(tmp_path):
    for sides, size, most in (((None, None), None, 2 * 65 * 79), ((None, None), (8, 8), 65 * 79), ((8, 8), None, 64)):
        image = keras.Input((*sides, 3), name="image")
        model = keras.Model(image, keras.layers.Activation("linear")(image))
        with pytest.raises(ValueError, match=f"`max_pixels` must allow .* max_pixels={most - 1}, for"):
            export_saved_model(
                model, tmp_path / "1", image_bytes=True, pixels=Pixels(max_pixels=most - 1, image_size=size)
            )
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_the_temporary_folder_is_not_used(model, tmp_path, monkeypatch, one_interpreter):
    # It may be full or on another disk, and a killed export would leave files there.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    assert export_saved_model(model, tmp_path / "1") == tmp_path / "1"
    assert os.listdir(tmp_path) == ["1"]


def test_a_value_that_is_not_a_signature_is_refused(model, tmp_path, unchecked):
    path = export_saved_model(model, tmp_path / "1")
    for signature in (None, 5, ["serving_default"], b"serving_default", "", {}):
        with pytest.raises(ValueError, match="`signature` must be one of .* in .* Received: signature="):
            load_saved_model(path, signature=signature)
