"""PredictImages after kills, full disks and changes by others: no partial file counts, and no image is lost."""

import json
import os
import shutil
import socket

import pytest

from tests.scale import folder
from tests.scale.test_beam import JOB, run
from tfpyramid.scale import _job, _paths, _storage

KINDS = ("results", "dead_letters")


@pytest.fixture(scope="module", params=["parquet", "tfrecord"])
def finished(request, tmp_path_factory):
    """A finished job of three parts with a dead letter each, and the arguments of its call."""
    path = tmp_path_factory.mktemp("finished")
    images = path / "images"
    good = folder.fill(images, 10)
    for name in ("truncated.jpg", *folder.UNUSUAL):
        (images / name).unlink()
        good.pop(str(images / name), None)
    arguments = {"model": folder.save_model(path / "model"), "files_per_part": 2, "file_format": request.param}
    run(images / "*", output=path / "out", **arguments)
    return {"pattern": images / "*", **arguments}, good, path / "out"


@pytest.fixture
def job(finished, tmp_path):
    """A copy of the finished job that a test may damage."""
    arguments, good, output = finished
    shutil.copytree(output, tmp_path / "out")
    return {**arguments, "output": tmp_path / "out"}, good, tmp_path / "out"


def check(good, output, file_format):
    """Compare a finished job with results of Pillow and NumPy, and check the names of its files."""
    folder.check_rows(list(folder.read_rows(output, "results", file_format)), good)
    letters = [os.path.basename(row["file"]) for row in folder.read_rows(output, "dead_letters", file_format)]
    assert sorted(letters) == ["claims.png", "text.png", "zero.png"]
    assert sorted(os.listdir(output)) == ["_SUCCESS", "_job", "dead_letters", "results"]
    assert sorted(os.listdir(output / "_job")) == JOB
    for kind in KINDS:
        assert sorted(os.listdir(output / kind)) == [f"part-0000{k}-of-00003.{file_format}" for k in range(3)]


def arguments_of(output):
    """Return the arguments with which `begin` was called."""
    arguments = json.loads((output / "_job" / "arguments.json").read_text())
    arguments.pop("files")
    return arguments.pop("file_pattern"), arguments.pop("files_per_part"), arguments


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "a flipped bit": flip,
    "of another part": lambda path: shutil.copy(path.with_name(path.name.replace("00001-", "00002-")), path),
    "a FIFO": lambda path: [path.unlink(), os.mkfifo(path)],
    "a link to nowhere": lambda path: [path.unlink(), path.symlink_to("nowhere")],
}


def test_a_part_is_finished_if_its_files_match_their_checksums(job):
    arguments, _, output = job
    started = _job.Job(str(output), arguments["file_format"])
    part = _job.Part(1, 3, 0, 0, 0)
    assert started.is_finished(part)
    files = [output / kind / f"part-00001-of-00003.{started.file_format}" for kind in KINDS]
    for path in [*files, output / "_job" / "part-00001-of-00003.json"]:
        whole = path.read_bytes()
        for name, damage in DAMAGES.items():
            damage(path)
            assert not started.is_finished(part), (path, name)
            path.unlink(missing_ok=True)
            path.write_bytes(whole)
            assert started.is_finished(part)
    path.write_bytes(b"[" * 100_000)  # Too deep for Python's reader.
    assert not started.is_finished(part)


@pytest.mark.slow
def test_a_damaged_part_is_written_again(job):
    arguments, good, output = job
    DAMAGES["cut short"](output / "results" / f"part-00000-of-00003.{arguments['file_format']}")
    DAMAGES["missing"](output / "dead_letters" / f"part-00001-of-00003.{arguments['file_format']}")
    DAMAGES["a FIFO"](output / "_job" / "part-00002-of-00003.json")
    assert run(**arguments) == {"images": 3, "dead_letters": 3, "models_loaded": 1}
    check(good, output, arguments["file_format"])
    assert run(**arguments) == {}


