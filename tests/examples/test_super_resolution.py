"""The example on super-resolution."""

import json
import os

import pytest

from tests.examples import script


@pytest.mark.slow
def test_every_scale_is_measured_and_drawn(tmp_path):
    ended = script.run("super_resolution", tmp_path, "--split", "validation")
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["metrics.json", "super_resolution.png"]

    width, height = script.size_of_png(tmp_path / "out/super_resolution.png")
    assert width == 840 and height >= 400

    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    assert numbers["split"] == "validation"
    assert list(numbers["table"]) == ["bicubic", "Lanczos", "pyramid", "without the pyramid"]
    for name, scales in numbers["table"].items():
        assert name in ended.stdout
        for scale in ("2x", "4x"):
            (psnr,), (ssim,) = (scales[scale][measure]["seeds"] for measure in ("psnr", "ssim"))
            assert 15 < psnr < 45 and 0 < ssim < 1
        # The larger scale is the harder one.
        assert scales["2x"]["psnr"]["mean"] > scales["4x"]["psnr"]["mean"]
    parameters = numbers["runs"][0]["parameters"]
    assert parameters["pyramid"] == pytest.approx(parameters["without the pyramid, 4x"], rel=0.01)
