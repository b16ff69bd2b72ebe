"""The exports of pyramid_flow: without tfpyramid, in C, from the command line, by gRPC, and in other runtimes."""

import numpy as np
import pytest

from tests.readers import runtimes, table
from tfpyramid import models
from tfpyramid._compat import keras
from tfpyramid.export import export_saved_model, load_saved_model


@pytest.fixture(scope="module", params=["warp", "lookup"])
def final(request):
    rng = np.random.default_rng(0)
    made = models.pyramid_flow(3, filters=4, decoder_filters=(6,), max_displacement=2, sampling=request.param)
    made.set_weights([w + 0.1 * rng.standard_normal(w.shape) for w in made.get_weights()])
    made = keras.Model(made.input, {"flow": made.output["flow"]})
    sizes = [(2, 9, 14, 3), (1, 1, 5, 3)]
    batches = [{key: rng.random(size, np.float32) for key in ("first", "second")} for size in sizes]
    return made, batches, [np.asarray(made(batch)["flow"]) for batch in batches]


def test_it_is_exported_for_tensorflow(final, tmp_path):
    made, batches, expected = final
    path = export_saved_model(made, tmp_path / "model")  # Checks it in a process without tfpyramid.
    served = load_saved_model(path)
    for batch, flow in zip(batches, expected):
        np.testing.assert_allclose(served(**batch)["flow"], flow, atol=1e-4)
    for reader in (runtimes.c, runtimes.saved_model_cli, runtimes.grpc):
        for answer, flow in zip(reader(path, batches, tmp_path), expected, strict=True):
            np.testing.assert_allclose(answer["flow"], flow, atol=1e-4)


@pytest.fixture(scope="module")
def portable(final, tmp_path_factory):
    return export_saved_model(final[0], tmp_path_factory.mktemp("portable") / "model", portable=True)


@pytest.mark.parametrize("reader", runtimes.BY_ROW)
def test_other_runtimes_return_the_output_of_keras(reader, final, portable, tmp_path):
    _, batches, expected = final
    answers = runtimes.BY_ROW[reader](portable, batches, tmp_path)
    for answer, flow in zip(answers, expected, strict=True):
        assert table.error(answer["flow"], flow) <= table.TOLERANCE
