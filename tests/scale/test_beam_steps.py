"""Jobs of PredictImages that end at any step, on a disk and in an object store, without a runner of Beam."""

import contextlib
import json
import os
import tempfile
from pathlib import Path

import pytest

from tests.scale import objects
from tfpyramid.scale import _job, _storage

COUNT, EACH = 3, 2
CALLS = ("mkdir", "open", "write", "fsync", "replace", "unlink", "rmdir")


class Killed(BaseException):
    """The process was killed: its later calls have no effect."""


@contextlib.contextmanager
def killed_at(step, monkeypatch, error=Killed):
    """Raise `error` instead of change number `step`; if the process was killed, also instead of all later changes."""
    count, open_ = 0, os.open

    def counted(function):
        def change(*args, **kwargs):
            nonlocal count
            if function is open_ and not args[1] & os.O_CREAT:
                return function(*args, **kwargs)
            count += 1
            if count == step or (error is Killed and count > step):
                raise error() if error is Killed else error
            return function(*args, **kwargs)

        return change

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr(objects.Objects, "change", staticmethod(counted(objects.Objects.change)))
        yield lambda: count


class Disk:
    def __init__(self, path):
        self.output = str(path / "out")

    def files(self):
        root = Path(self.output)
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class Store:
    def __init__(self, path):
        objects.STORE.clear()
        self.output = "objects://bucket/out"

    def files(self):
        return {name.removeprefix(self.output + "/"): data for name, data in objects.STORE.items()}


