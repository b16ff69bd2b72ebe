"""The one place that knows which Keras this is.

Three are supported from one source: Keras 3 on its TensorFlow backend (the default), Keras 2.15 (with
TensorFlow 2.15, the `addons` extra), and `tf_keras`, which is Keras 2 for a current TensorFlow and is chosen, as
TensorFlow itself chooses it, by `TF_USE_LEGACY_KERAS=1`. Everything else in the package imports `keras` from here.
"""

import contextlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

_LEGACY = os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true")
_BACKEND_RULE = (
    "tfpyramid is made of TensorFlow operations and needs Keras on its TensorFlow backend: "
    "set KERAS_BACKEND=tensorflow before Keras is imported. Received: KERAS_BACKEND={!r}"
)

# Asked before the import too: with another backend that is not installed, `import keras` itself fails, less clearly.
if not _LEGACY and os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
    raise ImportError(_BACKEND_RULE.format(os.environ["KERAS_BACKEND"]))

if _LEGACY:
    import tf_keras as keras
else:
    import keras

KERAS_3 = int(keras.__version__.split(".")[0]) >= 3

if KERAS_3 and keras.config.backend() != "tensorflow":
    raise ImportError(_BACKEND_RULE.format(keras.config.backend()))

# What makes `add_weight` keep a weight's own dtype under mixed precision.
NO_AUTOCAST: dict[str, Any] = {"autocast" if KERAS_3 else "experimental_autocast": False}

# Registered names end up in saved files: a rename breaks the files of every user.
register = keras.saving.register_keras_serializable(package="tfpyramid")


def write_saved_model(
    model: keras.Model, endpoints: Mapping[str, tuple[Callable, Sequence[tf.TensorSpec]]], path: Path
) -> None:
    """Write a SavedModel of functions that call `model` and what they take; the first is "serving_default" too."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, (function, specs) in endpoints.items():
        # Traced here once; the archive would do it twice.
        traced = tf.function(function, autograph=False).get_concrete_function(*specs)
        archive.add_endpoint(name, _plain(traced), input_signature=list(specs))
    if KERAS_3:
        archive.write_out(str(path), verbose=False)
    else:
        with contextlib.redirect_stdout(io.StringIO()):  # Keras 2 cannot be asked not to print.
            archive.write_out(str(path))


def _plain(function: Callable) -> Callable:
    # The archive takes no concrete function, and would take an argument with a default for an input.
    return lambda *inputs: function(*inputs)


def shape_tuple(shape: object) -> tuple[int | None, ...]:
    """Return one shape as a tuple, from the tuple, list or `TensorShape` that some Keras passes."""
    return tuple(tf.TensorShape(shape).as_list())


def producer(tensor: Any) -> keras.layers.Layer:
    """Return the layer that a symbolic tensor comes out of."""
    history = tensor._keras_history
    return history.operation if KERAS_3 else history.layer


def first_call_shapes(model: keras.Model) -> Any:
    """Return the shape of the argument that a subclassed model was first called with, or the structure of shapes.

    None if it was not called, or on several arguments.
    """
    return (model.get_build_config() or {}).get("input_shape")


def seed_generator(seed: int | None) -> Any:
    """Return what `next_seed` draws from: reproducible for a seed, which None chooses at random."""
    if KERAS_3:
        return keras.random.SeedGenerator(seed)
    return tf.random.Generator.from_non_deterministic_state() if seed is None else tf.random.Generator.from_seed(seed)


def next_seed(generator: Any) -> tf.Tensor:
    """Return two integers, others at each run of the graph too."""
    return tf.cast(generator.next(), tf.int32) if KERAS_3 else generator.make_seeds(1)[:, 0]


# What the constructor of `keras.optimizers.Optimizer` wants of one that has no learning rate of its own.
NO_LEARNING_RATE: dict[str, Any] = {"learning_rate": 0.0} if KERAS_3 else {"jit_compile": False}


def nested_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return a layer or model and all layers inside it, at any depth, each once."""
    return list(dict.fromkeys(layer._flatten_layers()))


def track_list(layer: keras.layers.Layer, name: str) -> None:
    """Let `tf.train.Checkpoint` find the layers or weights in the list `layer.<name>`.

    Keras 3 replaces a list that is assigned to a layer by a list of its own, which TensorFlow does not look into. An
    attribute for each part would give the part a second name in Keras's own files. So TensorFlow alone is told of an
    object that has the parts as children, under the names that Keras 2 gives them: `<name>/0`, `<name>/1`, ...
    """
    if KERAS_3:
        parts = tf.Module()
        for k, part in enumerate(getattr(layer, name)):
            setattr(parts, str(k), part)
        layer._track_trackable(parts, name, overwrite=True)


def variable_name(variable: Any) -> str:
    """Return what tells a variable from others of its model, as far as this Keras can say."""
    return variable.path if KERAS_3 else variable.name


def raw(variable: Any) -> Any:
    """Return TensorFlow's own variable, which a tape can be asked for; a tensor is what it is."""
    return variable.value if KERAS_3 and isinstance(variable, keras.Variable) else variable


def training_loss(model: keras.Model, x: Any, y: Any, sample_weight: Any = None) -> tf.Tensor:
    """Return the loss of a compiled model on a batch, in training mode, what layers add included."""
    predictions = model(x, training=True)
    extra = {"training": True} if KERAS_3 else {}
    return model.compute_loss(x, y, predictions, sample_weight, **extra)
