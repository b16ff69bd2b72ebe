"""The kernels that TensorFlow would run on a GPU, and the memory that they read and write.

The registry of kernels is part of TensorFlow's library, so on any machine it lists the kernels for GPUs that the wheel
was built with. A kernel for a GPU may keep tensors in the memory of the host: TensorFlow computes shapes there, and all
arithmetic of int32. Where a kernel reads a tensor from the other memory, TensorFlow copies it. A copy to the host waits
until the GPU has computed the tensor.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import tensorflow as tf
from tensorflow.core.framework import kernel_def_pb2, node_def_pb2, op_def_pb2, types_pb2
from tensorflow.python.framework import kernels, op_def_registry

from tests.devices.graphs import Body

# TensorFlow keeps these in the memory of the host, and int32 at the borders of functions.
_ON_HOST = (types_pb2.DT_STRING, types_pb2.DT_RESOURCE, types_pb2.DT_VARIANT)
_BRANCHES = ("Case", "If", "StatelessCase", "StatelessIf")
# These hand tensors on to functions. A placeholder is the argument of a function.
_BORDERS = (*_BRANCHES, "PartitionedCall", "Placeholder", "StatefulPartitionedCall", "StatelessWhile", "While")


class Copy(NamedTuple):
    """A copy of a tensor to the host: the operations that write and read it, and its shape, if it is known."""

    writer: str
    reader: str
    shape: tf.TensorShape


@functools.cache
def _registry() -> dict[str, list[kernel_def_pb2.KernelDef]]:
    """Return the kernels that may run on a GPU by operation.

    Kernels for the device "DEFAULT", which are last, run on devices that have no kernel of their own.
    """
    found: dict = collections.defaultdict(list)
    every = kernels.get_all_registered_kernels().kernel
    for device in ("GPU", "DEFAULT"):
        for kernel in every:
            if kernel.device_type == device:
                found[kernel.op].append(kernel)
    return found


def lists_gpu_kernels() -> bool:
    """Return whether this TensorFlow was built with kernels for GPUs."""
    return any(kernel.device_type == "GPU" for kernel in _registry()["MatMul"])


def gpu_kernel(node: node_def_pb2.NodeDef) -> kernel_def_pb2.KernelDef | None:
    """Return the kernel that runs an operation on a GPU, or None if there is none for its dtypes."""
    values = ((name, node.attr[name]) for name in _constrained(node.op))
    attributes = tuple((name, (value.s, tuple(value.list.type or [value.type]))) for name, value in values)
    return _first_that_allows(node.op, node.attr["_kernel"].s.decode(), attributes)


@functools.cache
def _constrained(op: str) -> list[str]:
    """Return the attributes of an operation that decide which kernel runs."""
    return sorted({constraint.name for kernel in _registry()[op] for constraint in kernel.constraint})


@functools.cache
def _first_that_allows(
    op: str, label: str, attributes: tuple[tuple[str, tuple[bytes, tuple[int, ...]]], ...]
) -> kernel_def_pb2.KernelDef | None:
    values = dict(attributes)

    def allows(constraint: kernel_def_pb2.KernelDef.AttrConstraint) -> bool:
        allowed, (text, dtypes) = constraint.allowed_values.list, values[constraint.name]
        return text in allowed.s if allowed.s else set(dtypes) <= set(allowed.type)

    matching = (k for k in _registry()[op] if k.label == label and all(allows(c) for c in k.constraint))
    return next(matching, None)


def copies_to_host(body: Body) -> Iterator[Copy]:
    """Yield the tensors that TensorFlow would copy to the host if a GPU ran a body."""
    on_host = {name: _at_borders(dtype) for name, dtype in body.arguments.items()}
    reads = []
    for node in body.nodes.values():
        inputs, outputs = _memory(node)
        edges = [edge for edge in node.input if not edge.startswith("^")]
        reads += [(edge, node.op) for edge, host in zip(edges, inputs, strict=True) if host]
        for k, (name, host) in enumerate(outputs):
            # Edges of a graph count the outputs, and edges of a function name them.
            on_host |= {f"{node.name}:{k}": host, f"{node.name}:{name}": host}
            if k == 0:
                on_host[node.name] = host
    reads += [(edge, "the caller") for dtype, edge in body.results if _at_borders(dtype)]
    if body.is_condition:
        reads += [(_without_identities(edge, body), "the loop") for _, edge in body.results]
    for edge, reader in reads:
        if not on_host[edge]:
            name, *_, index = [*edge.split(":"), "0"][:3] if ":" in edge else (edge, "0")
            writer = body.nodes.get(name)
            shapes = writer.attr["_output_shapes"].list.shape if writer else []
            shape = tf.TensorShape(shapes[int(index)] if int(index) < len(shapes) else None)
            yield Copy(writer.op if writer else "argument", reader, shape)


def _without_identities(edge: str, body: Body) -> str:
    """Return the tensor that an edge repeats. TensorFlow adds an identity to each result, and optimizes it away."""
    name = edge.split(":")[0]
    while name in body.nodes and body.nodes[name].op == "Identity":
        edge = body.nodes[name].input[0]
        name = edge.split(":")[0]
    return edge


def _memory(node: node_def_pb2.NodeDef) -> tuple[list[bool], list[tuple[str, bool]]]:
    """Return for each input whether it is in the memory of the host, and the same for each output, with its name."""
    operation = op_def_registry.get(node.op)
    kernel = None if node.op in _BORDERS else gpu_kernel(node)

    def is_on_host(name: str, dtype: int) -> bool:
        if kernel is None:
            return _at_borders(dtype)
        return dtype in _ON_HOST or name in kernel.host_memory_arg

    inputs = [is_on_host(name, dtype) for name, _, dtype in _tensors(operation.input_arg, node)]
    if node.op in _BRANCHES:
        inputs[0] = True  # The host chooses the branch.
    return inputs, [(f"{name}:{k}", is_on_host(name, dtype)) for name, k, dtype in _tensors(operation.output_arg, node)]


def _at_borders(dtype: int) -> bool:
    """Return whether tensors of a dtype enter and leave functions in the memory of the host."""
    return dtype == types_pb2.DT_INT32 or dtype in _ON_HOST


def _tensors(
    arguments: Iterable[op_def_pb2.OpDef.ArgDef], node: node_def_pb2.NodeDef
) -> Iterator[tuple[str, int, int]]:
    """Yield the argument, the index in it and the dtype of each tensor that an operation takes or returns."""
    for argument in arguments:
        if argument.type_list_attr:
            dtypes = list(node.attr[argument.type_list_attr].list.type)
        else:
            dtype = node.attr[argument.type_attr].type if argument.type_attr else argument.type
            dtypes = [dtype] * (node.attr[argument.number_attr].i if argument.number_attr else 1)
        yield from ((argument.name, k, dtype) for k, dtype in enumerate(dtypes))


def described(node: node_def_pb2.NodeDef) -> str:
    """Return an operation and its dtypes, such as "MatMul T=float32"."""
    values = ((key, value.list.type or [value.type]) for key, value in sorted(node.attr.items()))
    named = (f"{key}={','.join(tf.as_dtype(d).name for d in dtypes)}" for key, dtypes in values if any(dtypes))
    return " ".join([node.op, *named])
