"""How checkpoints are written: interrupted at every step, by two trainings, and by workers that share a folder."""

import contextlib
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import pytest
import tensorflow as tf

from tests.training.checkpointed import assert_whole, contents, saved, train, variables
from tfpyramid.training import _checkpoints


class Killed(BaseException):
    """Stands for a signal that nothing handles."""


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
