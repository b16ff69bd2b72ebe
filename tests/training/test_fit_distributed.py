"""Training on the replicas of a strategy against Keras's own training, and two workers against one."""

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.training import worker
from tfpyramid import training
from tfpyramid._compat import keras
from tfpyramid.training.multi_worker_strategy import _join

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


def test_on_one_device_it_is_the_training_of_keras(unbroken):
    model = worker.model()
    history = training.fit_distributed(model, worker.data, EPOCHS)
    assert_same_weights(model, unbroken)
    assert len(history["loss"]) == EPOCHS and history["loss"][1] < history["loss"][0]


def test_the_loss_is_the_mean_over_samples():
    model = worker.model()
    model.optimizer.learning_rate = 1e-30
    expected = model.evaluate(worker.data(0), verbose=0)
    history = training.fit_distributed(model, worker.data(0))
    np.testing.assert_allclose(history["loss"], [expected], rtol=1e-5)


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


def run_workers(folder, kill_at):
    """Return the exit status and the output of two workers, of which the second kills itself behind a checkpoint."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    processes = []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config), "PYTHONPATH": ROOT}
        command = [sys.executable, worker.__file__, str(folder), str(kill_at if index == 1 else 0)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, env=environment, **streams))
    try:
        return [(process, *process.communicate(timeout=HUNG)) for process in processes]
    finally:
        for process in processes:
            process.kill()


def test_two_workers_of_which_one_is_killed_end_where_one_alone_ends(unbroken, tmp_path):
    # The fifth checkpoint is that behind two steps of the second epoch.
    (first, _, message), (second, _, _) = run_workers(tmp_path, kill_at=5)
    assert second.returncode == -signal.SIGKILL
    assert first.returncode == 1
    assert "RuntimeError: A worker was lost in epoch 2 of 2. Start all workers again, as before" in message
    assert f"goes on from the last checkpoint in {tmp_path}" in message

    for process, shown, message in run_workers(tmp_path, kill_at=0):
        assert process.returncode == 0, message
        assert "1/6" not in shown and "2/6" not in shown
    for index in range(2):
        assert_written_weights(tmp_path / f"weights_{index}.npz", unbroken)


def test_two_devices_of_one_worker_end_where_one_ends(unbroken, tmp_path):
    environment = {**os.environ, "PYTHONPATH": ROOT}
    command = [sys.executable, worker.__file__, str(tmp_path), "0"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert_written_weights(tmp_path / "weights_0.npz", unbroken)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    training.fit_distributed(worker.model(), worker.data, 1, checkpoint_folder=tmp_path)
    other = keras.Sequential([keras.Input((12, 12, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    other.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`checkpoint_folder` must be empty, or.*ckpt-1, which differs in"):
        training.fit_distributed(other, worker.data, 1, checkpoint_folder=tmp_path)


def test_models_that_cannot_be_trained_so_are_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="`model` must be compiled, and built. Received: model="):
        training.fit_distributed(model, worker.data)
    model.compile(keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD()), "mse")
    with pytest.raises(ValueError, match="`model` must be trained without a loss scale.*LossScaleOptimizer"):
        training.fit_distributed(model, worker.data)


@pytest.mark.parametrize("arguments", [{"epochs": 0}, {"save_every": 0}, {"verbose": 2}])
def test_arguments_are_checked(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        training.fit_distributed(worker.model(), worker.data, **arguments)


def test_a_worker_that_does_not_come_up_is_named_to_all_others(monkeypatch):
    workers = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    # The second worker is a thread here: it needs no TensorFlow of its own to be told.
    with concurrent.futures.ThreadPoolExecutor() as threads:
        told = threads.submit(_join, workers, 1, time.monotonic() + 300)
        with pytest.raises(TimeoutError, match=f"1 did not come up within 2 s: .'{workers[2]}'"):
            training.multi_worker_strategy(2)
        assert told.result() == [workers[2]]


def test_a_first_worker_that_does_not_come_up_is_named(monkeypatch):
    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    monkeypatch.setenv(
        "TF_CONFIG", json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": 1}})
    )
    with pytest.raises(TimeoutError, match=f"1 did not come up within 0.2 s: .'{workers[0]}'"):
        training.multi_worker_strategy(0.2)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_without_other_workers_the_strategy_is_the_default(monkeypatch):
    alone = '{"cluster": {"worker": ["127.0.0.1:2222"]}, "task": {"type": "worker", "index": 0}}'
    for text in ("", alone):
        monkeypatch.setenv("TF_CONFIG", text)
        assert training.multi_worker_strategy() is tf.distribute.get_strategy()


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": {"worker": "127.0.0.1:2222"}}'])
def test_a_tf_config_that_cannot_be_read_is_an_error(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="`TF_CONFIG` must be JSON such as.*Received: TF_CONFIG="):
        training.multi_worker_strategy()
