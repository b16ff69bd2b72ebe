"""Serve a SavedModel, send it images over gRPC or REST, and draw its predictions and response times.

    python examples/quickstart.py      # trains and exports the model
    python examples/serving/ask.py     # serves it, and asks it about the test images of easy-VQA

The example starts grpc_server.py or rest_server.py on this machine, sends one image per request, and compares each
response with the SavedModel. It draws `ask.png` and stops the server.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # The folder of `running` and `predictions_figure`.
import running  # noqa: E402

with running.imports("ask", extra="examples,serving"):
    import easy_vqa
    import grpc
    import numpy as np
    import started
    import tensorflow as tf
    from predictions_figure import Prediction, draw
    from skimage import io
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
    from tqdm import tqdm

NAME, SHOWN = "pyramid", 12
Ask = Callable[[np.ndarray], np.ndarray]


def over_grpc(address: str, name: str) -> Ask:
    """Return a function that sends an image [1, height, width, 3] over gRPC and returns the first output."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(address))

    def ask(image: np.ndarray) -> np.ndarray:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = NAME
        request.inputs[name].CopyFrom(tf.make_tensor_proto(image))
        outputs = stub.Predict(request, timeout=60).outputs
        return tf.make_ndarray(outputs[sorted(outputs)[0]])

    return ask


def over_rest(address: str, name: str) -> Ask:
    """Return a function that sends an image [1, height, width, 3] over REST and returns the first output."""
    connection = http.client.HTTPConnection(address, timeout=60)

    def ask(image: np.ndarray) -> np.ndarray:
        body = json.dumps({"instances": [{name: row.tolist()} for row in image]})
        connection.request("POST", f"/v1/models/{NAME}:predict", body, {"content-type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            sys.exit(f"ask: the server returned status {response.status}: {text[:200]!r}")
        (prediction,) = json.loads(text)["predictions"]
        return np.float32([prediction[sorted(prediction)[0]] if isinstance(prediction, dict) else prediction])

    return ask


PROTOCOLS = {"grpc": ("gRPC", "grpc_server.py", over_grpc), "rest": ("REST", "rest_server.py", over_rest)}


def parse_options() -> argparse.Namespace:
    parser = running.parser(__doc__, output="ask_output")
    saved_model = Path("quickstart_output/saved_model")
    parser.add_argument("--model", type=Path, default=saved_model, help="SavedModel (default: %(default)s)")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="grpc", help="protocol (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=200, help="number of requests (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    if not options.model.exists():
        sys.exit(f"ask: no model at {options.model}. Run quickstart.py first, or pass --model.")
    paths = [path for _, path in sorted(easy_vqa.get_test_image_paths().items())]
    chosen = np.random.default_rng(options.seed).permutation(len(paths))[: options.requests]
    images = [io.imread(paths[k])[None, :, :, :3].astype(np.float32) / 255 for k in chosen]
    model = tf.saved_model.load(str(options.model)).signatures["serving_default"]
    (name,) = model.structured_input_signature[1]
    protocol, script, client = PROTOCOLS[options.protocol]
    milliseconds, outputs = [], []
    with started.server(script, options.model, NAME) as (address, _):
        print(f"{script} serves {options.model} on {address}")
        ask = client(address, name)
        ask(images[0])  # The first request takes longer.
        for image in tqdm(images, desc="Asking", unit=" requests", leave=False):
            began = time.perf_counter()
            outputs.append(ask(image))
            milliseconds.append(1000 * (time.perf_counter() - began))
    difference = 0.0
    for image, output in zip(images, outputs):
        expected = model(**{name: tf.constant(image)})
        difference = max(difference, float(np.abs(output - expected[sorted(expected)[0]].numpy()).max()))
    median = float(np.median(milliseconds))
    print(f"{len(images)} responses, median {median:.1f} ms; largest difference to the SavedModel {difference:.1e}")

    classes = options.model.parent / "classes.txt"
    titles = [f"{Path(paths[k]).name}, {each:.1f} ms" for k, each in zip(chosen, milliseconds)]
    predictions = [Prediction(*each) for each in zip(titles, (x[0] for x in images), (y[0] for y in outputs))][:SHOWN]
    title = f"Predictions of a served model over {protocol}, median {median:.1f} ms per request"
    options.output.mkdir(parents=True, exist_ok=True)
    with running.written_aside(options.output / "ask.png") as path:
        figure = draw(title, predictions, classes.read_text().splitlines() if classes.exists() else [])
        figure.savefig(path, format="png")
    print(f"Written to {options.output}: ask.png")


if __name__ == "__main__":
    running.run("ask", main)
