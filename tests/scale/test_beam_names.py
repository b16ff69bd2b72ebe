"""PredictImages on unusual file names: not UTF-8, with the characters of patterns, with line breaks."""

import os

import numpy as np
import pytest
from PIL import Image

from tests.scale import folder
from tests.scale.test_beam import run
from tfpyramid.scale import _job, _paths


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return folder.save_model(tmp_path_factory.mktemp("models") / "float")


def named(folder_, *names):
    """Write an image of a different grey to each of these names, given as bytes; return the greys by path."""
    greys = {os.path.join(os.fsencode(folder_), name): 10 * k for k, name in enumerate(names, 1)}
    for path, grey in greys.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(folder.encoded(Image.fromarray(np.full((8, 9, 3), grey, np.uint8)), "PNG"))
    return greys


def greys_of(rows):
    return {row["file"]: round(255 * row["mean"][0]) for row in rows}


# Names and their text in a row: Python's `backslashreplace`, with backslashes doubled if they would be ambiguous.
BYTES = {
    b"caf\xe9.png": r"caf\xe9.png",
    rb"caf\xe9.png": r"caf\\xe9.png",
    b"a\\b\xff.png": r"a\\b\xff.png",
    b"a\\b.png": r"a\b.png",
    b"caf\xc3\xa9.png": "café.png",
    b"two\nlines\t.png": "two\nlines\t.png",
    b"x" * 251 + b".png": "x" * 251 + ".png",
}


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["parquet", "tfrecord"])
def test_a_file_of_any_name_is_a_row(file_format, model, tmp_path):
    greys = named(tmp_path / "images", *BYTES)
    (tmp_path / "images" / os.fsdecode(b"none\xe9.png")).write_bytes(b"text")
    arguments = {"pattern": tmp_path / "images" / "**", "model": model, "output": tmp_path / "out"}
    arguments.update(file_format=file_format, files_per_part=3)
    assert run(**arguments) == {"images": 7, "dead_letters": 1, "models_loaded": 1}
    # A part is written again from the list of files, whatever their names are.
    (tmp_path / "out" / "results" / f"part-00000-of-00003.{file_format}").unlink()
    assert run(**arguments)["images"] == 3 and run(**arguments) == {}
    found = {kind: list(folder.read_rows(tmp_path / "out", kind, file_format)) for kind in ("results", "dead_letters")}
    expected = {str(tmp_path / "images" / BYTES[os.path.basename(path)]): grey for path, grey in greys.items()}
    assert greys_of(found["results"]) == expected
    (letter,) = found["dead_letters"]
    assert (
        letter["file"] == str(tmp_path / "images" / r"none\xe9.png")
        and "must be PNG or JPEG, and complete" in letter["reason"]
    )


def test_a_reason_names_a_file_of_any_name(model, tmp_path, monkeypatch):
    ((gone, _),) = named(tmp_path / "images", b"gone\xe9.png").items()
    begin = _job.Job.begin
    monkeypatch.setattr(_job.Job, "begin", lambda *args: [begin(*args), os.unlink(gone)][0])
    run(tmp_path / "images" / "*", model, tmp_path / "out")
    (letter,) = folder.rows(tmp_path / "out", "dead_letters")
    assert letter["file"].endswith(r"gone\xe9.png") and "No such file" in letter["reason"]


@pytest.mark.parametrize(
    "pattern, found",
    [
        ("br[1].png", ["br[1].png"]),
        ("br[2].png", ["br2.png"]),
        ("a*b.png", ["a*b.png"]),
        ("a*c.png", ["axc.png"]),
        ("q?.png", ["q?.png"]),
        ("f[1]/*.png", ["f[1]/br[1].png", "f[1]/in.png"]),
        ("f[1]/br[1].png", ["f[1]/br[1].png"]),
        ("f[[]1]/br*.png", ["f[1]/br[1].png"]),
        ("f[12]/in.png", ["f1/in.png"]),
        (["br[1].png", "q*.png", "br1.png", "br*.png"], ["br1.png", "br2.png", "br[1].png", "q?.png", "qx.png"]),
    ],
)
def test_the_name_of_an_existing_file_is_not_a_pattern(pattern, found, tmp_path, monkeypatch):
    named(tmp_path, b"br[1].png", b"br1.png", b"br2.png", b"a*b.png", b"axb.png", b"axc.png", b"q?.png", b"qx.png")
    named(tmp_path, b"f[1]/in.png", b"f[1]/br[1].png", b"f1/in.png", b"f1/br1.png")
    monkeypatch.chdir(tmp_path)
    job = _job.Job(str(tmp_path / "out[1]"), "parquet")
    job.begin(_paths.patterns(pattern), 100, {})
    # A call that resumes reads the list.
    (part,) = job.begin(_paths.patterns(pattern), 100, {})
    assert job.files(part) == [str(tmp_path / name) for name in found]


def test_an_output_with_brackets_in_its_name_is_not_changed_either(model, tmp_path):
    named(tmp_path, b"one.png", b"out[1]/mine.png")
    with pytest.raises(FileExistsError, match="`output` must be an empty or a new folder"):
        run(tmp_path / "one.png", model, tmp_path / "out[1]")


def test_a_value_that_is_not_a_path_is_refused():
    with pytest.raises(ValueError, match="`file_pattern` must be a path or a pattern .* Received: file_pattern=3"):
        _paths.patterns(3)


def test_paths_on_other_file_systems_are_unchanged():
    assert _paths.patterns("gs://bucket/a//b*.png") == "gs://bucket/a//b*.png"
    assert _paths.patterns(["s3://bucket/a", b"/a/caf\xe9"]) == ["s3://bucket/a", "/a/caf\udce9"]
