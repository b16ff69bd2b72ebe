"""The only module that depends on which Keras is installed.

The package supports three: Keras 3 with its TensorFlow backend (the default), Keras 2.15 (with TensorFlow 2.15, the
`addons` extra), and `tf_keras`, which is Keras 2 for a current TensorFlow. The environment variable
`TF_USE_LEGACY_KERAS=1` selects `tf_keras`, as it does for TensorFlow. All other modules import `keras` from here.
"""

import contextlib
import io
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

_LEGACY = os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true")
_BACKEND_RULE = (
    "tfpyramid requires Keras with its TensorFlow backend, because its layers run TensorFlow operations. "
    "Set KERAS_BACKEND=tensorflow before Keras is imported. Received: KERAS_BACKEND={!r}"
)

# Check this before the import too: if another backend is selected but not installed, `import keras` fails with a less
# helpful error.
if not _LEGACY and os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
    raise ImportError(_BACKEND_RULE.format(os.environ["KERAS_BACKEND"]))

if _LEGACY:
    import tf_keras as keras
else:
    import keras

KERAS_3 = int(keras.__version__.split(".")[0]) >= 3

if KERAS_3 and keras.config.backend() != "tensorflow":
    raise ImportError(_BACKEND_RULE.format(keras.config.backend()))

# Arguments with which `add_weight` keeps the dtype of a weight under mixed precision.
NO_AUTOCAST: dict[str, Any] = {"autocast" if KERAS_3 else "experimental_autocast": False}

# Saved files contain registered names, so renaming a class breaks the files of users.
register = keras.saving.register_keras_serializable(package="tfpyramid")


def write_saved_model(
    model: keras.Model, endpoints: Mapping[str, tuple[Callable, Sequence[tf.TensorSpec]]], path: Path
) -> None:
    """Write a SavedModel with functions that call `model`, and their inputs; the first is "serving_default" too."""
    archive = keras.export.ExportArchive()
    if KERAS_3:
        # Track the parts that the functions need, because for a model the archive would trace the model again.
        for name in ("variables", "trainable_variables", "non_trainable_variables"):
            archive.add_variable_collection(name, getattr(model, name))
        for part in tf.train.TrackableView(model).descendants():
            if isinstance(part, tf.saved_model.experimental.TrackableResource):
                archive.track(part)
    else:
        archive.track(model)
    for name, (function, specs) in endpoints.items():
        # Trace once here; the archive would trace twice.
        traced = tf.function(function, autograph=False).get_concrete_function(*specs)
        archive.add_endpoint(name, _plain(traced), input_signature=list(specs))
    if KERAS_3:
        archive.write_out(str(path), verbose=False)
    else:
        with contextlib.redirect_stdout(io.StringIO()):  # Keras 2 has no option not to print.
            archive.write_out(str(path))


def _plain(function: Callable) -> Callable:
    # The archive refuses concrete functions, and would treat an argument with a default as an input.
    return lambda *inputs: function(*inputs)


def shape_tuple(shape: object) -> tuple[int | None, ...]:
    """Return a shape as a tuple; depending on its version, Keras passes a tuple, a list or a `TensorShape`."""
    return tuple(tf.TensorShape(shape).as_list())


def producer(tensor: Any) -> keras.layers.Layer:
    """Return the layer that computes a symbolic tensor."""
    history = tensor._keras_history
    return history.operation if KERAS_3 else history.layer


def graph_nodes(outputs: Iterable[Any]) -> list:
    """Return the nodes of the graph that computes symbolic tensors, inputs too; a node is one call of a layer.

    They are ordered by the number of layers between the inputs and the node, so each comes after those that it reads.
    """
    depth: dict[int, int] = {}
    nodes: dict[int, Any] = {}
    waiting = [_node_of(tensor) for tensor in outputs]
    while waiting:
        node = waiting[-1]
        parents = {id(each): each for each in map(_node_of, node_inputs(node))}
        missing = [parent for key, parent in parents.items() if key not in depth]
        if not missing:
            nodes[id(node)] = waiting.pop()
            depth[id(node)] = 1 + max((depth[key] for key in parents), default=0)
        waiting += missing
    return sorted(nodes.values(), key=lambda node: depth[id(node)])


def _node_of(tensor: Any) -> Any:
    return producer(tensor)._inbound_nodes[tensor._keras_history.node_index]


def node_name(node: Any) -> str:
    """Return the name of the layer of a node."""
    return (node.operation if KERAS_3 else node.layer).name


def node_inputs(node: Any) -> list:
    """Return the symbolic tensors that a node reads, anywhere among its arguments."""
    return list(node.input_tensors if KERAS_3 else node.keras_inputs) if not node.is_input else []


def node_outputs(node: Any) -> list:
    """Return the symbolic tensors that a node computes."""
    return tf.nest.flatten(node.outputs)


