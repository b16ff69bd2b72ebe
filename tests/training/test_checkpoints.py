"""Which checkpoint a training resumes from, whatever was damaged, lost or interrupted."""

import contextlib
import os
import re
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import training
from tfpyramid._compat import keras, raw
from tfpyramid.training import _checkpoints

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal([6, 3]).astype(np.float32), RNG.standard_normal([6, 1]).astype(np.float32)
EPOCHS = 2
LAST, BEFORE = "ckpt-5", "ckpt-4"  # Of a training of two epochs of three steps that is interrupted in its last step.


def make_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.set_weights([np.ones([3, 1]), np.zeros(1)])
    return model


def batches(stop=None):
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(2).take(3 if stop is None else stop)


def train(folder, data=None):
    model = make_model()
    training.fit_distributed(model, data or batches(), EPOCHS, checkpoint_folder=folder, save_every=1)
    return model.get_weights()


@pytest.fixture(scope="module")
def expected():
    """The weights of an unbroken training, by Keras."""
    model = make_model()
    model.fit(batches(), epochs=EPOCHS, verbose=0, shuffle=False)
    return model.get_weights()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    def stops_in_the_last_step(epoch):
        if epoch == 0:
            return batches()
        rest = batches().skip(1).map(lambda x, y: (tf.debugging.check_numerics(x / 0, "stop"), y))
        return batches(1).concatenate(rest)

    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(tf.errors.InvalidArgumentError):
        train(folder, stops_in_the_last_step)
    assert sorted(os.listdir(folder)) == sorted(files_of(BEFORE, LAST))
    return folder


def files_of(*names):
    return ["checkpoint", *(f"{name}.{kind}" for name in names for kind in ("index", "data-00000-of-00001"))]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def assert_same(weights, expected):
    for actual, wanted in zip(weights, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, atol=1e-6)


def assert_whole(folder, *names):
    """Assert that a folder holds these checkpoints and nothing else, and that TensorFlow can read them."""
    assert sorted(os.listdir(folder)) == sorted(files_of(*names))
    for name in names:
        reader = tf.train.load_checkpoint(str(folder / name))
        assert [reader.get_tensor(key) for key in reader.get_variable_to_shape_map()]
    assert tf.train.latest_checkpoint(str(folder)) == str(folder / names[-1])


def truncate(path):
    path.write_bytes(path.read_bytes()[:-30])


def flip(path):
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


DAMAGES = [truncate, flip, empty, Path.unlink, replace_by_pipe]
STATES = {
    "missing": None,
    "garbage": b"\xff\x00 garbage",
    "empty": b"",
    "another machine": b'model_checkpoint_path: "/gone/ckpt-5"\nall_model_checkpoint_paths: "/gone/ckpt-5"\n',
    "outside": b'model_checkpoint_path: "../other/ckpt-9"\n',
    "stale": b'model_checkpoint_path: "ckpt-1"\n',
}


