"""The conformance table: every public layer, with its defaults and with another value of each argument."""

from tests.layer_cases import downsampling, fovea, fusion, gradients, logits, motion, pyramids, selection
from tests.layer_cases.case import LayerCase, case_id, short_name, unnested

ROOMS = (pyramids, downsampling, fusion, gradients, logits, selection, motion, fovea)
CASES = [case for room in ROOMS for case in room.CASES]

__all__ = ["CASES", "LayerCase", "case_id", "short_name", "unnested"]
