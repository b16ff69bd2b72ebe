"""Serve a SavedModel with the gRPC interface of TensorFlow Serving, without its binary.

    pip install 'tfpyramid[readers]'
    python examples/serving/grpc_server.py served/pyramid/1 --name pyramid --port 8500

The interface is `PredictionService` of tensorflow-serving-api, so every client of TensorFlow Serving can use this
server. The server supports one model, one version and only `Predict`, without batching. It accepts connections from
this machine only, and runs until it is interrupted or terminated.
"""

from __future__ import annotations

import signal
import sys
from concurrent import futures

import grpc
import served
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

MOST_BYTES = 64 * 2**20  # The largest message. gRPC's default of 4 MiB holds one image of 590 by 590 pixels.


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Handles `Predict` requests for one model.

    Args:
        name: name of the model in requests.
        model: the loaded model.
    """

    def __init__(self, name: str, model: served.Served) -> None:
        self._name, self._model = name, model

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        if request.model_spec.name != self._name:
            # The message of TensorFlow Serving.
            requested = request.model_spec.name
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({requested})")
        signature = request.model_spec.signature_name or "serving_default"
        try:
            outputs = self._model(signature, {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()})
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse()
        response.model_spec.name, response.model_spec.signature_name = self._name, signature
        for name, array in outputs.items():
            if not request.output_filter or name in request.output_filter:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
        return response


def main() -> None:
    options = served.parse_options(__doc__, 8500)
    sizes = [("grpc.max_receive_message_length", MOST_BYTES), ("grpc.max_send_message_length", MOST_BYTES)]
    # By default gRPC would share a port that is in use; fail instead.
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[*sizes, ("grpc.so_reuseport", 0)])
    service = PredictionService(options.name, served.Served(options.saved_model))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    try:
        port = server.add_insecure_port(f"{served.HOST}:{options.port}")
    except RuntimeError as error:
        sys.exit(f"grpc_server: cannot listen on port {options.port}: {error}. Choose another port with --port.")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop(grace=1))
    server.start()
    print(f"Serving {options.name} by gRPC on {served.HOST}:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