def node_shapes(node: Any, shapes: Mapping[int, tuple]) -> list[tuple[int | None, ...]]:
    """Return the shapes of the outputs of a node for other shapes of its inputs, given by the `id` of an input."""
    if KERAS_3:
        tensors = {id(x): keras.KerasTensor(shapes[id(x)], x.dtype) for x in node.input_tensors}
        args, kwargs = node.arguments.fill_in(tensors)
        return [shape_tuple(y.shape) for y in tf.nest.flatten(node.operation.compute_output_spec(*args, **kwargs))]

    @tf.function(autograph=False)
    def called(tensors: dict[str, tf.Tensor]) -> Any:
        # Keras 2 takes one tensor from the list for each place among the arguments.
        args, kwargs = node.map_arguments({key: [x] * len(node.keras_inputs) for key, x in tensors.items()})
        return node.layer(*args, **kwargs)

    first = node.call_args[0] if node.call_args else None
    has_formula = type(node.layer).compute_output_shape is not keras.layers.Layer.compute_output_shape
    if has_formula and [id(x) for x in tf.nest.flatten(first)] == [id(x) for x in node.keras_inputs]:
        found = node.layer.compute_output_shape(tf.nest.map_structure(lambda x: tf.TensorShape(shapes[id(x)]), first))
        return [shape_tuple(shape) for shape in tf.nest.flatten(tf.nest.map_structure(tf.TensorShape, found))]
    specs = {str(id(x)): tf.TensorSpec(shapes[id(x)], x.dtype) for x in node.keras_inputs}
    return [shape_tuple(y.shape) for y in tf.nest.flatten(called.get_concrete_function(specs).structured_outputs)]


def first_call_shapes(model: keras.Model) -> Any:
    """Return the shape, or structure of shapes, of the argument with which a subclassed model was first called.

    None if the model was not called, or was called with several arguments.
    """
    return (model.get_build_config() or {}).get("input_shape")


def seed_generator(seed: int | None) -> Any:
    """Return a generator for `next_seed`, reproducible for a given seed; None means a random seed."""
    if KERAS_3:
        return keras.random.SeedGenerator(seed)
    # Like Keras 3, draw a seed from Python's generator, which `keras.utils.set_random_seed` makes reproducible.
    return tf.random.Generator.from_seed(random.randrange(2**31) if seed is None else seed)


def next_seed(generator: Any) -> tf.Tensor:
    """Return two integers, new ones at each call and each run of a graph."""
    return tf.cast(generator.next(), tf.int32) if KERAS_3 else generator.make_seeds(1)[:, 0]


# Arguments for the constructor of a `keras.optimizers.Optimizer` that has no learning rate of its own.
NO_LEARNING_RATE: dict[str, Any] = {"learning_rate": 0.0} if KERAS_3 else {"jit_compile": False}


def build_optimizer(model: keras.Model) -> None:
    """Create the variables of a compiled model's optimizer outside of any graph, as Keras 2 always does."""
    optimizer = model.optimizer
    if KERAS_3 and optimizer is not None and not optimizer.built:
        with model.distribute_strategy.scope():
            optimizer.build(model.trainable_variables)


def nested_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return a layer or model and all layers inside it, at any depth, without repetitions."""
    return list(dict.fromkeys(layer._flatten_layers()))


def track_list(layer: keras.layers.Layer, name: str) -> None:
    """Let `tf.train.Checkpoint` find the layers or weights in the list `layer.<name>`.

    Keras 3 replaces a list that is assigned to a layer by its own list type, which TensorFlow does not search. An
    attribute for each part would give the part a second name in Keras's files. So only TensorFlow tracks an object that
    has the parts as children, under the names that Keras 2 gives them: `<name>/0`, `<name>/1`, ...
    """
    if KERAS_3:
        parts = tf.Module()
        for k, part in enumerate(getattr(layer, name)):
            setattr(parts, str(k), part)
        layer._track_trackable(parts, name, overwrite=True)


def variable_name(variable: Any) -> str:
    """Return the name of a variable: unique within its model in Keras 3, but not in Keras 2."""
    return variable.path if KERAS_3 else variable.name


def raw(variable: Any) -> Any:
    """Return the TensorFlow variable of a Keras variable, for a gradient tape; return other values unchanged."""
    return variable.value if KERAS_3 and isinstance(variable, keras.Variable) else variable


def training_loss(model: keras.Model, x: Any, y: Any, sample_weight: Any = None) -> tf.Tensor:
    """Return the loss of a compiled model on a batch, in training mode, including the losses that layers add."""
    predictions = model(x, training=True)
    extra = {"training": True} if KERAS_3 else {}
    return model.compute_loss(x, y, predictions, sample_weight, **extra)


def loss_metrics(names: Sequence[str]) -> list[keras.metrics.Mean]:
    """Return metrics for the parts of the loss of a model that computes it alone, then one for the whole if needed.

    Keras 3 reports the whole itself; Keras 2 does so only for a loss that was given to `compile`.
    """
    return [keras.metrics.Mean(name=name) for name in (*names, *(() if KERAS_3 else ("loss",)))]


def compiled_arguments(model: keras.Model) -> list[str]:
    """Return which of `loss` and `metrics` were given to `compile`."""
    if KERAS_3:
        given = {"loss": model._compile_loss, "metrics": model._compile_metrics}
    else:
        metrics = getattr(model, "compiled_metrics", None)
        given = {"loss": getattr(model, "loss", None), "metrics": metrics and metrics._user_metrics}
    return [name for name, value in given.items() if value]


class Call(NamedTuple):
    """A call of a layer in the graph of a model: its arguments, and all symbolic tensors among them and its results."""

    layer: Any
    args: Sequence
    kwargs: Mapping[str, Any]
    inputs: list
    outputs: list


def graph_calls(model: keras.Model) -> list[Call]:
    """Return the calls in the graph of a functional or sequential model, each after those whose results it takes.

    A model inside it is one layer. The list is empty for a model without a graph.
    """
    calls = []
    for node in graph_nodes(getattr(model, "outputs", None) or []):
        if node.is_input:
            continue
        if KERAS_3:
            parts = node.operation, node.arguments.args, node.arguments.kwargs
        else:
            parts = node.layer, node.call_args, node.call_kwargs
        calls.append(Call(*parts, node_inputs(node), node_outputs(node)))
    return calls
