"""Training on the replicas of a strategy against Keras's own training, and two workers against one."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.training import worker
from tfpyramid import training
from tfpyramid._compat import keras
from tfpyramid.training import _collectives
from tfpyramid.training._distributed_training import _REFUSED

EPOCHS = 2
HUNG = 1800  # Seconds after which a process is ended: no machine is so busy.
ROOT = str(Path(__file__).parents[2])


def assert_same_weights(model, weights, tolerance=1e-6):
    for actual, expected in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(actual, expected, atol=tolerance)


def assert_written_weights(path, expected):
    written = np.load(path, allow_pickle=False)
    for name, weight in zip(written.files, expected, strict=True):
        np.testing.assert_allclose(written[name], weight, atol=1e-5)


@pytest.fixture(scope="module")
def unbroken():
    """The weights of an unbroken training on one device, by Keras."""
    model = worker.model()
    for epoch in range(EPOCHS):
        model.fit(worker.data(epoch), verbose=0, shuffle=False)
    return model.get_weights()


@pytest.mark.slow
def test_on_one_device_it_is_the_training_of_keras(unbroken):
    model = worker.model()
    history = training.fit_distributed(model, worker.data, EPOCHS)
    assert_same_weights(model, unbroken)
    assert len(history["loss"]) == EPOCHS and history["loss"][1] < history["loss"][0]


@pytest.mark.slow
def test_the_loss_is_the_mean_over_samples():
    model = worker.model()
    model.optimizer.learning_rate = 1e-30
    expected = model.evaluate(worker.data(0), verbose=0)
    history = training.fit_distributed(model, worker.data(0))
    np.testing.assert_allclose(history["loss"], [expected], rtol=1e-5)


@pytest.mark.slow
def test_a_training_that_breaks_off_within_an_epoch_goes_on_where_it_was(unbroken, tmp_path):
    def breaks_off(epoch):
        if epoch == 0:
            return worker.data(0)
        return worker.data(1).take(3).concatenate(worker.data(1).map(lambda x, y, w: (x[:, :0], y, w)).take(1))

    with pytest.raises(Exception):
        training.fit_distributed(worker.model(), breaks_off, EPOCHS, checkpoint_folder=tmp_path, save_every=2)
    model = worker.model()
    history = training.fit_distributed(model, worker.data, EPOCHS, checkpoint_folder=tmp_path, save_every=2)
    assert_same_weights(model, unbroken)
    assert len(history["loss"]) == 1
    assert len([name for name in os.listdir(tmp_path) if name.endswith(".index")]) == 2
    # What is trained to the end has nothing left to do.
    assert training.fit_distributed(model, worker.data, EPOCHS, checkpoint_folder=tmp_path) == {"loss": []}


def run_workers(folder, temporary, kill_at):
    """Return the exit status and the output of two workers, of which the second kills itself behind a checkpoint."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    processes = []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config), "PYTHONPATH": ROOT, "TMPDIR": str(temporary)}
        command = [sys.executable, worker.__file__, str(folder), str(kill_at if index == 1 else 0)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, env=environment, **streams))
    try:
        return [(process, *process.communicate(timeout=HUNG)) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_end_where_one_alone_ends(unbroken, tmp_path):
    folder, temporary = tmp_path / "folder", tmp_path / "temporary"
    temporary.mkdir()
    # The sixth checkpoint is that behind four steps of the second epoch.
    (first, _, message), (second, _, _) = run_workers(folder, temporary, kill_at=6)
    assert second.returncode == -signal.SIGKILL
    assert first.returncode == 1
    assert "RuntimeError: A worker was lost in epoch 2 of 2. Restart all workers with the same" in message
    assert f"resumes from the last checkpoint in {folder}" in message
    (left,) = temporary.glob("tfpyramid-worker-*")  # By the second, which could not remove it.

    # What the first chooses, the other restores too, although both see the same damage.
    (folder / "checkpoint").write_text("garbage")
    damaged = max(folder.glob("ckpt-*.index"), key=lambda path: int(path.stem.split("-")[1]))
    damaged.write_bytes(damaged.read_bytes()[:-40])
    ended = run_workers(folder, temporary, kill_at=0)
    for process, _, message in ended:
        assert process.returncode == 0, message
    assert re.search(rf"Training resumes from .*ckpt-[45], .* damaged .* is written: {damaged.stem} ", ended[0][2])
    for index in range(2):
        assert_written_weights(folder / f"weights_{index}.npz", unbroken)
    assert not any(temporary.glob("tfpyramid-worker-*"))
    assert sorted(path.name for path in folder.glob("[!w]*")) == sorted(
        ["checkpoint", *(f"ckpt-{k}.{kind}" for k in (7, 8) for kind in ("index", "data-00000-of-00001"))]
    )


@pytest.mark.parametrize("first", [_REFUSED, 0], ids=["the first refuses", "another cannot restore"])
def test_no_worker_trains_if_one_cannot_resume(first, monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr(_collectives, "is_first", lambda _: False)
    monkeypatch.setattr(_collectives, "broadcast_from_first", lambda _, value: first)
    monkeypatch.setattr(_collectives, "any_worker", lambda _, value: told.append(value) or True)
    model = worker.model()
    before = model.get_weights()
    with pytest.raises(
        RuntimeError, match="Another worker could not resume this training. See the error message of that worker."
    ):
        training.fit_distributed(model, worker.data, checkpoint_folder=tmp_path)
    assert told == [first == _REFUSED]
    for actual, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_the_first_worker_tells_the_others_before_it_refuses(monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr(_collectives, "broadcast_from_first", lambda _, value: told.append(value) or value)
    (tmp_path / "checkpoint").write_text("garbage")
    with pytest.raises(ValueError, match="`checkpoint_folder` must be empty"):
        training.fit_distributed(worker.model(), worker.data, checkpoint_folder=tmp_path)
    assert told == [_REFUSED]


@pytest.mark.slow
def test_two_devices_of_one_worker_end_where_one_ends(unbroken, tmp_path):
    environment = {**os.environ, "PYTHONPATH": ROOT}
    command = [sys.executable, worker.__file__, str(tmp_path), "0"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert_written_weights(tmp_path / "weights_0.npz", unbroken)


@pytest.mark.slow
def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    training.fit_distributed(worker.model(), worker.data, 1, checkpoint_folder=tmp_path)
    other = keras.Sequential([keras.Input((12, 12, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    other.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`checkpoint_folder` must be empty, or.*ckpt-1, which differs in"):
        training.fit_distributed(other, worker.data, 1, checkpoint_folder=tmp_path)


def test_models_that_cannot_be_trained_so_are_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="`model` must be a compiled and built keras.Model. Received: model="):
        training.fit_distributed(model, worker.data)
    model.compile(keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD()), "mse")
    with pytest.raises(ValueError, match="`model` must have an optimizer without a loss scale.*LossScaleOptimizer"):
        training.fit_distributed(model, worker.data)


BAD = [("epochs", 0), ("epochs", 1.5), ("epochs", None), ("epochs", True), ("save_every", 0), ("save_every", "1")]
BAD += [("verbose", 2), ("verbose", None), ("model", None), ("model", "model"), ("model", [])]
BAD += [("checkpoint_folder", folder) for folder in (True, 5, "", b"folder", ["folder"], "gs://bucket/folder", "a\0b")]
IMAGES, LABELS = np.zeros([4, 12, 12, 3], np.float32), np.zeros(4)
BAD += [("data", data) for data in ((IMAGES, LABELS), [IMAGES, LABELS], IMAGES, [], None, "data", 7, {"x": IMAGES})]


def dataset(*parts):
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0])


DATASETS = {
    "a batch of no structure": dataset(IMAGES).batch(2),
    "inputs alone": dataset((IMAGES,)).batch(2),
    "four parts": dataset(IMAGES, LABELS, LABELS, LABELS).batch(2),
    "a dict": dataset({"images": IMAGES, "labels": LABELS}).batch(2),
    "no batches": dataset(IMAGES, LABELS),
    "other images": dataset(IMAGES[:, :9], LABELS).batch(2),
    "other channels": dataset(IMAGES[..., :1], LABELS).batch(2),
    "fewer labels": tf.data.Dataset.zip((dataset(IMAGES).batch(4), dataset(LABELS).batch(2, drop_remainder=True))).map(
        lambda x, y: (tf.ensure_shape(x, [4, 12, 12, 3]), y)
    ),
    "no batch": dataset(IMAGES, LABELS).batch(2).take(0),
    "no end": dataset(IMAGES, LABELS).batch(2).repeat(),
}


@pytest.fixture(scope="module")
def compiled():
    return worker.model()


def assert_refused(name, model, folder, value):
    arguments = {"model": model, "data": worker.data, "checkpoint_folder": folder, name: value}
    with pytest.raises(ValueError, match=f"`{name}` must .*Received: "):
        training.fit_distributed(**arguments)


@pytest.mark.parametrize("name, value", BAD, ids=lambda value: str(value)[:12])
def test_arguments_are_checked_before_anything_is_written(name, value, compiled, tmp_path):
    assert_refused(name, compiled, tmp_path / "new", value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", DATASETS)
def test_datasets_are_checked_before_anything_is_written(wrong, compiled, tmp_path):
    for data in (DATASETS[wrong], lambda epoch: DATASETS[wrong]):
        assert_refused("data", compiled, tmp_path / "new", data)
        assert not any(tmp_path.iterdir())


def test_what_a_function_of_epochs_returns_is_checked(compiled, tmp_path):
    assert_refused("data", compiled, tmp_path / "new", lambda epoch: (IMAGES, LABELS))
    empty = worker.data(0).filter(lambda *_: False)  # Its length is unknown before it is read.
    assert_refused("data", compiled, tmp_path / "new", empty)
    assert not any(tmp_path.iterdir())


def test_a_file_is_no_folder(compiled, tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "folder"):
        assert_refused("checkpoint_folder", compiled, None, path)
    assert (tmp_path / "file").read_text() == "mine"


def test_losses_of_layers_alone_need_no_targets():
    images = keras.Input((12, 12, 3))
    features = keras.layers.ActivityRegularization(l2=0.1)(keras.layers.Conv2D(1, 3)(images))
    models = [keras.Model(images, features) for _ in range(2)]
    data = dataset(IMAGES + 1).batch(2)
    weights = [w + 0.1 for w in models[0].get_weights()]
    for model in models:
        model.compile(keras.optimizers.SGD(0.1))
        model.set_weights(weights)
    models[0].fit(data, verbose=0, shuffle=False)
    training.fit_distributed(models[1], data)
    assert_same_weights(models[1], models[0].get_weights())


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
