"""The exports of pyramid_super_resolution: without tfpyramid, and in other runtimes."""

import numpy as np
import pytest

from tests.readers import runtimes, table
from tests.readers.test_c_client import magnifier
from tfpyramid._compat import keras
from tfpyramid.export import export_saved_model, load_saved_model


@pytest.fixture(scope="module")
def final():
    made, batches = magnifier()
    made = keras.Model(made.input, {"x4": made.output["x4"]})
    return made, batches, [np.asarray(made(batch["image"])["x4"]) for batch in batches]


def test_it_is_exported_for_tensorflow(final, tmp_path):
    made, batches, expected = final
    path = export_saved_model(made, tmp_path / "model")  # Checks it in a process without tfpyramid.
    served = load_saved_model(path)
    for batch, y in zip(batches, expected):
        np.testing.assert_allclose(served(**batch)["x4"], y, atol=1e-5)


@pytest.mark.parametrize("reader", runtimes.BY_ROW)
def test_other_runtimes_return_the_output_of_keras(reader, final, tmp_path):
    made, batches, expected = final
    path = export_saved_model(made, tmp_path / "model", portable=True)
    answers = runtimes.BY_ROW[reader](path, batches, tmp_path)
    for answer, y in zip(answers, expected, strict=True):
        assert table.error(answer["x4"], y) <= table.TOLERANCE
