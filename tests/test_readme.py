"""Every Python block of README.md, run from the first to the last in one folder, as by a reader who copies them all."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.scale.folder import fill
from tfpyramid import layers
from tfpyramid._compat import KERAS_3, keras
from tfpyramid.export import saved_model

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks():
    """Return the text of each block, with the number of lines before it."""
    text = README.read_text()
    return [(text[: found.start(1)].count("\n"), found[1]) for found in BLOCK.finditer(text)]


def photographs():
    rng = np.random.default_rng(0)
    return {"photos": rng.random([8, 16, 18, 3], np.float32), "masks": rng.random([8, 16, 18, 1], np.float32)}


def seen():
    """Stand-ins for layers of the reader's own."""
    photos = photographs()["photos"]
    downsampler, transformer = layers.AntiAliasedDownsample2D(), layers.SpatialTransformerDownsample2D()
    downsampler(photos)
    transformer(photos)
    return {"downsampler": downsampler, "transformer": transformer, "history": [(2.0, 2.0), (2.1, 1.9)]}


def worker():
    def build_and_compile():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    def batches_of_epoch(epoch):
        return tf.data.Dataset.from_tensors((tf.ones([2, 4]), tf.ones([2, 1])))

    return {"build_and_compile": build_and_compile, "batches_of_epoch": batches_of_epoch}


def garments():
    return {"images": np.random.default_rng(0).random([2, 24, 20, 1], np.float32)}


def questions():
    """A batch of images of shapes, with questions in tokens and in words."""
    vectorization = keras.layers.TextVectorization(vocabulary=["which", "color", "shape"], output_sequence_length=3)
    images = np.random.default_rng(0).random([4, 64, 64, 3], np.float32)
    words = ["which shape", "which color"]
    return {
        "vocabulary_size": 5,
        "num_answers": 2,
        "vectorization": vectorization,
        "images": images,
        "tokens": np.array([[2, 3, 0]] * 4, np.int32),
        "answers": np.array([0, 1, 1, 0]),
        "some_questions": {"image": images[:2], "question": tf.constant(words)},
    }


def mask():
    np.save("mask.npy", np.random.default_rng(0).random([40, 30], np.float32))
    return {}


def folder():
    fill(Path("photographs"), 9)
    return {}


# By what is in a block: what the reader has before it, and a path that is none of this machine's.
STAND_INS = {
    "laplacian_pyramid(photos": photographs,
    "show_kernels": seen,
    "multi_worker_strategy": worker,
    "model.predict(images)": garments,
    "pyramid_vlm(vocabulary_size": questions,
    "write_ome_zarr": mask,
    "PredictImages": folder,
}
PATHS = {"/shared/run": "run", "photographs/**.jpg": "photographs/**"}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")
def test_every_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Whether exports answer elsewhere is tested in tests/export.
    monkeypatch.setattr(saved_model, "difference", lambda *args: None)
    monkeypatch.setattr(saved_model._read_back, "answer", lambda *args: {})
    # Eagerly: to trace a step costs more than these few steps.
    compile_ = keras.Model.compile
    monkeypatch.setattr(keras.Model, "compile", lambda *args, **kwargs: compile_(*args, run_eagerly=True, **kwargs))
    known, used, first = {}, set(), None
    for line, text in blocks():
        for sign, stand_in in STAND_INS.items():
            if sign in text:
                used.add(sign)
                known.update(stand_in())
        if "warmup=True" in text:  # Of the first block, as the text has it.
            known["model"] = first
        for path, own in PATHS.items():
            text = text.replace(path, own)
        exec(compile("\n" * line + text, str(README), "exec"), known)
        first = first or known["model"]
        if "few = " in text:
            history = known["model"].history.history
    assert used == set(STAND_INS)

    # What the text between the blocks says of them.
    of_levels = {name: values[0] for name, values in history.items() if name.endswith("_loss")}
    if KERAS_3:  # Keras 2 numbers them.
        assert set(of_levels) == {f"level_{k}_loss" for k in range(4)}
    assert len(of_levels) == 4
    np.testing.assert_allclose(sum(of_levels.values()), history["loss"][0], rtol=1e-5)
    np.testing.assert_allclose(known["photos_again"], known["photos"], atol=1e-5)
    assert sorted(path.name for path in Path("served/pyramid").iterdir()) == ["1", "2"]
    assert Path("answers/_SUCCESS").exists() and Path("mask.ome.zarr").is_dir()
    for name in ("kernels.png", "grid.png", "strides.png"):
        assert Path(name).read_bytes().startswith(b"\x89PNG")
