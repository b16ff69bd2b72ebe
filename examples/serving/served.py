"""What the two servers share: their options, and a SavedModel as a function of arrays by name."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

HOST = "127.0.0.1"  # This machine alone.


class Served:
    """A SavedModel that is asked by signature and by the names of its inputs.

    Args:
        path: of the SavedModel.
    """

    def __init__(self, path: Path) -> None:
        self._model = tf.saved_model.load(str(path))

    def __call__(self, signature: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the outputs; a `ValueError` says what is wrong with the inputs."""
        if signature not in self._model.signatures:
            raise ValueError(f"the signature must be one of {sorted(self._model.signatures)}. Received: {signature!r}")
        function = self._model.signatures[signature]
        specs = function.structured_input_signature[1]
        if set(inputs) != set(specs):
            raise ValueError(f"the inputs must be {sorted(specs)}. Received: {sorted(inputs)}")
        tensors = {}
        for name, spec in specs.items():
            try:
                tensors[name] = tf.constant(inputs[name], spec.dtype)
                tensors[name].shape.assert_is_compatible_with(spec.shape)
            except (TypeError, ValueError) as error:
                raise ValueError(f"the input {name} must be {spec.dtype.name} {spec.shape}. {error}") from error
        return {name: tensor.numpy() for name, tensor in function(**tensors).items()}

    def only_input(self, signature: str) -> str | None:
        """Return the name of the input of a signature that has but one."""
        names = list(self._model.signatures[signature].structured_input_signature[1])
        return names[0] if len(names) == 1 else None


def parse_options(description: str, port: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("saved_model", type=Path, help="folder that export_saved_model wrote")
    parser.add_argument("--name", default="pyramid", help="of the model, for its clients")
    parser.add_argument("--port", type=int, default=port, help="0 for one that is free; it is printed")
    return parser.parse_args()
