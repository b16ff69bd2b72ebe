"""Exports that fail or are interrupted at any step: what they leave, and what they must not change."""

import itertools
import os
import shutil
from pathlib import Path

import pytest

from tfpyramid.export import _staging

# One call of these functions fails; they are all that change names or wait for the disk.
STEPS = [(os, "rename"), (os, "fsync"), (os, "mkdir"), (os, "rmdir"), (os, "unlink"), (shutil, "rmtree")]


def write(folder, text):
    """Write a model of two files, so that half a model can be detected."""
    (folder / "variables").mkdir(parents=True)
    for name in ("saved_model.pb", "variables/variables.index"):
        (folder / name).write_text(text)


def read(folder):
    """Return the text of a model that `write` wrote, which must be complete; None if there is no folder."""
    if not folder.exists():
        return None
    files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert sorted(files) == ["saved_model.pb", "variables/variables.index"], files
    (text,) = set(files.values())
    return text


def replace(target, text="new"):
    with _staging.staging_folder(target) as folder:
        write(folder / _staging.WRITTEN, text)
        _staging.publish(folder, target, overwrite=True)


def put_next(versions):
    with _staging.staging_folder(versions / "next", is_next=True) as folder:
        write(folder / _staging.WRITTEN, "new")
        return _staging.publish_next(folder, versions)


class Failing:
    """Raises an error in call number `fails` of all `STEPS`, before or after the call has had its effect."""

    def __init__(self, patch, fails, error, after, again=0):
        self.calls, self.numbers, self.error, self.after = 0, range(fails, fails + 1 + again), error, after
        for module, name in STEPS:
            patch.setattr(module, name, self.wrapped(getattr(module, name)))

    def wrapped(self, function):
        def call(*args, **kwargs):
            self.calls += 1
            fails = self.calls in self.numbers
            if fails and not self.after:
                raise self.error
            result = function(*args, **kwargs)
            if fails:
                raise self.error
            return result

        return call


def failures(monkeypatch, error, action, folder, after=False, again=0):
    """Yield a new folder and the error of `action` on it, once for each step that fails."""
    for fails in itertools.count(1):
        raised, place = None, folder / str(fails)
        write(place / "model", "old")
        with monkeypatch.context() as patch:
            failing = Failing(patch, fails, error, after, again)
            try:
                action(place)
            except (OSError, KeyboardInterrupt) as caught:
                raised = caught
        if failing.calls < fails:
            assert fails > 8 and raised is None
            return
        yield place, raised


ERRORS = [OSError(28, "No space left on device"), KeyboardInterrupt("interrupted")]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", ERRORS, ids=["OSError", "KeyboardInterrupt"])
def test_the_old_or_the_new_model_is_complete_whatever_fails(error, after, monkeypatch, tmp_path):
    seen = set()
    for folder, raised in failures(monkeypatch, error, lambda folder: replace(folder / "model"), tmp_path, after):
        text = read(folder / "model")
        assert text in ("old", "new"), folder
        seen.add((text, raised is None))
        replace(folder / "model", "newest")
        assert read(folder / "model") == "newest" and os.listdir(folder) == ["model"], folder
    assert ("old", False) in seen and ("old", True) not in seen


@pytest.mark.parametrize("error", ERRORS, ids=["OSError", "KeyboardInterrupt"])
def test_the_next_export_moves_back_an_old_model_that_could_not_be_moved_back(error, monkeypatch, tmp_path):
    named = 0
    for folder, raised in failures(monkeypatch, error, lambda folder: replace(folder / "model"), tmp_path, again=1):
        target = folder / "model"
        if read(target) is None:
            named += 1
            assert isinstance(raised, type(error))
            (place,) = folder.glob(".model.exporting-*/replaced")
            assert str(place) in str(raised) and read(place) == "old"
            with pytest.raises(ZeroDivisionError), _staging.staging_folder(target):
                assert read(target) == "old"
                1 / 0
        assert read(target) in ("old", "new")
        replace(target)
        assert read(target) == "new" and os.listdir(folder) == ["model"]
    assert named


@pytest.mark.parametrize("error", ERRORS, ids=["OSError", "KeyboardInterrupt"])
def test_the_next_version_is_complete_or_absent_whatever_fails(error, monkeypatch, tmp_path):
    for folder, _ in failures(monkeypatch, error, lambda folder: put_next(folder / "model"), tmp_path):
        versions = folder / "model"
        assert read(versions / "1") in (None, "new")
        put_next(versions)
        left = set(os.listdir(versions)) - {"variables", "saved_model.pb"}
        assert left in ({"1"}, {"1", "2"}) and {read(versions / name) for name in left} == {"new"}


def test_the_model_of_another_program_at_the_target_and_the_old_model_are_both_kept(tmp_path):
    target = tmp_path / "model"
    write(target, "old")
    with pytest.raises(OSError, match="the old model of .*/model' is now at .*/replaced'"):
        with _staging.staging_folder(target) as folder:
            write(folder / _staging.WRITTEN, "new")
            os.rename(target, folder / _staging.REPLACED)
            write(target, "of another program")
            _staging.publish(folder, target, overwrite=False)
    replace(target, "newest")
    assert read(target) == "newest" and read(folder / _staging.REPLACED) == "old"
    shutil.rmtree(target)
    with pytest.raises(ZeroDivisionError), _staging.staging_folder(target):
        1 / 0
    assert read(target) == "old" and os.listdir(tmp_path) == ["model"]


