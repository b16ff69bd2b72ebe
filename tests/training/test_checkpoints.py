"""Which checkpoint a training resumes from after damage, loss or interruption."""

import os
import re
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from tests.training import checkpointed
from tests.training.checkpointed import (
    EPOCHS,
    assert_same,
    assert_whole,
    batches,
    contents,
    files_of,
    make_model,
    train,
)
from tfpyramid import training
from tfpyramid._compat import raw

LAST, BEFORE = "ckpt-5", "ckpt-4"  # Of a training of two epochs of three steps that is interrupted in its last step.


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
@pytest.mark.slow
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
    assert told[0].filename == checkpointed.__file__  # The caller of `fit_distributed`.
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


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path):
    with pytest.raises(ValueError, match=re.escape("`data` must yield batches of inputs of shape (None, 3)")):
        train(tmp_path / "new", lambda epoch: batches().map(lambda x, y: (x[:, :2], y)))
    assert not any(tmp_path.iterdir())