def test_while_a_part_is_written_again_the_job_is_not_marked_as_finished(job, monkeypatch):
    arguments, good, output = job
    (output / "results" / f"part-00001-of-00003.{arguments['file_format']}").unlink()
    put, seen = _storage.LocalStorage.publish, []
    with monkeypatch.context() as patch:
        patch.setattr(
            _storage.LocalStorage, "publish", lambda *args: [seen.append((output / "_SUCCESS").exists()), put(*args)]
        )
        run(**arguments)
    assert seen == [False] * 4  # Two files of the part, its checksums, and the mark.
    check(good, output, arguments["file_format"])


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[]", b"[1]", b"null", b"[" * 100_000, b'{"model": 1'])
def test_damaged_arguments_are_an_error_that_says_what_to_remove(job, text):
    _, _, output = job
    arguments = arguments_of(output)
    (output / "_job" / "arguments.json").write_bytes(text)
    before = sorted(output.rglob("*"))
    message = "_job/arguments.json in it is damaged: .*Remove the folder .* Received: output='"
    with pytest.raises(ValueError, match=message):
        _job.Job(str(output), "parquet").begin(*arguments)
    assert sorted(output.rglob("*")) == before


def test_a_damaged_list_of_files_is_rebuilt_if_the_same_files_match(job):
    arguments, good, output = job
    files = output / "_job" / "files.jsonl"
    whole = files.read_bytes()
    arguments_of_job = arguments_of(output)
    for damage in ("missing", "empty", "half", "a flipped bit", "a FIFO"):
        DAMAGES[damage](files)
        parts = _job.Job(str(output), arguments["file_format"]).begin(*arguments_of_job)
        assert files.read_bytes() == whole and len(parts) == 3
    assert run(**arguments) == {}
    DAMAGES["half"](files)
    late = arguments["pattern"].parent / "late.png"
    late.write_bytes(b"")
    try:
        message = (
            "`output` cannot be resumed, because _job/files.jsonl in it is damaged: .* Remove the folder to start again"
        )
        with pytest.raises(ValueError, match=message):
            run(**arguments)
    finally:
        late.unlink()


def test_a_list_of_files_that_changes_while_a_pipeline_runs_is_an_error(job):
    _, _, output = job
    started = _job.Job(str(output), "parquet")
    part = _job.Part(1, 3, 10, 60, 12345)
    with pytest.raises(
        ValueError, match="_job/files.jsonl in it is damaged: it changed while the pipeline was running"
    ):
        started.files(part)


def test_links_are_not_followed(job):
    arguments, _, output = job
    # They belong to this user, but not to this job.
    elsewhere = output.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "aside-mine").mkdir()
    (elsewhere / "aside-mine" / "letter").write_text("mine")
    for name in ("_job", *KINDS):
        linked = shutil.copytree(output, output.with_name(f"linked-{name}"))
        shutil.rmtree(linked / name)
        (linked / name).symlink_to(elsewhere)
        with pytest.raises(FileExistsError, match=f"`output` must be .*, which contains '{name}'"):
            run(**{**arguments, "output": linked})
    assert sorted(elsewhere.rglob("*")) == [elsewhere / "aside-mine", elsewhere / "aside-mine" / "letter"]


def test_names_of_other_things_than_files_are_dead_letters(job, tmp_path, monkeypatch):
    arguments, _, _ = job
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(arguments["pattern"].parent / "0000.png", images)
    os.mkfifo(images / "fifo.png")
    (images / "link.png").symlink_to("fifo.png")
    (images / "zero.png").symlink_to("/dev/zero")
    (images / "gone.png").symlink_to("nothing")
    (images / "folder.png").mkdir()
    monkeypatch.chdir(images)  # Names of sockets are short.
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        run([images / "*", images / "folder.png"], arguments["model"], tmp_path / "new")
    letters = {os.path.basename(each["file"]): each["reason"] for each in folder.rows(tmp_path / "new", "dead_letters")}
    assert "No such file" in letters.pop("gone.png")
    rule = "A file must be a regular file. Received: "
    kinds = {"fifo": "a FIFO", "link": "a FIFO", "zero": "a device", "folder": "a folder", "socket": "a socket"}
    assert letters == {f"{name}.png": rule + kind for name, kind in kinds.items()}
    assert [os.path.basename(each["file"]) for each in folder.rows(tmp_path / "new")] == ["0000.png"]


def test_a_pattern_that_is_a_folder_is_refused(job, tmp_path):
    arguments, _, _ = job
    folder_ = arguments["pattern"].parent
    with pytest.raises(
        ValueError, match=r"`file_pattern` must match at least one file. Use .* Received: .*images', a folder"
    ):
        run(folder_, arguments["model"], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_reading_a_small_file_allocates_little_memory_whatever_the_limit_is(tmp_path):
    (tmp_path / "small").write_bytes(b"12345")
    assert _paths.contents(str(tmp_path / "small"), 2**50) == b"12345"
    assert _paths.contents(str(tmp_path / "small"), 5) == b"12345"
    with pytest.raises(ValueError, match="A file must have at most 4 bytes. Received: a larger file"):
        _paths.contents(str(tmp_path / "small"), 4)


def test_a_folder_that_cannot_be_listed_is_skipped_with_a_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "closed").mkdir()
    (tmp_path / "one.png").write_bytes(b"")
    scandir = os.scandir

    def closed(path):
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert _paths.match(str(tmp_path / "**.png")) == [str(tmp_path / "one.png")]
    message = "A folder cannot be listed, so its files are skipped: [Errno 13] Permission denied"
    assert f"{message}: '{tmp_path}/closed'" in caplog.text
    assert _paths.match(str(tmp_path / "missing" / "*.png")) == [] and caplog.text.count("cannot be listed") == 1
