"""Requests that TensorFlow Serving runs before it serves a model, so that no client waits for tracing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

# The path that TensorFlow Serving reads, in the folder of a version.
REQUESTS = Path("assets.extra", "tf_serving_warmup_requests")


def import_protos() -> tuple[Any, Any]:
    """Return the modules of TensorFlow Serving that define a request and a log of requests."""
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError as error:
        raise ImportError(
            "`warmup` requires tensorflow-serving-api. Install it with: pip install 'tfpyramid[serving]'. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    return predict_pb2, prediction_log_pb2


def write_warmup(path: Path, requests: dict[str, dict[str, tf.Tensor]]) -> None:
    """Add a request for each signature, given by the names of its inputs, to the SavedModel at `path`."""
    predict_pb2, prediction_log_pb2 = import_protos()
    Path(path, REQUESTS).parent.mkdir()
    with tf.io.TFRecordWriter(str(Path(path, REQUESTS))) as writer:
        for signature, inputs in requests.items():
            request = predict_pb2.PredictRequest(
                inputs={name: tf.make_tensor_proto(tensor) for name, tensor in inputs.items()}
            )
            request.model_spec.signature_name = signature
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
