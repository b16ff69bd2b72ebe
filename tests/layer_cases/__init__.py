"""The conformance table: every public layer, by default and with each of its arguments off its default."""

from tests.layer_cases import downsampling, fusion, pyramids
from tests.layer_cases.case import LayerCase, case_id

CASES = [*pyramids.CASES, *downsampling.CASES, *fusion.CASES]

__all__ = ["CASES", "LayerCase", "case_id"]
