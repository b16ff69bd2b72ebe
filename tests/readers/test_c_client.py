"""The C client: TensorFlow's loader returns Keras's outputs for the quickstart's model and for questions."""

import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.readers import runtimes
from tfpyramid import layers, models
from tfpyramid._compat import keras, write_saved_model
from tfpyramid.export import export_saved_model


def quickstart():
    sys.path.insert(0, str(runtimes.ROOT / "examples"))
    import quickstart

    image = np.random.default_rng(0).random((2, 33, 47, 3), np.float32)
    return quickstart.build_model(), [{"image": image}, {"image": image[:1, :24, :30]}]


def questions():
    rng = np.random.default_rng(0)
    question = rng.integers(0, 9, (3, 5)).astype(np.int32)
    image = rng.random((3, 64, 61, 3), np.float32)
    small = {"image": image[:1, :40, :32], "question": question[:1, :2]}
    return models.pyramid_vlm(9, 4, filters=4, units=8), [{"image": image, "question": question}, small]


def magnifier():
    rng = np.random.default_rng(0)
    made = models.pyramid_super_resolution(4, filters=4, num_convolutions=1)
    made.set_weights([w + 0.1 * rng.standard_normal(w.shape) for w in made.get_weights()])
    image = rng.random((2, 9, 14, 3), np.float32)
    return made, [{"image": image}, {"image": image[:1, :1, :5]}]


def segmenter():
    """Return a segmenter of a backbone of Keras."""
    image = np.random.default_rng(0).random((2, 65, 97, 3), np.float32)
    backbone = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3), alpha=0.35)
    made = models.pyramid_segmenter(3, backbone=backbone, strides=(8, 16, 32), filters=4)
    made = keras.Model(made.input, {"label": made.output})
    return made, [{"image": image}, {"image": image[:1, :64, :33]}]


def detector():
    image = np.random.default_rng(0).random((2, 33, 47, 3), np.float32)
    made = models.pyramid_detector(
        3, strides=(4, 8), extra_levels=1, filters=8, num_convolutions=1, max_detections=9, score_threshold=0.01
    )
    return made, [{"image": image}, {"image": image[:1, :24, :30]}, {"image": image[:0]}]


def write(made, batch, folder):
    names = list(batch)
    specs = [tf.TensorSpec([None] * array.ndim, array.dtype, name) for name, array in batch.items()]
    specs[0] = tf.TensorSpec((None, None, None, 3), tf.float32, "image")

    def call(*tensors):
        answer = made(dict(zip(names, tensors)) if len(names) > 1 else tensors[0])
        return answer if isinstance(answer, dict) else {"label": answer}

    write_saved_model(made, {"serve": (call, specs)}, folder)


@pytest.mark.parametrize("make", [quickstart, questions, magnifier, segmenter, detector])
def test_the_client_returns_the_outputs_of_keras(make, tmp_path):
    made, batches = make()
    write(made, batches[0], tmp_path / "model")
    for batch, answers in zip(batches, runtimes.c(tmp_path / "model", batches, tmp_path), strict=True):
        expected = made(batch if len(batch) > 1 else batch["image"])
        expected = expected if isinstance(expected, dict) else {"label": expected}
        assert sorted(answers) == sorted(expected)
        for name, y in expected.items():
            np.testing.assert_allclose(answers[name], y, atol=1e-5)


def test_the_client_says_what_is_wrong(tmp_path):
    image = keras.Input((None, None, 3), name="image")
    made = keras.Model(image, layers.LearnableDownsample2D()(image))
    batch = {"image": np.zeros((1, 4, 4, 3), np.float32)}
    write(made, batch, tmp_path / "model")
    runtimes.c(tmp_path / "model", [batch], tmp_path)  # This call builds the client.
    name, raw = "image", tmp_path / "image.raw"
    model, out = [tmp_path / "model", "serving_default"], ["--", "label", tmp_path / "out"]
    for words, message in (
        ([], "usage: predict SAVED_MODEL"),
        (model[:1], "usage: predict SAVED_MODEL SIGNATURE"),
        ([tmp_path / "none", "serving_default"], "cannot load"),
        ([*model[:1], "uint8", *out], "the model has no signature uint8. It has: "),
        ([*model, name, "float32", "1x4x4x3", tmp_path / "none", *out], "cannot read"),
        ([*model, name, "float32", "1x4x5x3", raw, *out], f"{raw} must have 240 bytes"),
        ([*model, name, "float32", "1x-4x3", raw, *out], "shape must be like 1x33x47x3, not 1x-4x3"),
        ([*model, name, "float64", "1x4x4x3", raw, *out], "dtype must be float32 or int32, not float64"),
        ([*model, "nothing", "float32", "1x4x4x3", raw, *out], "the model has no input nothing. It has: image"),
        ([*model, name, "float32", "1x4x4x3", raw, "--", "none", raw], "the model has no output none. It has: label"),
        ([*model, name, "float32", "1x4x4x3", raw], "at least one output is required after --"),
        ([*model, *out], "cannot run: "),
        ([*model, name, "float32", "4x4x3", raw, *out], "cannot run: "),
    ):
        command = [str(word) for word in (tmp_path / "predict", *words)]
        ended = subprocess.run(command, env=runtimes.QUIET, capture_output=True, text=True)
        assert ended.returncode == 1
        assert f"predict: {message}" in ended.stderr, (message, ended.stderr[-500:])


def test_the_command_of_the_page_calls_the_signature_instead_of_the_endpoint(tmp_path):
    image = keras.Input((None, None, 3), name="image")
    made = keras.Model(image, layers.LearnableDownsample2D(name="mask")(image))
    path = export_saved_model(made, tmp_path / "served" / "pyramid", version=1, image_bytes=True, uint8=True)
    batch = {"image": np.random.default_rng(0).random((1, 33, 47, 3), np.float32)}
    runtimes.c(path, [batch], tmp_path)  # This call builds the client and writes image.raw.
    (command,) = re.findall(r"^predict .*", (runtimes.ROOT / "docs" / "serving.md").read_text(), re.MULTILINE)
    subprocess.run([f"./{word}" if word == "predict" else word for word in command.split()], cwd=tmp_path, check=True)
    answer = np.fromfile(tmp_path / "answer.raw", np.float32)
    np.testing.assert_allclose(answer, np.ravel(made(batch["image"])), atol=1e-6)
