"""Portable exports that blend images, fuse exposures and stack focus, in other runtimes."""

import numpy as np
import pytest

from tests.export.test_blending import USES, images, merger
from tests.readers import rows, runtimes, table


@pytest.mark.parametrize(
    "sides, levels, sizes", [((None, None), 3, [(2, 12, 9), (1, 33, 47)]), ((7, 9), None, [(2, 7, 9)])]
)
@pytest.mark.parametrize("reader", runtimes.BY_ROW)
def test_other_runtimes_return_the_images_of_keras(reader, sides, levels, sizes, tmp_path):
    made, batches = merger(sides, levels), [{"image": images(*size)} for size in sizes]
    path = rows.write(made, tmp_path / "model", portable=True)
    for batch, answer in zip(batches, runtimes.BY_ROW[reader](path, batches, tmp_path), strict=True):
        assert set(answer) == set(USES)
        for name, y in made(batch["image"]).items():
            assert table.error(answer[name], np.asarray(y)) <= table.TOLERANCE, name
