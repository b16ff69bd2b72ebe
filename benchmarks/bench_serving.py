"""How many requests per second do the servers answer, how fast, and does their memory grow?

    pip install -e '.[readers]' matplotlib tqdm
    python benchmarks/bench_serving.py [--output FOLDER] [--quick]

The benchmark exports a small pyramid network and serves it by the two servers of examples/serving, one after the other,
on this machine. Eight clients send an image of 64 by 64 pixels repeatedly for 30 seconds, after 3 seconds of warm-up.
The status of every response is checked, and the first response of each client is compared with Keras. Clients and
server share the cores. Memory is the resident memory of the server, read twice per second. `--quick` sends requests for
one second.
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import grpc
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from tensorflow_serving.apis import predict_pb2
from tqdm import tqdm

from tfpyramid import layers
from tfpyramid.export import export_saved_model

sys.path.insert(0, str(common.FOLDER.parent / "examples" / "serving"))
import started  # noqa: E402

CLIENTS, SIDE = 8, 64
PREDICT = "/tensorflow.serving.PredictionService/Predict"
EDGES = np.geomspace(1, 10000, 81)  # Edges of the histogram, in milliseconds.
COLORS = {"gRPC": "#0072b2", "REST": "#d55e00"}

Ask = Callable[[], np.ndarray]


def main() -> None:
    options = common.parse_options(__doc__)
    seconds, warm_up = (1.0, 0.3) if options.quick else (30.0, 3.0)
    image = np.random.default_rng(0).random((1, SIDE, SIDE, 3), np.float32)
    model = build_model()
    expected = model(image).numpy()
    rows = []
    with tempfile.TemporaryDirectory() as folder, tqdm(total=2, unit="server") as bar:
        path = export_saved_model(model, Path(folder, "pyramid", "1"))
        for name, script, client in (("gRPC", "grpc_server.py", ask_grpc), ("REST", "rest_server.py", ask_rest)):
            with started.server(script, path, "pyramid") as (address, process):
                load(address, process.pid, client, image, expected, warm_up)
                rows.append({"server": name, **load(address, process.pid, client, image, expected, seconds)})
            bar.update()
    results = {"environment": common.environment("grpcio", "kserve"), "clients": CLIENTS, "results": rows}
    common.write_json(options.output / "results/serving.json", results)
    docs = common.FOLDER.parent / "docs" if options.output == common.FOLDER else options.output
    common.prepare(options.output, "serving")
    common.update_table(docs / ("serving.md" if docs.name == "docs" else "README.md"), "serving", markdown(rows))
    with common.written_aside(docs / "serving.png") as aside:
        figure(rows).savefig(aside, format="png")


def build_model() -> tf.keras.Model:
    """Return a model with a learned pyramid, features of each level, and a classifier of all features."""
    image = tf.keras.Input((None, None, 3), name="image")
    levels = layers.LearnablePyramid(num_levels=3, downsample=layers.LearnableDownsample2D())(image)
    x = layers.UpsampleConcat(target_level=1)(layers.PyramidConv2D(12, activation="relu")(levels))
    x = tf.keras.layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
    x = tf.keras.layers.GlobalMaxPooling2D()(x)
    return tf.keras.Model(image, tf.keras.layers.Dense(24, activation="softmax", name="label")(x))


def ask_grpc(address: str, image: np.ndarray) -> Ask:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "pyramid"
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(image))
    # By default, all channels to one address share a connection.
    channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
    call = channel.unary_unary(PREDICT, response_deserializer=predict_pb2.PredictResponse.FromString)
    message = request.SerializeToString()
    return lambda: tf.make_ndarray(call(message, timeout=60).outputs["label"])


def ask_rest(address: str, image: np.ndarray) -> Ask:
    connection = http.client.HTTPConnection(address, timeout=60)
    body = json.dumps({"instances": image.tolist()})

    def ask() -> np.ndarray:
        connection.request("POST", "/v1/models/pyramid:predict", body, {"content-type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"status {response.status}: {text[:200]!r}")
        return np.float32(json.loads(text)["predictions"])

    return ask


def load(
    address: str,
    pid: int,
    client: Callable[[str, np.ndarray], Ask],
    image: np.ndarray,
    expected: np.ndarray,
    seconds: float,
) -> dict[str, Any]:
    """Send requests from all clients for some seconds; return the results."""
    taken: list[list[float]] = [[] for _ in range(CLIENTS)]
    errors: list[str] = []
    ends: list[float] = []
    # The first response of a server is slow, so the time starts after it.
    ready = threading.Barrier(CLIENTS, lambda: ends.append(time.perf_counter() + seconds))

    def work(k: int) -> None:
        try:
            ask = client(address, image)
            np.testing.assert_allclose(ask(), expected, atol=1e-5)
            ready.wait(timeout=60)
            while time.perf_counter() < ends[0]:
                begun = time.perf_counter()
                ask()
                taken[k].append(1000 * (time.perf_counter() - begun))
        except Exception as error:  # Count every error.
            ready.abort()
            errors.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(CLIENTS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        memory.append([round(time.perf_counter() - begun, 2), resident(pid)])
        time.sleep(0.5)
    for thread in threads:
        thread.join()
    every = np.concatenate([np.array(each) for each in taken])
    if not every.size:
        raise RuntimeError(f"No request was answered. Received: {errors}")
    return {
        "requests": every.size,
        "per_second": round(every.size / seconds, 1),
        **{f"p{q}": round(float(np.percentile(every, q)), 2) for q in (50, 99)},
        "errors": errors,
        "memory": memory,
        "histogram": np.histogram(every, EDGES)[0].tolist(),
    }


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError(f"Process {pid} has ended.")


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        [
            row["server"],
            row["requests"],
            row["per_second"],
            row["p50"],
            row["p99"],
            len(row["errors"]),
            f"{row['memory'][0][1]:.0f} → {row['memory'][-1][1]:.0f}",
        ]
        for row in rows
    ]
    return common.table(["", "requests", "a second", "p50, ms", "p99, ms", "errors", "memory, MiB"], lines)


def figure(rows: list[dict[str, Any]]) -> Figure:
    """Return the figure: the times of requests at the left, the memory of the servers over time at the right."""
    page = Figure(figsize=(10, 4), dpi=100, facecolor="white", layout="constrained")
    left, right = page.subplots(1, 2)
    for row in rows:
        color, name = COLORS[row["server"]], row["server"]
        left.stairs(np.array(row["histogram"]) / row["requests"], EDGES, color=color, linewidth=2, label=name)
        left.axvline(row["p99"], color=color, linestyle="--", linewidth=1.2)
        right.plot(*zip(*row["memory"]), color=color, linewidth=2, label=name)
    left.set(xscale="log", xlabel="milliseconds; dashed: 99 of 100 are faster", ylabel="fraction of the requests")
    highest = max(memory for row in rows for _, memory in row["memory"])
    right.set(ylim=(0, 1.3 * highest), xlabel="seconds", ylabel="resident memory of the server, MiB")
    for axes in (left, right):
        axes.grid(color="#dddddd", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return page


if __name__ == "__main__":
    main()
