"""The options that all examples have."""

import importlib
import sys

import pytest

from tests.examples.script import ROOT

sys.path += [str(ROOT / "examples"), str(ROOT / "examples" / "serving")]  # As for a script that is run by its path.

NAMES = [
    "quickstart",
    "scale_robustness",
    "detection",
    "segmentation",
    "blending",
    "super_resolution",
    "optical_flow",
    "visual_questions",
    "fovea",
    "predict_images",
    "distributed",
    "ask",
]


@pytest.mark.parametrize("name", NAMES)
def test_help_describes_the_example_and_its_seed(name, monkeypatch, capsys):
    example = importlib.import_module(name)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        example.parse_options()
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert example.__doc__.splitlines()[0] in text
    assert "--seed SEED" in text


def test_every_example_is_described():
    text = (ROOT / "examples" / "README.md").read_text()
    assert all(f"{name}.py" in text for name in NAMES)