def test_half_of_an_old_model_is_never_moved_back(monkeypatch, tmp_path):
    target = tmp_path / "model"
    write(target, "old")
    remove = shutil.rmtree

    def half(path, **kwargs):
        (Path(path) / "saved_model.pb").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", half)
    with pytest.raises(KeyboardInterrupt):
        replace(target)
    monkeypatch.setattr(shutil, "rmtree", remove)
    remove(target)
    with pytest.raises(ZeroDivisionError), _staging.staging_folder(target):
        assert not target.exists()
        1 / 0
    assert os.listdir(tmp_path) == []


def tree(folder):
    """Return the names in a folder with their contents or the targets of links."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else path.stat().st_mode
    return found


def plant(target, precious):
    """Make folders next to `target` with the names of staging folders, as an attacker or an accident could."""
    lock = _staging._contents(target)

    def folder(name, lock=None):
        path = target.parent / f".{target.name}.exporting-{name}"
        write(path / "replaced", "planted")
        if lock is not None:
            (path / "lock").write_text(lock)
        return path

    folder("of the user")
    folder("empty lock", "")
    folder("other lock", "locked")
    folder("lock of another target", _staging._contents(target.with_name("other")))
    (folder("link for a lock") / "lock").symlink_to(precious / "diary")
    (folder("dangling link for a lock") / "lock").symlink_to(precious / "made by following")
    (folder("folder for a lock") / "lock").mkdir()
    os.mkfifo(folder("pipe for a lock") / "lock")
    (precious / "lock").write_text(lock)
    os.link(precious / "lock", folder("hard link to a lock") / "lock")
    write(precious / "replaced", "planted")
    shutil.copytree(precious, precious / "whole")
    (target.parent / f".{target.name}.exporting-link").symlink_to(precious / "whole")
    (target.parent / f".{target.name}.exporting-file").write_text(lock)
    (target.parent / f".{target.name}.exporting-empty").mkdir()
    if os.geteuid() == 0:
        for path in ("of another user", "lock of another user"):
            os.chown(folder(path, lock) / ("lock" if path.startswith("lock") else ""), 12345, 12345)


@pytest.mark.parametrize("overwrite", [False, True])
def test_planted_files_are_neither_followed_nor_changed_nor_served(overwrite, tmp_path):
    precious, target = tmp_path / "precious", tmp_path / "served" / "1"
    precious.mkdir()
    target.parent.mkdir()
    (precious / "diary").write_text("dear diary")
    plant(target, precious)
    if overwrite:
        write(target, "old")
    before = tree(tmp_path)
    replace(target)
    assert read(target) == "new"
    shutil.rmtree(target)
    after = tree(tmp_path)
    assert after == {name: content for name, content in before.items() if not name.startswith("served/1")}
    # The recovery of versions reads all names.
    assert put_next(target.parent) == target
    shutil.rmtree(target)
    assert tree(tmp_path) == after


@pytest.mark.parametrize("kind", ["link", "folder", "file"])
def test_a_planted_lock_of_the_path_is_named(kind, tmp_path):
    planted, precious, target = tmp_path / ".model.exporting", tmp_path / "precious", tmp_path / "model"
    precious.write_text("precious")
    {
        "link": lambda: planted.symlink_to(precious),
        "folder": planted.mkdir,
        "file": lambda: planted.write_text("mine"),
    }[kind]()
    write(target, "old")
    before = tree(tmp_path)
    with pytest.raises(PermissionError, match=r"\.model\.exporting must be a lock that tfpyramid made for this user"):
        replace(target)
    assert tree(tmp_path) == before


def test_the_staging_folder_of_another_target_is_kept(tmp_path):
    # Its name begins with that of "a".
    other = tmp_path / "a.exporting-b"
    write(other, "the other")
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        Failing(patch, 3, KeyboardInterrupt(), False, again=100)
        replace(other)
    left = set(os.listdir(tmp_path))
    replace(tmp_path / "a")
    assert set(os.listdir(tmp_path)) == {"a", *left} and read(tmp_path / "a") == "new"
    replace(other)
    assert set(os.listdir(tmp_path)) == {"a", "a.exporting-b"}


def test_on_a_disk_without_locks_nothing_is_removed(monkeypatch, tmp_path):
    def no_locks(*args):
        raise OSError(37, "No locks available")

    left = tmp_path / ".model.exporting-abcdefgh"
    write(left / "written", "half")
    (left / "lock").write_text(_staging._contents(tmp_path / "model"))
    monkeypatch.setattr(_staging._files.fcntl, "flock", no_locks)
    replace(tmp_path / "model")
    assert read(tmp_path / "model") == "new" and set(os.listdir(tmp_path)) == {"model", left.name}


def test_a_model_is_on_the_disk_before_it_gets_its_name(monkeypatch, tmp_path):
    done = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda file: (done.append(os.readlink(f"/proc/self/fd/{file}")), fsync(file))[1])
    monkeypatch.setattr(os, "rename", lambda old, new: (done.append("rename"), rename(old, new))[1])
    replace(tmp_path / "model")
    at = done.index("rename")
    assert {Path(path).name for path in done[:at]} >= {"written", "saved_model.pb", "variables", "variables.index"}
    assert done[at + 1] == str(tmp_path)
