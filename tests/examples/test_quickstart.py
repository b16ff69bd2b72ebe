"""The quickstart, and how every example starts and ends."""

import json
import os

import pytest

from tests.examples import script


@pytest.mark.slow
def test_everything_is_written_and_agrees(tmp_path):
    ended = script.run("quickstart", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    out = tmp_path / "out"
    assert sorted(os.listdir(tmp_path)) == ["out"]
    assert sorted(os.listdir(out)) == ["classes.txt", "metrics.json", "model.keras", "quickstart.png", "saved_model"]
    assert (out / "saved_model/saved_model.pb").is_file()
    assert (out / "saved_model/variables/variables.index").is_file()

    width, height = script.size_of_png(out / "quickstart.png")
    assert width >= 1500 and height >= 1000

    numbers = json.loads((out / "metrics.json").read_text())
    assert sorted(numbers["reconstruction_error"]) == ["astronaut", "retina"]
    assert max(numbers["reconstruction_error"].values()) < 1e-5
    for name in ("reload_difference", "answer_difference", "gradient_difference"):
        assert numbers[name] <= 1e-5, name
    assert numbers["kernel_change"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("package", ["tqdm", "matplotlib"])  # Of the script itself, and of what draws its figure.
def test_a_missing_package_is_named(package, tmp_path):
    (tmp_path / f"{package}.py").write_text(f"raise ImportError(\"No module named '{package}'\")\n")
    ended = script.run("quickstart", tmp_path)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    (line,) = ended.stderr.splitlines()
    assert f"No module named '{package}'" in line and "pip install 'tfpyramid[examples]'" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("tqdm", ["raise KeyboardInterrupt", "def tqdm(**_): raise KeyboardInterrupt"])
def test_an_interrupt_is_no_traceback(tqdm, tmp_path):
    """While the script imports, and while it runs."""
    (tmp_path / "tqdm.py").write_text(tqdm)
    ended = script.run("quickstart", tmp_path)
    assert ended.returncode == 130
    assert ended.stderr.splitlines() == ["quickstart: interrupted"]
