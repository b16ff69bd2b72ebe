"""Locks and files that are whole or absent."""

import errno
import os
import stat
import subprocess
import sys
import threading

import pytest

from tfpyramid import _files

OURS = "a lock of these tests\n"


def test_one_lock_at_a_time(tmp_path):
    path = tmp_path / "lock"
    with _files.Lock(path, OURS) as lock:
        assert lock.held
        with pytest.raises(BlockingIOError):
            _files.Lock(path, OURS)
    with _files.Lock(path, OURS, create=False) as lock:
        assert lock.held
    assert path.read_text() == OURS


def test_a_lock_that_is_not_there_is_made_only_if_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError):
        _files.Lock(tmp_path / "lock", OURS, create=False)
    with pytest.raises(FileNotFoundError):
        _files.Lock(tmp_path / "missing" / "lock", OURS)
    assert not any(tmp_path.iterdir())


# A process without TensorFlow, whose threads a fork would not have. It prints whether its lock is free, before and
# after it is closed, while a child lives.
CHILDREN = """
import os, pathlib, runpy, subprocess, sys
Lock, path = runpy.run_path(sys.argv[1])["Lock"], pathlib.Path(sys.argv[2])

def is_free():
    try:
        Lock(path, "contents").close()
    except BlockingIOError:
        return False
    return True

lock = Lock(path, "contents")
stop, _ = os.pipe()
told, tell = os.pipe()
if sys.argv[3] == "program":
    subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
elif not os.fork():
    os.write(tell, b"forked")
    os.read(stop, 1)  # For ever.
else:
    os.read(told, 6)
before = is_free()
lock.close()
print(before, is_free(), flush=True)
os.killpg(0, 9)
"""


@pytest.mark.parametrize("child", ["program", "fork"])
def test_a_child_that_lives_longer_does_not_keep_the_lock(child, tmp_path):
    command = [sys.executable, "-c", CHILDREN, _files.__file__, str(tmp_path / "lock"), child]
    ended = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
    assert ended.stdout == "False True\n", ended.stderr


