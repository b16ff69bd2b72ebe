"""Serve a SavedModel with the REST interface of TensorFlow Serving, using KServe.

    pip install 'tfpyramid[readers]'
    python examples/serving/rest_server.py served/pyramid/1 --name pyramid --port 8501
    curl localhost:8501/v1/models/pyramid:predict -H 'content-type: application/json' \\
        -d '{"instances": [[[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]]]}'

Requests and responses have the row format of TensorFlow Serving's `:predict` ("instances", "predictions"). The bytes of
files are encoded as {"b64": "..."}. The server is KServe's. It accepts connections from this machine only, and runs
until it is interrupted or terminated.
"""

from __future__ import annotations

import base64
import socket
import sys
from typing import Any

import numpy as np
import served
import tensorflow as tf
from kserve import Model, ModelRepository
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer


class SavedModel(Model):
    """A KServe model that takes and returns rows.

    Args:
        name: name of the model in requests.
        model: the loaded model.
    """

    def __init__(self, name: str, model: served.Served) -> None:
        super().__init__(name)
        self._model = model
        self.ready = True

    async def predict(self, payload: dict[str, Any], headers: Any = None, response_headers: Any = None) -> dict:
        signature = payload.get("signature_name", "serving_default")
        try:
            outputs = self._model(signature, self._columns(payload["instances"], signature))
        except (KeyError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise InvalidInput(str(error)) from error
        columns = {name: array.tolist() for name, array in outputs.items()}
        if len(columns) == 1:
            return {"predictions": next(iter(columns.values()))}
        return {"predictions": [dict(zip(columns, row)) for row in zip(*columns.values())]}

    def _columns(self, rows: list, signature: str) -> dict[str, np.ndarray]:
        """Return the inputs by name. For a model with one input, a row may be the value itself."""
        if not isinstance(rows[0], dict) or _is_bytes(rows[0]):
            name = self._model.only_input(signature)
            if name is None:
                raise ValueError("Each of the instances must be an object, because the model has several inputs.")
            rows = [{name: row} for row in rows]
        return {name: np.array([_value(row[name]) for row in rows]) for name in rows[0]}


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"}


def _value(value: Any) -> Any:
    # A NumPy array of dtype `bytes` would strip trailing zeros.
    return np.array(base64.b64decode(value["b64"]), object) if _is_bytes(value) else value


def main() -> None:
    options = served.parse_options(__doc__, 8501)
    repository = ModelRepository()
    repository.update(SavedModel(options.name, served.Served(options.saved_model)))
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((served.HOST, options.port))
        listening.listen(128)
    except OSError as error:
        sys.exit(f"rest_server: cannot listen on port {options.port}: {error}. Choose another port with --port.")
    port = listening.getsockname()[1]
    # KServe's ModelServer would accept connections from other machines.
    extension = ModelRepositoryExtension(model_registry=repository)
    server = RESTServer("kserve.model_server:app", DataPlane(model_registry=repository), extension, port)
    print(f"Serving {options.name} by REST on {served.HOST}:{port}", flush=True)
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