@pytest.mark.parametrize("state", STATES)
def test_the_list_of_checkpoints_does_not_matter(state, interrupted, expected, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(interrupted, folder)
    (folder / "checkpoint").unlink()
    if STATES[state] is not None:
        (folder / "checkpoint").write_bytes(STATES[state])
    model = make_model()
    history = training.fit_distributed(model, batches(), EPOCHS, checkpoint_folder=folder, save_every=1)
    assert_same(model.get_weights(), expected)
    assert len(history["loss"]) == 1  # It resumed in the second epoch.
    assert_whole(folder, "ckpt-7", "ckpt-8")


@pytest.mark.parametrize("kind", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_it_resumes_from_the_newest_whole_checkpoint_and_names_others(damage, kind, interrupted, expected, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(interrupted, folder)
    damage(folder / f"{LAST}.{kind}")
    with pytest.warns(UserWarning, match=rf"resumes from .*{BEFORE}, .*damaged .*is written: {LAST} \(") as told:
        assert_same(train(folder), expected)
    assert told[0].filename == __file__
    assert_whole(folder, "ckpt-7", "ckpt-8")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_without_a_whole_checkpoint_is_refused_and_left_alone(damage, interrupted, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(interrupted, folder)
    damage(folder / f"{LAST}.index")
    damage(folder / f"{BEFORE}.data-00000-of-00001")
    before = contents(folder)
    with pytest.raises(
        ValueError, match=rf"`checkpoint_folder` must be empty, or.*no complete checkpoint: {LAST} .*; {BEFORE} "
    ):
        train(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("left", [["checkpoint"], ["checkpoint", "model-7.index", "model-7.data-00000-of-00001"]])
def test_a_folder_of_other_checkpoints_is_refused(left, tmp_path):
    for name in left:
        (tmp_path / name).write_bytes(b"something")
    with pytest.raises(ValueError, match="`checkpoint_folder` must be empty, or.*no complete checkpoint: checkpoint"):
        train(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(left)


def test_other_files_in_the_folder_do_not_matter(expected, tmp_path):
    others = ["weights.npz", "search.index", "ckpt.txt"]
    for name in others:
        (tmp_path / name).write_text("mine")
    assert_same(train(tmp_path), expected)
    assert sorted(os.listdir(tmp_path)) == sorted([*others, *files_of("ckpt-7", "ckpt-8")])


def test_the_whole_checkpoint_stays_until_another_is_written(interrupted, expected, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(interrupted, folder)
    flip(folder / f"{LAST}.data-00000-of-00001")
    before = contents(folder)

    def fails(epoch):
        raise KeyboardInterrupt

    for _ in range(3):
        with pytest.warns(UserWarning, match=LAST), pytest.raises(KeyboardInterrupt):
            train(folder, fails)
        after = contents(folder)
        assert {k: v for k, v in after.items() if k != "checkpoint"} == {
            k: v for k, v in before.items() if k != "checkpoint"
        }
    with pytest.warns(UserWarning):
        assert_same(train(folder), expected)


def test_checkpoints_of_tensorflows_own_manager_are_resumed_from(expected, tmp_path):
    model = make_model()
    model.fit(batches(), verbose=0, shuffle=False)
    dtypes = ("int64", "int64", "float64", "float64")
    place = [tf.Variable(value, dtype=dtype) for value, dtype in zip((1, 0, 0, 0), dtypes)]
    parts = {"weights": model.weights, "optimizer": model.optimizer.variables}
    state = tf.train.Checkpoint(**{name: [raw(v) for v in part] for name, part in parts.items()}, place=place)
    tf.train.CheckpointManager(state, str(tmp_path), max_to_keep=2).save()
    assert_same(train(tmp_path), expected)


class Killed(BaseException):
    """Stands for a signal that nothing handles."""


def variables(value):
    return {"weights": [tf.Variable([float(value)] * 5)]}


def saved(folder, *values):
    """Save each value; return the checkpoints, still open."""
    held = variables(0)
    checkpoints = _checkpoints.FirstWorkersCheckpoints(folder, held)
    checkpoints.open()
    for value in values:
        held["weights"][0].assign([float(value)] * 5)
        checkpoints.save()
    return checkpoints, held["weights"][0]


def steps_of_a_save(monkeypatch, folder, at):
    """Save 1, 2 and then 3, and raise at the step `at` of the last; return whether there was such a step."""
    checkpoints, weights = saved(folder, 1, 2)
    count = 0

    def stops(function):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == at:
                raise Killed
            return function(*arguments, **options)

        return call

    weights.assign([3.0] * 5)
    with monkeypatch.context() as patch:
        for owner, name in ((os, "replace"), (os, "fsync"), (Path, "unlink"), (tf.train.Checkpoint, "write")):
            patch.setattr(owner, name, stops(getattr(owner, name)))
        with contextlib.suppress(Killed):
            checkpoints.save()
    return checkpoints, count >= at


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "interrupted"])
def test_whatever_step_of_a_save_is_the_last_the_newest_value_is_whole(killed, monkeypatch, tmp_path):
    found = []
    for at in range(1, 100):
        folder = tmp_path / str(at)
        checkpoints, stopped = steps_of_a_save(monkeypatch, folder, at)
        if not stopped:
            checkpoints.close()
            break
        left = tmp_path / f"left by {at}"
        if killed:
            shutil.copytree(folder, left)
        checkpoints.close()
        folder = left if killed else folder
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Nothing counts as damaged.
            held = variables(0)
            checkpoints = _checkpoints.FirstWorkersCheckpoints(folder, held)
            number = checkpoints.open()
        checkpoints.restore(number)
        found.append(float(held["weights"][0][0]))
        held["weights"][0].assign([4.0] * 5)
        checkpoints.save()
        checkpoints.close()
        assert_whole(folder, f"ckpt-{number}", f"ckpt-{number + 1}")
    assert len(found) >= 10 and set(found) == {2.0, 3.0} and found == sorted(found)
    assert_whole(folder, "ckpt-2", "ckpt-3")


def test_a_second_training_in_the_folder_is_told(tmp_path):
    checkpoints, _ = saved(tmp_path, 1)
    before = contents(tmp_path)
    with pytest.raises(
        ValueError, match="`checkpoint_folder` must be used by one training.*another process is writing"
    ):
        train(tmp_path)
    assert contents(tmp_path) == before
    checkpoints.close()
    assert_whole(tmp_path, "ckpt-1")


def test_a_working_folder_of_someone_else_is_refused_and_left_alone(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    for plant in ("folder", "link", "file", "lock"):
        folder = tmp_path / plant
        folder.mkdir()
        working = folder / _checkpoints._WORKING
        if plant == "folder":
            shutil.copytree(precious, working)
        elif plant == "link":
            working.symlink_to(precious)
        elif plant == "file":
            working.write_text("mine")
        else:
            shutil.copytree(precious, working)
            (working / "lock").symlink_to(precious / "file")
        with pytest.raises(ValueError, match=f"`checkpoint_folder` must be a writable folder.*{working.name}"):
            train(folder)
        assert os.path.lexists(working) and (precious / "file").read_text() == "mine"
        if working.is_dir():
            assert (working / "file").read_text() == "mine"


def test_other_workers_leave_no_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    checkpoints = _checkpoints.Checkpoints(tmp_path / "shared", variables(1))
    assert checkpoints.open() == 0
    (working,) = (tmp_path / "temporary").iterdir()
    checkpoints.save()
    assert os.listdir(working) == ["lock"]
    # Another worker of this machine leaves alone what is in use, and what is not ours.
    kept = [tmp_path / "temporary" / f"tfpyramid-worker-{name}" for name in ("mine", "link", "theirs")]
    kept[0].mkdir()
    (kept[0] / "file").write_text("mine")
    kept[1].symlink_to(kept[0])
    shutil.copytree(kept[0], kept[2])
    (kept[2] / "lock").write_text("another lock\n")
    _checkpoints.Checkpoints(tmp_path / "shared", variables(1))
    assert sorted((tmp_path / "temporary").iterdir()) == sorted([working, *kept])
    checkpoints.close()
    assert sorted((tmp_path / "temporary").iterdir()) == sorted(kept)
    # The next call removes what a kill leaves.
    left = tmp_path / "temporary" / "tfpyramid-worker-killed"
    (left / "part").mkdir(parents=True)
    (left / "lock").write_text(_checkpoints._LOCK)
    (left / "ckpt.index").write_text("unfinished")
    _checkpoints.Checkpoints(tmp_path / "shared", variables(1))
    assert sorted((tmp_path / "temporary").iterdir()) == sorted(kept)
    assert (kept[0] / "file").read_text() == "mine"


def test_a_worker_that_cannot_read_the_checkpoint_says_so(tmp_path):
    saved(tmp_path / "first", 1)[0].close()
    other = _checkpoints.Checkpoints(tmp_path / "other", variables(0))
    with pytest.raises(ValueError, match="`checkpoint_folder` must be one folder that all workers share.*read ckpt-1"):
        other.restore(1)


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path):
    with pytest.raises(ValueError, match=re.escape("`data` must yield batches of inputs of shape (None, 3)")):
        train(tmp_path / "new", lambda epoch: batches().map(lambda x, y: (x[:, :2], y)))
    assert not any(tmp_path.iterdir())