def test_an_empty_file_is_no_lock_unless_one_may_be_made_of_it(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    with pytest.raises(PermissionError, match="lock"):
        _files.Lock(path, OURS, create=False)
    assert path.read_bytes() == b""
    with _files.Lock(path, OURS):
        assert path.read_text() == OURS


def test_what_was_planted_is_neither_followed_nor_changed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    planted = [tmp_path / name for name in ("link", "hard link", "folder", "other contents", "dangling", "pipe")]
    planted[0].symlink_to(precious)
    os.link(precious, planted[1])
    planted[2].mkdir()
    planted[3].write_text("other contents")
    planted[4].symlink_to(tmp_path / "made by following")
    os.mkfifo(planted[5])
    for path in planted:
        with pytest.raises(PermissionError, match=path.name):
            _files.Lock(path, OURS)
    assert precious.read_text() == "precious" and planted[3].read_text() == "other contents"
    assert sorted(tmp_path.iterdir()) == sorted([precious, *planted])


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_lock_of_another_user_is_refused(tmp_path):
    path = tmp_path / "lock"
    path.write_text(OURS)
    os.chown(path, 12345, 12345)
    with pytest.raises(PermissionError):
        _files.Lock(path, OURS)


def test_a_lock_that_was_renamed_meanwhile_is_not_taken(tmp_path, monkeypatch):
    path, flock = tmp_path / "lock", _files._flock

    def renamed_before(file):
        monkeypatch.setattr(_files, "_flock", flock)
        path.rename(tmp_path / "published")
        return flock(file)

    monkeypatch.setattr(_files, "_flock", renamed_before)
    with _files.Lock(path, OURS):
        assert path.exists()
        with pytest.raises(BlockingIOError):
            _files.Lock(path, OURS)


def test_without_locks_nothing_is_held(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(_files.fcntl, "flock", no_locks)
    with _files.Lock(tmp_path / "lock", OURS) as lock:
        assert not lock.held


def test_a_file_has_the_old_bytes_or_the_new_ones(tmp_path, monkeypatch):
    path, linked = tmp_path / "file", tmp_path / "linked"
    _files.write_whole(path, b"old")
    linked.write_bytes(b"precious")
    (tmp_path / ".file.new").symlink_to(linked)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _files.write_whole(path, b"new")
    assert path.read_bytes() == b"old" and linked.read_bytes() == b"precious"
    _files.write_whole(path, b"new")
    assert path.read_bytes() == b"new" and sorted(os.listdir(tmp_path)) == ["file", "linked"]


def test_folders_are_written_on_file_systems_that_sync_none(tmp_path, monkeypatch):
    def fsync(file):
        raise OSError(errno.EINVAL if stat.S_ISDIR(os.fstat(file).st_mode) else errno.EIO, "failed")

    monkeypatch.setattr(os, "fsync", fsync)
    _files.sync(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="failed"):
        _files.sync(tmp_path / "file")


def test_many_threads_and_one_lock(tmp_path):
    holders, most = [], []

    def hold():
        for _ in range(200):
            try:
                with _files.Lock(tmp_path / "lock", OURS):
                    holders.append(None)
                    most.append(len(holders))
                    holders.pop()
            except BlockingIOError:
                pass

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}


def test_a_folder_of_one_process_is_removed_by_it_or_after_it_was_killed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "lock").write_text(OURS)
    (tmp_path / "new-link").symlink_to("elsewhere")
    (tmp_path / "new-file").write_text("mine")
    for name, lock in {"new-users": None, "new-others": "theirs\n", "new-killed": OURS, "new-cut": OURS[:-1]}.items():
        (tmp_path / name / "folder").mkdir(parents=True)
        (tmp_path / name / "folder" / "file").write_text("mine")
        if lock is not None:
            (tmp_path / name / "lock").write_text(lock)
    for name in ("new-abcdefgh", "new-unlocked"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "new-unlocked" / "lock").write_text("")
    (tmp_path / "new-mine").mkdir()
    with _files.own_folder(tmp_path, "new-", OURS) as alive:
        (alive / "file").write_text("some")
        _files.clear_folders(tmp_path, "new-", OURS)
        stay = ["elsewhere", alive.name, "new-cut", "new-file", "new-link", "new-mine", "new-others", "new-users"]
        assert sorted(os.listdir(tmp_path)) == sorted(stay)
        assert sorted(os.listdir(alive)) == ["file", "lock"] and os.listdir(tmp_path / "elsewhere") == ["lock"]
    assert not alive.exists()


def test_a_new_folder_that_another_process_removes_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    made, mkdtemp = [], _files.tempfile.mkdtemp

    def cleared(**kwargs):
        made.append(mkdtemp(**kwargs))
        if len(made) == 1:
            _files.clear_folders(tmp_path, "new-", OURS)
        return made[-1]

    monkeypatch.setattr(_files.tempfile, "mkdtemp", cleared)
    with _files.own_folder(tmp_path, "new-", OURS) as folder:
        assert os.listdir(tmp_path) == [folder.name] and len(made) == 2


def test_a_folder_of_one_process_stays_as_long_as_it_cannot_be_finished(tmp_path):
    def refuse(folder):
        assert (folder / "lock").exists()
        raise OSError("full")

    with pytest.raises(OSError, match="full"), _files.own_folder(tmp_path, "new-", OURS, refuse) as folder:
        (folder / "file").write_text("some")
    with pytest.raises(OSError, match="full"):
        _files.clear_folders(tmp_path, "new-", OURS, refuse)
    _files.clear_folders(tmp_path, "new-", OURS, lambda folder: False)
    assert sorted(os.listdir(folder)) == ["file", "lock"]
    _files.clear_folders(tmp_path, "new-", OURS, lambda folder: True)
    assert os.listdir(tmp_path) == []
