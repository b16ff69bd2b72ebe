"""Code that the two servers share: their options, and a loaded SavedModel."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

HOST = "127.0.0.1"  # Accept connections from this machine only.


class Served:
    """A loaded SavedModel. Call it with the name of a signature and a dict of inputs.

    Args:
        path: path of the SavedModel.
    """

    def __init__(self, path: Path) -> None:
        self._model = tf.saved_model.load(str(path))

    def __call__(self, signature: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the outputs by name; raise `ValueError` if the inputs do not fit the signature."""
        if signature not in self._model.signatures:
            raise ValueError(f"The signature must be one of {sorted(self._model.signatures)}. Received: {signature!r}")
        function = self._model.signatures[signature]
        specs = function.structured_input_signature[1]
        if set(inputs) != set(specs):
            raise ValueError(f"The names of the inputs must be {sorted(specs)}. Received: {sorted(inputs)}")
        tensors = {}
        for name, spec in specs.items():
            try:
                tensors[name] = tf.constant(inputs[name], spec.dtype)
                tensors[name].shape.assert_is_compatible_with(spec.shape)
            except (TypeError, ValueError) as error:
                rule = f"Input {name!r} must have dtype {spec.dtype.name} and shape {spec.shape}"
                raise ValueError(f"{rule}. Received: {error}") from error
        return {name: tensor.numpy() for name, tensor in function(**tensors).items()}

    def only_input(self, signature: str) -> str | None:
        """Return the name of the only input of a signature, or None if it has several inputs."""
        names = list(self._model.signatures[signature].structured_input_signature[1])
        return names[0] if len(names) == 1 else None


def parse_options(description: str, port: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("saved_model", type=Path, help="folder that export_saved_model wrote")
    parser.add_argument("--name", default="pyramid", help="name of the model in requests (default: %(default)s)")
    parser.add_argument("--port", type=int, default=port, help="port; 0 means any free one (default: %(default)s)")
    return parser.parse_args()
