"""Call layers and their gradients twice with `enable_op_determinism`, which cannot be turned off again.

    python -m tests.devices.deterministic ROOM

ROOM is a module of `tests.layer_cases`. Prints a line for each case that raises an error or gives another result.
"""

from __future__ import annotations

import importlib
import sys

import numpy as np
import tensorflow as tf

from tests.check_layer.running import built, call, gradients, tensors, upstream_like
from tests.layer_cases import LayerCase, case_id
from tfpyramid._compat import keras


def results(case: LayerCase, policy: str) -> list[np.ndarray]:
    """Return the outputs and gradients of a layer, with the seeds set."""
    keras.utils.set_random_seed(0)
    layer = built(case, policy)
    values = tensors(case, layer.compute_dtype)
    found = gradients(case, layer, values, upstream_like(call(case, layer, values)))
    return [np.asarray(x) for x in tf.nest.flatten(found) if x is not None]


def main(room: str) -> None:
    tf.config.experimental.enable_op_determinism()
    for case in importlib.import_module(f"tests.layer_cases.{room}").CASES:
        for policy in ("float32", "mixed_float16"):
            try:
                pairs = zip(results(case, policy), results(case, policy), strict=True)
                complaint = "" if all(np.array_equal(a, b, equal_nan=True) for a, b in pairs) else "differs"
            except Exception as error:  # Every row is tried.
                complaint = f"{type(error).__name__}: {error}"
            if complaint:
                print(f"{case_id(case)} in {policy}: {complaint}")


if __name__ == "__main__":
    main(sys.argv[1])
