"""Exports of our layers by Keras; the conformance table writes the same SavedModel with fewer traces."""

import pytest

from tests.check_layer import assert_answers, batches, built, model_of
from tests.layer_cases import CASES, case_id

NAMES = ["LaplacianPyramid-odd", "LaplacianReconstruction-odd", "LearnableDownsample2D-hard", "WeightedFusion-hard"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_keras_exports_runs_and_differentiates_without_the_package(name, readers, tmp_path):
    (case,) = [case for case in CASES if case_id(case) == name]
    model = model_of(case, built(case))
    model.export(str(tmp_path / "export"))
    given = batches(case, model)
    assert_answers(case, model, readers["saved_model"].read(tmp_path / "export", given), given)
