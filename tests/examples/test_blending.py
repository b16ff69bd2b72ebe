"""The example on blending."""

import json
import os

import pytest

from tests.examples import script


@pytest.mark.slow
def test_each_use_has_a_figure_and_improves_on_its_inputs(tmp_path):
    ended = script.run("blending", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    out = tmp_path / "out"
    figures = ["blend.png", "exposure_fusion.png", "focus_stack.png"]
    assert sorted(os.listdir(out)) == [*figures, "metrics.json"]
    for name in figures:
        width, height = script.size_of_png(out / name)
        assert width >= 1000 and height >= 400

    numbers = json.loads((out / "metrics.json").read_text())
    seam = list(numbers["blend"].values())
    assert max(seam[1:]) < 0.5 * seam[0]
    *exposures, fused = numbers["exposure_fusion"].values()
    assert len(exposures) == 5 and fused > 0.9 * max(exposures)
    *inputs, stacked = numbers["focus_stack"].values()
    assert stacked > max(inputs) + 5
