"""PredictImages, killed at random moments, and two pipelines that write to one folder."""

import os
import shutil
import tempfile

import apache_beam
import pyarrow.parquet
import pytest

from tests.scale import folder
from tests.writers import processes
from tfpyramid.scale.beam import PredictImages

KILLS, ROUNDS = 30, 20
COUNT, EACH = 12, 3
PARTS = [f"part-0000{k}-of-0000{COUNT // EACH}" for k in range(COUNT // EACH)]
KINDS = ("results", "dead_letters")
OUTPUT = sorted(
    [
        "_SUCCESS",
        "_job/arguments.json",
        "_job/files.jsonl",
        *(f"_job/{part}.json" for part in PARTS),
        *(f"{kind}/{part}.parquet" for kind in KINDS for part in PARTS),
    ]
)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder of images, the pixels of the valid ones, and a model."""
    path = tmp_path_factory.mktemp("given")
    return path / "images", folder.fill(path / "images", COUNT), folder.save_model(path / "model")


def predict(images, model, output, temporary, files_per_part=EACH):
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    # Beam's default runner looks for another runner first, and leaves folders if it finds none.
    with apache_beam.Pipeline(runner="FnApiRunner") as pipeline:
        pipeline | PredictImages(images / "*", model=model, output=output, files_per_part=files_per_part)


def files_in(path):
    return sorted(each.relative_to(path).as_posix() for each in path.rglob("*") if not each.is_dir())


def left_in(temporary):
    """List the temporary folder without the folders that `apache_beam.Pipeline` makes."""
    return [name for name in os.listdir(temporary) if not name.startswith("beam-pipeline-temp")]


def check_nothing_is_half(output, good):
    """Compare the results that exist, which may be a part of all, with Pillow and NumPy."""
    rows, letters = ([row for path in sorted((output / kind).glob("*")) for row in read(path)] for kind in KINDS)
    folder.check_rows(rows, {row["file"]: good[row["file"]] for row in rows})
    assert len({row["file"] for row in [*rows, *letters]}) == len(rows) + len(letters)
    if (output / "_SUCCESS").exists():
        assert len(rows) + len(letters) == COUNT


def read(path):
    assert path.stem in PARTS and path.suffix == ".parquet"
    return pyarrow.parquet.read_table(path).to_pylist()


def check_all(output, images, good):
    folder.check_rows(folder.rows(output), good)
    folder.check_dead_letters(folder.rows(output, "dead_letters"), images)
    assert files_in(output) == OUTPUT


def test_the_next_call_completes_a_pipeline_that_was_killed_at_any_moment(given, tmp_path):
    images, good, model = given
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    processes.seconds(predict, images, model, tmp_path / "first", temporary)
    longest = processes.seconds(predict, images, model, tmp_path / "second", temporary)
    running = 0
    for number, moment in enumerate(processes.moments(KILLS, longest)):
        output = tmp_path / f"out-{number}"
        running += processes.kill_after(moment, predict, images, model, output, temporary)
        check_nothing_is_half(output, good)
        processes.seconds(predict, images, model, output, temporary)
        check_all(output, images, good)
        assert left_in(temporary) == []
        shutil.rmtree(output)
    assert running >= KILLS // 2
    assert sorted(os.listdir(tmp_path)) == ["first", "second", "tmp"]


@pytest.mark.parametrize("same", [True, False], ids=["the same call", "other arguments"])
def test_two_pipelines_to_one_folder(given, tmp_path, same):
    images, good, model = given
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    for number in range(ROUNDS if same else ROUNDS // 2):
        output = tmp_path / f"out-{number}"
        calls = [(predict, images, model, output, temporary, EACH if same or k else COUNT) for k in range(2)]
        errors = [error for error in processes.race(*calls) if error is not None]
        if same:
            assert errors == [] and files_in(output) == OUTPUT
        else:
            (error,) = errors
            assert error.startswith("ValueError: `output` holds a job that was started with other arguments:")
        folder.check_rows(folder.rows(output), good)
        folder.check_dead_letters(folder.rows(output, "dead_letters"), images)
        assert left_in(temporary) == []
        assert [path.name for path in (output / "_job").iterdir() if path.suffix == ".lock" or path.is_dir()] == []
