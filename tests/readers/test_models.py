"""The exports of whole models: without tfpyramid, and in other runtimes. docs/serving.md has the table."""

import numpy as np
import pytest

from tests.readers import runtimes, table
from tests.readers.test_c_client import detector, magnifier, segmenter
from tfpyramid._compat import keras
from tfpyramid.export import export_saved_model


def final():
    """Return the magnifier with its last output only."""
    made, batches = magnifier()
    return keras.Model(made.input, {"x4": made.output["x4"]}), batches


def answers_of_keras(made, batches):
    found = [made(batch["image"]) for batch in batches]
    named = [y if isinstance(y, dict) else {"label": y} for y in found]
    return [{name: np.asarray(y) for name, y in each.items()} for each in named]


def assert_equal(answers, expected):
    for answer, outputs in zip(answers, expected, strict=True):
        for name, y in outputs.items():
            assert table.error(answer[name], y) <= table.TOLERANCE, name


@pytest.mark.parametrize("make", [segmenter, final, detector])
def test_python_without_the_package_returns_the_outputs_of_keras(make, tmp_path):
    made, batches = make()
    path = export_saved_model(made, tmp_path / "model")
    assert_equal(runtimes.python(path, batches, tmp_path), answers_of_keras(made, batches))


@pytest.mark.parametrize("reader", runtimes.BY_ROW)
@pytest.mark.parametrize("make", [segmenter, final])
def test_other_runtimes_return_the_outputs_of_keras(make, reader, tmp_path):
    made, batches = make()
    path = export_saved_model(made, tmp_path / "model", portable=True)
    assert_equal(runtimes.BY_ROW[reader](path, batches, tmp_path), answers_of_keras(made, batches))
