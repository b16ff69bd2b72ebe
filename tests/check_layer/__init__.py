"""Nine checks that every layer passes: small functions of (case, readers, folder) that assert.

`readers` runs models on disk in fresh processes; `folder` is an empty folder. See `layer_cases.LayerCase`.
"""

from collections.abc import Callable

from tests.check_layer.running import TOLERANCE, assert_close, built, call, model_of, tensors
from tests.check_layer.saving import (
    assert_answers,
    batches,
    check_config,
    check_keras_file,
    check_saved_model,
)
from tests.check_layer.shapes import check_shapes
from tests.check_layer.values import (
    check_gradient,
    check_precision,
    check_reference,
    check_training,
    check_xla,
)

CHECKS: dict[str, Callable] = {
    "config": check_config,
    "keras": check_keras_file,
    "saved_model": check_saved_model,
    "shapes": check_shapes,
    "precision": check_precision,
    "xla": check_xla,
    "gradient": check_gradient,
    "reference": check_reference,
    "training": check_training,
}

__all__ = ["CHECKS", "TOLERANCE", "assert_answers", "assert_close", "batches", "built", "call", "model_of", "tensors"]