@pytest.fixture(params=[Disk, Store])
def place(request, tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    (tmp_path / "tmp").mkdir()
    for k in range(COUNT):
        (tmp_path / "images" / f"{k}.png").write_bytes(b"")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(os, "fsync", lambda file: None)  # Thousands of calls take half a minute.

    def new(name):
        (tmp_path / name).mkdir()
        return request.param(tmp_path / name)

    new.pattern, new.temporary = str(tmp_path / "images" / "*"), tmp_path / "tmp"
    return new


def complete(output, pattern):
    """Do the work of a pipeline, part by part; the output for a file is its name."""
    job = _job.Job(output, "txt")
    parts = job.begin(pattern, EACH, {"model": "none"})
    job.clear()
    for part in parts:
        if not job.is_finished(part):
            names = [os.path.basename(name) for name in job.files(part)]
            with job.written(part) as paths:
                for kind, path in paths.items():
                    with open(path, "w") as file:
                        file.write(f"{kind}: {names}")
    job.finish()


EXPECTED = {
    f"{kind}/part-0000{k}-of-00002.txt": f"{kind}: {[f'{n}.png' for n in range(EACH * k, min(COUNT, EACH * (k + 1)))]}"
    for k in range(2)
    for kind in ("results", "dead_letters")
}
SUMS = {f"_job/part-0000{k}-of-00002.json" for k in range(2)}
WHOLE = {*EXPECTED, *SUMS, "_SUCCESS", "_job/arguments.json", "_job/files.jsonl"}


def check_nothing_is_half(files):
    for name, text in EXPECTED.items():
        assert files.get(name) in (None, text.encode()), name
        if f"_job/{Path(name).stem}.json" in files or "_SUCCESS" in files:
            assert name in files
    if "_job/arguments.json" in files:
        assert "file_pattern" in json.loads(files["_job/arguments.json"])
        assert len([json.loads(line) for line in files["_job/files.jsonl"].splitlines()]) == COUNT


def check_all(place, new):
    files = place.files()
    assert set(files) == WHOLE
    assert {name: files[name].decode() for name in EXPECTED} == EXPECTED
    assert os.listdir(new.temporary) == []


def test_the_next_call_completes_a_job_that_was_killed_at_any_step(place, monkeypatch):
    first = place("first")
    with killed_at(0, monkeypatch, None) as steps:
        complete(first.output, place.pattern)
    check_all(first, place)
    assert steps() > 30
    for step in range(1, steps() + 1):
        each = place(f"killed-{step}")
        with killed_at(step, monkeypatch), pytest.raises(Killed):
            complete(each.output, place.pattern)
        check_nothing_is_half(each.files())
        complete(each.output, place.pattern)
        check_all(each, place)


def test_the_next_call_completes_a_job_after_an_error_at_any_step(place, monkeypatch):
    with killed_at(0, monkeypatch, None) as steps:
        complete(place("first").output, place.pattern)
    for step in range(1, steps() + 1):
        each = place(f"full-{step}")
        with killed_at(step, monkeypatch, OSError(28, "No space left on device")):
            try:
                complete(each.output, place.pattern)
            except (ValueError, OSError) as error:
                assert each.output in str(error) or place.temporary.name in str(error)
        check_nothing_is_half(each.files())
        complete(each.output, place.pattern)
        check_all(each, place)


def test_the_first_of_two_processes_that_finishes_a_part_keeps_it(place):
    each = place("both")
    jobs = [_job.Job(each.output, "txt") for _ in range(2)]
    (parts, others) = [job.begin(place.pattern, EACH, {}) for job in jobs]
    assert parts == others

    def write(paths, text):
        for path in paths.values():
            with open(path, "w") as file:
                file.write(text)

    with jobs[0].written(parts[0]) as slow:
        with jobs[1].written(parts[0]) as fast:
            write(fast, "fast")
        write(slow, "slow")
    assert {each.files()[f"{kind}/part-00000-of-00002.txt"] for kind in ("results", "dead_letters")} == {b"fast"}
    assert jobs[0].is_finished(parts[0])


@pytest.mark.parametrize("place", [Store], indirect=True)
def test_a_job_that_another_process_finishes_in_the_meantime_is_not_an_error(place, monkeypatch):
    each, rename = place("cleared"), objects.Objects.rename

    def late(self, sources, targets):
        if "/results/" in targets[0]:
            monkeypatch.undo()
            monkeypatch.setattr(tempfile, "tempdir", str(place.temporary))
            complete(each.output, place.pattern)
        rename(self, sources, targets)

    monkeypatch.setattr(objects.Objects, "rename", late)
    complete(each.output, place.pattern)
    check_all(each, place)


def test_a_part_that_another_process_holds_for_too_long_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(_storage, "_LOCK_TIMEOUT", 0.1)
    place = _storage.LocalStorage(str(tmp_path / "out"))
    with place.exclusive("part"):
        with pytest.raises(BlockingIOError, match="another process is writing there, and has held .*part.lock for 0.1"):
            with place.exclusive("part"):
                pass
    with place.exclusive("part"):
        pass
    assert os.listdir(tmp_path / "out" / "_job") == []


def test_only_locks_of_killed_processes_are_removed(tmp_path):
    place = _storage.LocalStorage(str(tmp_path / "out"))
    job = tmp_path / "out" / "_job"
    job.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("")
    for name, text in {"killed": _storage._CONTENTS, "half": "", "others": "mine"}.items():
        (job / f"{name}.lock").write_text(text)
    (job / "link.lock").symlink_to(precious)
    with place.exclusive("alive"):
        place.clear(finished=True)
        assert sorted(os.listdir(job)) == ["alive.lock", "link.lock", "others.lock"]
    assert (job / "others.lock").read_text() == "mine" and precious.read_text() == ""


def test_a_full_temporary_folder_is_named_instead_of_the_output(place, monkeypatch, tmp_path):
    each = place("full")
    job = _job.Job(each.output, "txt")
    (part, _) = job.begin(place.pattern, EACH, {})
    where = str(
        tmp_path / "tmp" if isinstance(job._storage, _storage.RemoteStorage) else tmp_path / "full" / "out" / "_job"
    )
    with pytest.raises(
        OSError, match=f"No space left on device, in {where}/.*aside-.* kept in {each.output}. Remove the cause"
    ):
        with job.written(part):
            raise OSError(28, "No space left on device")

    def fail(**_):
        raise OSError(28, "No space left")

    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    with pytest.raises(OSError, match="No space left, in the folder for temporary files"):
        with job.written(part):
            pass
