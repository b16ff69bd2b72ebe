"""PredictImages names each wrong argument before anything is written, and refuses unsuitable models."""

import importlib
import sys

import pytest
import tensorflow as tf

from tests.scale import folder
from tests.scale.test_beam import run
from tfpyramid import scale
from tfpyramid.export import Pixels


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
        ({"batch_size": True}, "`batch_size` must be an integer of at least 1. Received: batch_size=True"),
        ({"files_per_part": 0}, "`files_per_part` must be an integer of at least 1"),
        ({"max_pixels": 0}, "`max_pixels` must be an integer of at least 1"),
        (
            {"max_pixels": 0.5},
            "`max_pixels` must be an integer of at least 1, the most pixels of an image. Received: max_pixels=0.5",
        ),
        ({"max_pixels": 10**30}, "`max_pixels` must be at most 1073741824"),
        ({"file_format": "csv"}, "`file_format` must be one of 'parquet', 'tfrecord'. Received: file_format='csv'"),
        (
            {"output": "caf\udce9"},
            r"`output` must be a path: a str or a pathlib.Path. Received: output='caf\\udce9'",
        ),
        ({"output": ""}, "`output` must be a path: a str or a pathlib.Path. Received: output=''"),
        ({"output": "a\0b"}, "`output` must be a path: a str or a pathlib.Path. Received: output='a"),
        ({"output": None}, "`output` must be a path: a str or a pathlib.Path. Received: output=None"),
        ({"output": "nofs://a/b"}, "`output` must be on a file system that Beam knows. Received: output='nofs://a/b'"),
        ({"output": "/proc/here"}, "`output` must be a folder that can be written, .*/proc"),
        ({"output": __file__}, "`output` must be a folder that can be written.*Received: output='.*arguments.py'"),
        ({"output": __file__ + "/x"}, "`output` must be a folder that can be written.*Received: .*py/x'"),
        ({"model": "caf\udce9"}, r"`model` must be a path: a str or a pathlib.Path. Received: model='caf\\udce9'"),
        ({"model": "nowhere"}, "`model` must be a complete SavedModel.*nowhere"),
        ({"model": "nofs://a/b"}, "`model` must be a complete SavedModel.*Received: model='nofs://a/b'"),
        ({"model": 5}, "`model` must be a path: a str or a pathlib.Path. Received: model=5"),
        ({"pixels": (8, 8)}, r"`pixels` must be a tfpyramid.export.Pixels. Received: pixels=\(8, 8\)"),
        ({"pixels": "x"}, "`pixels` must be a tfpyramid.export.Pixels. Received: pixels='x'"),
        ({"pixels": Pixels(input="photo")}, "`pixels` must name the input 'image', or none"),
        ({"signature": "other"}, r"`signature` must be one of \['serving_default'\]"),
        ({"signature": 5}, r"`signature` must be one of \['serving_default'\] in .* Received: signature=5"),
        ({"signature": ["x"]}, r"`signature` must be one of \['serving_default'\] in .* Received: signature=\['x'\]"),
        (
            {"pattern": "nothing/*.png"},
            "`file_pattern` must match at least one file. Received: file_pattern='.*nothing/\\*.png'",
        ),
        ({"pattern": []}, r"`file_pattern` must match at least one file. Received: file_pattern=\[\]"),
        ({"pattern": ""}, "`file_pattern` must be a path or a pattern of files, or a list of them. Received: .*=''"),
        ({"pattern": "[z-a].png"}, "`file_pattern` must be a pattern that Beam can match and list. Received: "),
        ({"pattern": ["*.png", "nofs://a"]}, "`file_pattern` must be on a file system that Beam knows. Received"),
    ],
)
def test_wrong_arguments_are_named(some, arguments, message):
    before = sorted(some["output"].parent.rglob("*"))
    with pytest.raises(ValueError, match=message):
        run(**{**some, **arguments})
    assert sorted(some["output"].parent.rglob("*")) == before


WORD, ONE = tf.TensorSpec([None], tf.string, name="word"), tf.TensorSpec([1, None, None, 3], name="image")


@pytest.mark.parametrize(
    "function, specs, message",
    [
        (lambda word: {"x": word}, [WORD], r"must take one input: a batch of any number of images .*string \(None,\)"),
        (lambda image, word: {"x": image, "y": word}, [folder.IMAGES, WORD], "must take one input"),
        (lambda image: {"x": image}, [ONE], r"must take one input.*float32 \(1, None, None, 3\)"),
        (
            lambda image: {"x": tf.reduce_mean(image)},
            [folder.IMAGES],
            r"return outputs of shape \[batch, ...\], one for each image.*output 'x', float32 \(\)",
        ),
        (lambda image: {"x": tf.cast(image, tf.complex64)}, [folder.IMAGES], "that are not complex.*complex64"),
        (
            lambda image: {"width": image},
            [folder.IMAGES],
            "must not name an output .* 'width' needs the column 'width'",
        ),
        (lambda image: {"x": image, "x/shape": image}, [folder.IMAGES], "'x/shape' needs the column 'x/shape'"),
    ],
)
def test_models_that_do_not_return_outputs_for_images_are_refused(some, function, specs, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(**{**some, "model": folder.save(tmp_path / "wrong", function, *specs)})
    assert not some["output"].exists()


@pytest.mark.slow
def test_a_model_that_returns_one_output_for_a_batch_is_detected(some, tmp_path):
    spec = tf.TensorSpec([None, None, None, 3], name="image")
    model = folder.save(tmp_path / "sum", lambda image: {"x": tf.reshape(image, [-1])}, spec)
    with pytest.raises(
        Exception, match=r"`model` must return outputs of shape \[batch, ...\], one for each image.*'x' of shape \("
    ):
        run(**{**some, "model": model})


@pytest.mark.parametrize("module", ["apache_beam", "pyarrow"])
def test_without_beam_the_error_says_what_to_install(module, monkeypatch):
    for name in ("beam", "_rows"):
        monkeypatch.delitem(sys.modules, f"tfpyramid.scale.{name}")
        monkeypatch.delattr(scale, name)
    monkeypatch.setitem(sys.modules, module, None)
    told = r"requires Apache Beam. Install it with: pip install 'tfpyramid\[beam\]'. Received: .*" + module
    with pytest.raises(ImportError, match=told):
        importlib.import_module("tfpyramid.scale.beam")
