"""Fixtures of the tests of PredictImages."""

import pytest

from tests.scale import folder


@pytest.fixture
def some(tmp_path):
    """Five valid images in tmp_path/images, and the arguments of a call for them."""
    folder.fill(tmp_path / "images", 12)
    for name in [*folder.BAD, *folder.UNUSUAL]:
        (tmp_path / "images" / name).unlink()
    model = folder.save_model(tmp_path / "model")
    return {"pattern": tmp_path / "images" / "*", "model": model, "output": tmp_path / "out", "files_per_part": 2}
