"""Targets of an export: versions, files of killed exports, full disks."""

import os
import resource
import subprocess
import sys
import threading

import pytest
import tensorflow as tf

from tfpyramid import layers
from tfpyramid._compat import keras
from tfpyramid.export import _read_back, _staging, export_saved_model, saved_model
from tfpyramid.export._versions import next_version


def tiny_model(name="image"):
    image = keras.Input((8, 8, 3), name=name)
    return keras.Model(image, layers.LearnableDownsample2D(name="down")(image))


@pytest.fixture
def unchecked(monkeypatch):
    """Skip the check."""
    monkeypatch.setattr(saved_model, "difference", lambda *args: None)


def leave(target, **files):
    """Make the staging folder of a killed export to `target`, with `written` or `replaced` and one file in each."""
    folder = target.parent / f".{target.name}.exporting-abcdefgh"
    folder.mkdir()
    (folder / "lock").write_text(_staging._contents(target))
    for name, content in files.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "saved_model.pb").write_text(content)
    return folder


def test_the_next_version_is_the_highest_plus_1(tmp_path):
    assert next_version(tmp_path / "none") == next_version(tmp_path) == 1
    for name in ("2", "007", "9_", "x", "-30", ".20", "²"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 8


def test_versions_are_numbered_folders(tmp_path, unchecked):
    root = tmp_path / "served" / "tiny"
    assert export_saved_model(tiny_model(), root, version="next") == root / "1"
    assert export_saved_model(tiny_model(), root, version="next") == root / "2"
    assert export_saved_model(tiny_model(), str(root), version=20) == root / "20"
    assert export_saved_model(tiny_model(), root, version="next") == root / "21"
    assert sorted(os.listdir(root)) == ["1", "2", "20", "21"]
    with pytest.raises(FileExistsError, match="`path` must not exist unless overwrite=True. Received: .*/tiny/2'"):
        export_saved_model(tiny_model(), root, version=2)
    export_saved_model(tiny_model("photo"), root, version=2, overwrite=True)
    assert "photo" in tf.saved_model.load(str(root / "2")).signatures["serving_default"].structured_input_signature[1]


@pytest.mark.parametrize("version", [-1, 1.5, "1", "latest", True])
def test_a_value_that_is_not_a_version_is_refused(version, tmp_path):
    with pytest.raises(ValueError, match=f"`version` must be an integer.* Received: version={version!r}"):
        export_saved_model(tiny_model(), tmp_path, version=version)


def test_a_version_cannot_be_the_folder_of_the_versions(tmp_path, unchecked):
    path = export_saved_model(tiny_model(), tmp_path / "1")
    with pytest.raises(ValueError, match="`path` must be the folder that holds the versions .* which is a SavedModel"):
        export_saved_model(tiny_model(), path, version="next")


def test_a_version_gets_its_number_when_it_is_complete(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(saved_model, "difference", lambda *args: seen.append(os.listdir(tmp_path)))
    export_saved_model(tiny_model(), tmp_path, version="next")
    ((name,),) = seen
    assert name.startswith(".next.exporting-") and os.listdir(tmp_path) == ["1"]


def test_exports_that_race_for_the_next_version_get_one_each(tmp_path):
    def export(k):
        with _staging.staging_folder(tmp_path / "next", is_next=True) as folder:
            (folder / "written").mkdir()
            (folder / "written" / str(k)).touch()
            _staging.publish_next(folder, tmp_path)

    threads = [threading.Thread(target=export, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Two that want the same number may both leave it out, so there can be gaps.
    numbers = os.listdir(tmp_path)
    assert min(map(int, numbers)) >= 1
    assert sorted(os.listdir(tmp_path / number)[0] for number in numbers) == sorted(map(str, range(16)))


def test_a_version_that_another_process_wrote_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    def another(*args):
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "saved_model.pb").touch()

    monkeypatch.setattr(saved_model, "difference", another)
    with pytest.raises(OSError, match="`path` must be on a disk with enough space.* not empty"):
        export_saved_model(tiny_model(), tmp_path, version=1)
    assert os.listdir(tmp_path) == ["1"] and os.listdir(tmp_path / "1") == ["saved_model.pb"]


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path, unchecked):
    leave(tmp_path / "1", written="half a mod")
    other = leave(tmp_path / "2", written="half a mod")
    export_saved_model(tiny_model(), tmp_path / "1")
    assert set(os.listdir(tmp_path)) == {"1", other.name}


def test_a_model_that_a_killed_export_had_moved_away_is_moved_back(tmp_path):
    leave(tmp_path / "1", replaced="the old model", written="the new one")
    with pytest.raises(FileExistsError, match="`path` must not exist"):
        export_saved_model(tiny_model(), tmp_path / "1")
    assert os.listdir(tmp_path) == ["1"] and (tmp_path / "1" / "saved_model.pb").read_text() == "the old model"


def test_a_path_that_another_export_is_writing_is_refused_and_left_alone(tmp_path, unchecked):
    told = "`path` must be on a disk .*; nothing was written. Received: .* which raised: another process is writing"
    with _staging.staging_folder(tmp_path / "1") as folder:
        with pytest.raises(OSError, match=told):
            export_saved_model(tiny_model(), tmp_path / "1", overwrite=True)
        # Its number is not available either.
        assert export_saved_model(tiny_model(), tmp_path, version="next") == tmp_path / "2"
        assert set(os.listdir(tmp_path)) == {"2", ".1.exporting", folder.name}
    assert os.listdir(tmp_path) == ["2"]


EXPORTER = """
import sys, time
from tfpyramid._compat import keras
from tfpyramid.export import export_saved_model, saved_model

def forever(path, *args):
    print(path, flush=True)
    time.sleep(600)

saved_model.difference = forever
image = keras.Input((8, 8, 3), name="image")
export_saved_model(keras.Model(image, keras.layers.ReLU()(image)), sys.argv[1], version="next")
"""


@pytest.mark.slow
def test_an_export_that_is_killed_leaves_nothing_that_is_served(tmp_path, unchecked):
    command = [sys.executable, "-c", EXPORTER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline().startswith(str(tmp_path / ".next.exporting-"))
        process.kill()
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".next.exporting-")
    export_saved_model(tiny_model(), tmp_path, version="next")
    assert os.listdir(tmp_path) == ["1"]


def test_an_interrupted_export_removes_its_files(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(saved_model, "difference", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_saved_model(tiny_model(), tmp_path, version="next")
    assert os.listdir(tmp_path) == []


# Either the variables do not fit, or the graph.
@pytest.mark.parametrize("room", [100, 5_000])
def test_a_full_disk_is_named_and_leaves_nothing(room, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OSError, match="`path` must be on a disk with enough space.* Received: .*too large"):
            export_saved_model(tiny_model(), tmp_path / "served" / "1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path / "served") == []


def test_no_layer_is_blamed_for_a_disk_that_is_full_during_the_check(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved_model, "difference", full)
    monkeypatch.setattr(saved_model, "layer_to_blame", lambda *args: pytest.fail("It is not the model's fault."))
    with pytest.raises(OSError, match="`path` must be on a disk with enough space.* No space left"):
        export_saved_model(tiny_model(), tmp_path / "1")
    assert os.listdir(tmp_path) == []


def test_the_model_is_not_blamed_for_a_disk_that_is_full_for_the_results_of_the_check(tmp_path, monkeypatch):
    told = "OSError: [Errno 28] No space left on device"
    ended = subprocess.CompletedProcess([], _read_back.NOT_WRITTEN, stderr=told)
    monkeypatch.setattr("tfpyramid.export._verify.found_in_process", lambda path: {"PyFunc"})
    monkeypatch.setattr("tfpyramid.export._verify._in_a_fresh_interpreter", lambda *paths: ended)
    with pytest.raises(OSError, match="`path` must be on a disk with enough space.* No space left"):
        export_saved_model(tiny_model(), tmp_path / "1")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_the_program_of_the_check_ends_when_its_input_is_closed(tmp_path):
    # The kernel closes the pipe like this when the exporting process is killed.
    command = [sys.executable, _read_back.__file__, "model", "inputs.npz", str(tmp_path / "answers.npz")]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300).returncode == 1
    assert os.listdir(tmp_path) == []


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="`path` must be on a disk with enough space"):
        export_saved_model(tiny_model(), tmp_path / "file" / "1")
