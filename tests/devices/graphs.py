"""The operations of a graph and of all functions that it reaches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import tensorflow as tf
from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2

from tests.check_layer.running import built, call
from tests.layer_cases import LayerCase
from tfpyramid._compat import KERAS_3

_LOOPS = ("While", "StatelessWhile")
_BRANCHES = ("Case", "StatelessCase")


@dataclasses.dataclass(frozen=True)
class Body:
    """A graph or a function.

    Attributes:
        nodes: its operations by name.
        arguments: dtypes of the function's arguments by name.
        results: dtype of each result of the function, and the edge that is returned.
        in_loop: whether it runs inside a loop.
        is_condition: whether it is the condition of a loop, whose result the host reads.
        on_cpu: whether it runs only on a CPU: it is the first branch of a `tf.switch_case` that depends on the device.
    """

    nodes: dict[str, node_def_pb2.NodeDef]
    arguments: dict[str, int] = dataclasses.field(default_factory=dict)
    results: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    in_loop: bool = False
    is_condition: bool = False
    on_cpu: bool = False


def layer_graph(case: LayerCase, dtype: str, *, unknown: bool) -> graph_pb2.GraphDef:
    """Return the graph of a layer's outputs and all gradients of their sum.

    With `unknown`, the size of the batch is unknown, and the sides of the images where the layer allows it.
    """
    layer = built(case, dtype)
    shapes = [(None, *shape) for shape in case.symbolic_shapes()] if unknown else case.shapes()

    def run(*values: tf.Tensor) -> list:
        with tf.GradientTape() as tape:
            tape.watch(values)
            outputs = call(case, layer, list(values))
            objective = tf.add_n([tf.reduce_sum(y) for y in outputs])
        weights = [w.value if KERAS_3 else w for w in layer.trainable_weights]
        return [*outputs, *(g for g in tape.gradient(objective, [*values, *weights]) if g is not None)]

    return graph_of(run, *(tf.TensorSpec(shape, layer.compute_dtype) for shape in shapes))


def graph_of(function: Callable, *specs: tf.TensorSpec) -> graph_pb2.GraphDef:
    """Return the graph of a function, with the functions that it calls and the shapes of all tensors."""
    concrete = tf.function(function, autograph=False).get_concrete_function(*specs)
    return concrete.graph.as_graph_def(add_shapes=True)


def bodies(graph: graph_pb2.GraphDef) -> Iterator[Body]:
    """Yield the graph and each function that it reaches, once for each of the ways that it runs."""
    library = {function.signature.name: function for function in graph.library.function}
    waiting, known = [Body({node.name: node for node in graph.node})], set()
    while waiting:
        body = waiting.pop()
        yield body
        for node in body.nodes.values():
            for name, use in _called(node, body):
                if name in library and (name, *use.values()) not in known:
                    known.add((name, *use.values()))
                    waiting.append(_body(library[name], **use))


def _body(function: function_pb2.FunctionDef, **use: bool) -> Body:
    signature = function.signature
    return Body(
        {node.name: node for node in function.node_def},
        {argument.name: argument.type for argument in signature.input_arg},
        [(result.type, function.ret[result.name]) for result in signature.output_arg],
        **use,
    )


def _called(node: node_def_pb2.NodeDef, body: Body) -> Iterator[tuple[str, dict[str, bool]]]:
    """Yield the name of each function that an operation calls, and how the function is used."""
    for key, value in node.attr.items():
        for k, function in enumerate([value.func] if value.HasField("func") else value.list.func):
            first = k == 0 and node.op in _BRANCHES and _depends_on_device(node.input[0], body)
            yield (
                function.name,
                {
                    "in_loop": body.in_loop or node.op in _LOOPS,
                    "is_condition": key == "cond" and node.op in _LOOPS,
                    "on_cpu": body.on_cpu or first,
                },
            )


def _depends_on_device(edge: str, body: Body) -> bool:
    """Return whether a tensor is computed from the index of the device that runs the graph."""
    waiting, known = [edge], set()
    while waiting:
        name = waiting.pop().split(":")[0]
        if name in body.nodes and name not in known:
            known.add(name)
            if body.nodes[name].op == "DeviceIndex":
                return True
            waiting += body.nodes[name].input
    return False
