"""The conformance table: every public layer, by default and with each of its arguments off its default."""

from tests.layer_cases import downsampling, fusion, gradients, logits, pyramids, selection
from tests.layer_cases.case import LayerCase, case_id, short_name, unnested

CASES = [*pyramids.CASES, *downsampling.CASES, *fusion.CASES, *gradients.CASES, *logits.CASES, *selection.CASES]

__all__ = ["CASES", "LayerCase", "case_id", "short_name", "unnested"]
