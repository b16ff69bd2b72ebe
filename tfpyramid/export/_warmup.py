"""Requests that TensorFlow Serving answers before it says that a model is there, so that no client waits for traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

# Where TensorFlow Serving looks for them, in the folder of a version.
REQUESTS = Path("assets.extra", "tf_serving_warmup_requests")


def protos() -> tuple[Any, Any]:
    """Return the modules of TensorFlow Serving that define a request and the log of one."""
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError as error:
        raise ImportError(
            "`warmup` must be None where the requests of TensorFlow Serving are not known; they are with "
            f"pip install 'tfpyramid[serving]'. Received: {error}"
        ) from error
    return predict_pb2, prediction_log_pb2


def write_warmup(path: Path, requests: dict[str, dict[str, tf.Tensor]]) -> None:
    """Write a request for each signature, its inputs by name, into the SavedModel at `path`."""
    predict_pb2, prediction_log_pb2 = protos()
    Path(path, REQUESTS).parent.mkdir()
    with tf.io.TFRecordWriter(str(Path(path, REQUESTS))) as writer:
        for signature, inputs in requests.items():
            request = predict_pb2.PredictRequest(
                inputs={name: tf.make_tensor_proto(tensor) for name, tensor in inputs.items()}
            )
            request.model_spec.signature_name = signature
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
