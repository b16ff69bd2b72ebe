"""The example of a folder of images."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.examples.script import ROOT, size_of_png
from tests.scale import folder


@pytest.mark.slow
def test_five_hundred_files_killed_half_way_are_each_there_once(tmp_path):
    path, output = tmp_path / "images", tmp_path / "out"
    good, model = folder.fill(path, 500), folder.save_model(tmp_path / "model")
    script = [sys.executable, str(ROOT / "examples" / "predict_images.py"), str(path / "*"), str(model), str(output)]
    workers = ["--files-per-part=20", "--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")}
    options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([*script, *workers], start_new_session=True, **options) as running:
        try:
            wait_until(lambda: len(finished(output)) >= 8, running)
        finally:
            os.killpg(running.pid, signal.SIGKILL)
    before = {name: (output / "results" / name).stat().st_mtime_ns for name in finished(output)}
    assert 8 <= len(before) < 25 and not (output / "_SUCCESS").exists()
    again = subprocess.run([*script, *workers], **options)
    assert again.returncode == 0, again.stdout
    assert size_of_png(tmp_path / "out_predictions.png") >= (1000, 500)
    folder.check_rows(folder.rows(output), good)
    assert len(good) == 496
    folder.check_dead_letters(folder.rows(output, "dead_letters"), path)
    assert (output / "_SUCCESS").exists() and len(list((output / "results").iterdir())) == 25
    assert {name: (output / "results" / name).stat().st_mtime_ns for name in before} == before
    # Beam makes this one for any pipeline and removes it when that ends, which a killed one does not.
    assert [name[:18] for name in os.listdir(tmp_path / "tmp")] == ["beam-pipeline-temp"]
    assert not [path for path in (output / "_job").iterdir() if path.suffix not in (".json", ".jsonl")]
    summary = re.search(r"(\d+) images .*, (\d+) dead .* loaded (\d+) times", again.stdout)
    images, letters, loaded = map(int, summary.groups())
    # Of the parts that were not there, by two workers.
    assert images + letters == 500 - 20 * len(before) and 1 <= loaded <= 2


def finished(output):
    """Return the names of the results of finished parts."""
    return [f"{sums.stem}.parquet" for sums in (output / "_job").glob("part-*.json")]


def wait_until(true, process):
    end = time.monotonic() + 1800  # No machine is so busy.
    while not true():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end, "The pipeline does not get half-way."
        time.sleep(0.01)
