"""Every layer can run on a GPU: TensorFlow has a kernel for each of its operations, and none works against the GPU.

No test here needs a GPU. They read TensorFlow's registry of kernels, so they say nothing about speed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.python.util import _pywrap_kernel_registry

from tests.devices import determinism
from tests.devices.graphs import bodies, graph_of, layer_graph
from tests.devices.kernels import copies_to_host, described, gpu_kernel, lists_gpu_kernels
from tests.layer_cases import CASES, LayerCase, case_id
from tfpyramid import losses
from tfpyramid._compat import KERAS_3
from tfpyramid.ops import devices

pytestmark = [
    pytest.mark.skipif(not lists_gpu_kernels(), reason="this TensorFlow was built without kernels for GPUs"),
    pytest.mark.no_cover,
]

FIRST = {case.layer: case for case in reversed(CASES)}

# `Const dtype=string` is the message of an assertion. A CPU prints it.
WITHOUT_KERNEL = {"Const dtype=string"}

# Operations that raise an error on a GPU with `enable_op_determinism`, and why a layer has them.
NONDETERMINISTIC = {}
if not KERAS_3:
    NONDETERMINISTIC["FusedBatchNormGradV3"] = "Keras 2 fuses batch normalization; `FeaturePyramid` may have some"


def rows() -> Iterator:
    for case in CASES:
        for dtype in ("float32", "float16"):
            for sides in ("known", "unknown"):
                first = case is FIRST[case.layer]
                # The dtype and unknown sides change operations independently, so two pairs are enough for other cases.
                if not first and (dtype == "float16") != (sides == "unknown"):
                    continue
                fast = first and sides == "known"
                identifier = f"{case_id(case)}-{dtype}-{sides}"
                yield pytest.param(case, dtype, sides, id=identifier, marks=() if fast else pytest.mark.slow)


def complaints(graph: graph_pb2.GraphDef, *, largest: int | None = None) -> dict[str, set]:
    """Return what a GPU would do badly in a graph, or not at all.

    `largest` is the number of elements from which a copy to the host counts. Unknown sizes count as 16.
    """
    found: dict[str, set] = {"no kernel": set(), "copies in loops": set(), "nondeterministic": set(), "copies": set()}
    for body in bodies(graph):
        nodes = body.nodes.values()
        if body.on_cpu:
            continue
        found["no kernel"] |= {described(node) for node in nodes if gpu_kernel(node) is None} - WITHOUT_KERNEL
        raising = [node for node in nodes if determinism.raises(node) and node.op not in NONDETERMINISTIC]
        found["nondeterministic"] |= {described(node) for node in raising}
        for copy in copies_to_host(body):
            size = tf.TensorShape([n or 16 for n in copy.shape]).num_elements() if copy.shape.rank is not None else 0
            if body.in_loop:
                found["copies in loops"].add(f"{copy.writer} -> {copy.reader}")
            elif largest is not None and size >= largest:
                found["copies"].add(f"{copy.writer} -> {copy.reader} {copy.shape}")
    return {name: values for name, values in found.items() if values}


@pytest.mark.parametrize("case, dtype, sides", list(rows()))
@pytest.mark.slow
def test_a_gpu_runs_every_operation_of_a_layer_and_its_gradient(case: LayerCase, dtype: str, sides: str):
    batch, height, width, *_ = [*case.shapes()[0], 1, 1]
    largest = max(64, batch * height * width)
    assert complaints(layer_graph(case, dtype, unknown=sides == "unknown"), largest=largest) == {}


def test_a_loss_that_loops_over_levels_of_unknown_size_stays_on_the_host_between_them():
    loss = losses.MultiScaleLoss("mse")
    images = tf.TensorSpec([None, None, None, 3])

    def run(target: tf.Tensor, prediction: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(prediction)
            value = loss(target, [prediction])
        return tape.gradient(value, prediction)

    graph = graph_of(run, images, images)
    assert any(body.in_loop for body in bodies(graph))
    assert complaints(graph) == {}


@pytest.mark.slow
def test_tensorflow_finds_the_same_kernels():
    known = {}
    for case in FIRST.values():
        for body in bodies(layer_graph(case, "float16", unknown=False)):
            known |= {described(node): node for node in body.nodes.values()}
    for text, node in known.items():
        found = _pywrap_kernel_registry.TryFindKernelClass(on_gpu(node).SerializeToString())
        assert bool(found) == (gpu_kernel(node) is not None), text


def on_gpu(node: node_def_pb2.NodeDef) -> node_def_pb2.NodeDef:
    placed = node_def_pb2.NodeDef()
    placed.CopyFrom(node)
    placed.device = "/job:localhost/replica:0/task:0/device:GPU:0"
    return placed


def without_kernel(x: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.ResizeArea(images=tf.reshape(x, [1, 25, 4, 1]), size=[3, 3])


def copied_indices(x: tf.Tensor) -> tf.Tensor:
    return tf.gather(x, tf.cast(x, tf.int32) + 1)


def loop_that_asks_the_gpu(x: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda x: tf.reduce_sum(x) < 9, lambda x: [x + 1], [x])[0]


def nearest_neighbours(x: tf.Tensor) -> tf.Tensor:
    images = tf.reshape(x, [1, 25, 4, 1])
    return tf.gradients(tf.image.resize(images, [3, 3], "nearest"), x)[0]


def noise(x: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.RandomUniform(shape=[3], dtype=tf.float32)


def chosen_for_the_cpu(x: tf.Tensor) -> tf.Tensor:
    return devices.choose(
        lambda: tf.raw_ops.Bincount(arr=tf.cast(x, tf.int32), size=3, weights=x),
        lambda: tf.math.unsorted_segment_sum(x, tf.cast(x, tf.int32), 3),
    )


@pytest.mark.parametrize(
    "function, found",
    [
        (without_kernel, {"no kernel"}),
        (copied_indices, {"copies"}),
        (loop_that_asks_the_gpu, {"copies in loops"}),
        (nearest_neighbours, {"nondeterministic"}),
        (noise, {"nondeterministic"}),
        (chosen_for_the_cpu, set()),
    ],
)
def test_what_a_gpu_does_badly_is_found(function, found):
    assert set(complaints(graph_of(function, tf.TensorSpec([100])), largest=64)) == found
