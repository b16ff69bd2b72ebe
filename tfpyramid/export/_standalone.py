"""Decide whether a SavedModel, loaded in this process, can use Python code of this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

# TensorFlow has no public function to look up or forget a gradient. Without this name, every gradient counts as
# TensorFlow's, and those that are loaded stay in memory.
_REGISTRY = getattr(tf.RegisterGradient.__call__, "__globals__", {}).get("gradient_registry")

_CALL_PYTHON = {"EagerPyFunc", "PyFunc", "PyFuncStateless"}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_OBJECTS = {"signature_map", "trackable_dict_wrapper", "trackable_list_wrapper", "trackable_tuple_wrapper"}


def found_in_process(path: Path) -> set[str]:
    """Return what in the SavedModel at `path` refers to something that only this process may have.

    `tf.saved_model.load` builds everything from the files, and gives all functions and resources new names. It takes
    from the process only what the files name: the operations and their gradients, and the classes of objects. The
    result holds the names of those that another process with TensorFlow alone may lack, or define differently. If it is
    empty, the outputs and gradients in this process are those of any process.
    """
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((path / "saved_model.pb").read_bytes())
    return set(itertools.chain.from_iterable(map(_of_graph, model.meta_graphs)))


def forget_gradients(model: Any) -> None:
    """Remove the gradients that `tf.saved_model.load` registered under new names for `model`, which is not used again.

    TensorFlow would keep them, and with them the graph, as long as the process runs.
    """
    for signature in model.signatures.values():
        graph = signature.graph.as_graph_def()
        for name in _gradients(_nodes(graph)):
            getattr(_REGISTRY, "_registry", {}).pop(name, None)


def _nodes(graph: Any) -> Iterator[Any]:
    return itertools.chain(graph.node, *(function.node_def for function in graph.library.function))


def _gradients(nodes: Iterable[Any]) -> Iterator[str]:
    """Yield the names under which the gradients of the nodes are registered, where they differ from the operation's."""
    # The gradient of a call is that of its function, whatever its name.
    named = (node for node in nodes if "_gradient_op_type" in node.attr and node.op not in _CALLS)
    return (node.attr["_gradient_op_type"].s.decode() for node in named)


def _of_graph(graph: Any) -> Iterator[str]:
    library = graph.graph_def.library
    functions = {function.signature.name for function in library.function}
    saved_gradients = {gradient.registered_op_type for gradient in library.registered_gradients}
    yield from set(_gradients(_nodes(graph.graph_def))) - saved_gradients
    for operation in {node.op for node in _nodes(graph.graph_def)} - functions:
        # Operations of other libraries are not in `tf.raw_ops`.
        if operation in _CALL_PYTHON or not hasattr(tf.raw_ops, operation) or not _has_own_gradient(operation):
            yield operation
    # An object of a class that is not registered is loaded as an object without methods.
    classes = set(tf.__internal__.saved_model.load.registered_identifiers()) - _OBJECTS
    for node in graph.object_graph_def.nodes:
        for name in (node.registered_name, node.registered_saver):
            if name and not name.startswith("tf."):  # TensorFlow registers its own classes in the package "tf".
                yield name
        if node.user_object.identifier in classes:
            yield node.user_object.identifier


def _has_own_gradient(operation: str) -> bool:
    """Return whether TensorFlow itself defines the gradient of one of its operations, or that there is none."""
    try:
        gradient = None if _REGISTRY is None else _REGISTRY.lookup(operation)
    except LookupError:
        return True
    return gradient is None or getattr(gradient, "__module__", "").partition(".")[0] == "tensorflow"
