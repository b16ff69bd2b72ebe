"""The readers of an export: each a function of (folder of a SavedModel, batches of inputs by name, empty folder).

Each returns the outputs by name of every batch. What a reader needs is imported in it: the table of readers is looked
at where they are not installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

ROOT = Path(__file__).parents[2]
SERVING = ROOT / "examples" / "serving"
sys.path.insert(0, str(SERVING))
import started  # noqa: E402

QUIET = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

Arrays = dict[str, np.ndarray]


def run(*command: object) -> str:
    """Run a program and return its output; if it fails, raise an error with its messages."""
    ended = subprocess.run([str(word) for word in command], env=QUIET, capture_output=True, text=True, timeout=1800)
    assert ended.returncode == 0, f"{command[0]}: {ended.stderr[-2000:]}"
    return ended.stdout


def python(saved_model: Path, batches: list[Arrays], folder: Path) -> list[Arrays]:
    given = {f"{n}/{name}": array for n, batch in enumerate(batches) for name, array in batch.items()}
    np.savez(folder / "inputs.npz", **given)
    program = Path(__file__).with_name("in_python.py")
    run(sys.executable, program, saved_model, folder / "inputs.npz", folder / "out.npz")
    answers = dict(np.load(folder / "out.npz", allow_pickle=False))
    found = [{k.split("/")[1]: v for k, v in answers.items() if k.startswith(f"{n}/")} for n in range(len(batches))]
    found[-1].update({name: v for name, v in answers.items() if name.startswith("gradient/")})
    return found


def keras_layer(saved_model: Path, batches: list[Arrays], folder: Path) -> list[Arrays]:
    layer = tf.keras.layers.TFSMLayer(str(saved_model), call_endpoint="serve")
    # The layer passes one argument only; a model with more inputs needs another endpoint.
    return [{k: y.numpy() for k, y in layer(batch["image"]).items()} for batch in batches]


def saved_model_cli(saved_model: Path, batches: list[Arrays], folder: Path) -> list[Arrays]:
    found = []
    for batch in batches:
        for name, array in batch.items():
            np.save(folder / f"{name}.npy", array)
        given = ";".join(f"{name}={folder}/{name}.npy" for name in batch)
        out = folder / "out"
        command = [Path(sys.executable).with_name("saved_model_cli"), "run", "--dir", saved_model, "--tag_set", "serve"]
        run(*command, "--signature_def", "serving_default", "--inputs", given, "--outdir", out, "--overwrite")
        found.append({path.stem: np.load(path) for path in out.glob("*.npy")})
    return found


def signature_of(saved_model: Path) -> object:
    """Return the signature "serving_default", which names the tensors."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((saved_model / "saved_model.pb").read_bytes())
    return proto.meta_graphs[0].signature_def["serving_default"]


def c(saved_model: Path, batches: list[Arrays], folder: Path) -> list[Arrays]:
    program = folder / "predict"
    run("make", "-s", "-C", SERVING / "c", f"PYTHON={sys.executable}", f"PROGRAM={program}", program)
    signature = signature_of(saved_model)
    found = []
    for batch in batches:
        given = []
        for name, array in batch.items():
            array.tofile(folder / f"{name}.raw")
            shape = "x".join(map(str, array.shape))
            given += [name, array.dtype.name, shape, folder / f"{name}.raw"]
        files = [word for name in signature.outputs for word in (name, folder / f"{name}.out")]
        answers = {}
        for line in run(program, saved_model, "serving_default", *given, "--", *files).splitlines():
            name, dtype, *shape = line.split()
            values = np.fromfile(folder / f"{name}.out", dtype)
            answers[name] = values.reshape([int(n) for n in shape[0].split("x")] if shape else [])
        found.append(answers)
    return found


def grpc(saved_model: Path, batches: list[Arrays], folder: Path) -> list[Arrays]:
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    found = []
    most = [("grpc.max_receive_message_length", 2**26)]
    with started.server("grpc_server.py", saved_model, "rows") as (address, _):
        channel = grpc.insecure_channel(address, most)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for batch in batches:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "rows"
            for name, array in batch.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
            outputs = stub.Predict(request, timeout=600).outputs
            found.append({name: tf.make_ndarray(proto) for name, proto in outputs.items()})
    return found


def rest(saved_model: Path, batches: list[Arrays], folder: Path) -> list[Arrays]:
    found = []
    with started.server("rest_server.py", saved_model, "rows") as (address, _):
        for batch in batches:
            body = json.dumps({"instances": batch["image"].tolist()}).encode()
            url, header = f"http://{address}/v1/models/rows:predict", {"Content-Type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(url, body, header), timeout=600) as response:
                predictions = json.load(response)["predictions"]
            found.append({name: np.float32([row[name] for row in predictions]) for name in predictions[0]})
    return found


def tflite(saved_model: Path, batches: list[Arrays], folder: Path) -> list[Arrays]:
    from ai_edge_litert.interpreter import Interpreter

    flat = tf.lite.TFLiteConverter.from_saved_model(str(saved_model)).convert()
    runner = Interpreter(model_content=flat, num_threads=1).get_signature_runner("serving_default")
    asked = runner.get_input_details()  # The converter removes inputs on which no output depends.
    # Copy the outputs, because the next run overwrites them.
    return [{k: y.copy() for k, y in runner(**{k: batch[k] for k in asked}).items()} for batch in batches]


def onnx(saved_model: Path, batches: list[Arrays], folder: Path) -> list[Arrays]:
    import onnxruntime
    import tf2onnx

    model = tf.saved_model.load(str(saved_model))  # Keep the model, which owns the signature's variables.
    loaded = model.signatures["serving_default"]
    specs = list(loaded.structured_input_signature[1].values())
    function = tf.function(lambda *tensors: loaded(**dict(zip([s.name for s in specs], tensors))), autograph=False)
    proto, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=18)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    asked = [tensor.name for tensor in session.get_inputs()]
    names = sorted(loaded.structured_outputs)
    return [dict(zip(names, session.run(None, {name: batch[name] for name in asked}))) for batch in batches]


def openvino(saved_model: Path, batches: list[Arrays], folder: Path) -> list[Arrays]:
    import openvino

    core = openvino.Core()
    model = core.compile_model(core.read_model(saved_model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    asked = {name: port for port in model.inputs for name in port.names}
    outputs = {name: port for port in model.outputs for name in port.names}
    found = []
    for batch in batches:
        answer = model({asked[name]: array for name, array in batch.items() if name in asked})
        found.append({name: answer[port].copy() for name, port in outputs.items()})
    return found


# Readers of one model with all rows, and of portable exports, one for each row.
WHOLE: dict[str, Callable] = {
    "Python": python,
    "C": c,
    "saved_model_cli": saved_model_cli,
    "TFSMLayer": keras_layer,
    "gRPC": grpc,
    "REST": rest,
}
BY_ROW: dict[str, Callable] = {"TFLite": tflite, "ONNX": onnx, "OpenVINO": openvino}
