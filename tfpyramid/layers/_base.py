"""Base classes of the layers, checks of arguments that Keras defines, and calling and cloning of other layers."""

from __future__ import annotations

import copy
import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks, _level_checks, _plain
from tfpyramid._compat import NO_AUTOCAST, keras, shape_tuple
from tfpyramid.layers.protocols import saved_names
from tfpyramid.ops import batches


class BaseLayer(keras.layers.Layer):
    """A layer that checks its inputs, passes masks through and can hold weights that mixed precision does not cast.

    Args:
        **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        try:
            return super().from_config(config)
        except TypeError as error:
            # Keras 3 wraps the constructor's error in a long text about the whole configuration.
            if isinstance(error.__context__, ValueError):
                raise error.__context__ from None
            raise

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Check before Keras converts the inputs: its errors name no argument, and it drops the mask of an array.
        name = _first_argument(type(self))  # type: ignore[arg-type]  # Keras has no types.
        if not args and name in kwargs:
            args = (kwargs.pop(name),)  # Keras 3 would pass it by this name to `compute_output_spec`, too.
        if args:
            _check_inputs(name, args[0])
        return super().__call__(*args, **kwargs)

    def __dir__(self) -> list[str]:
        return saved_names(self, super().__dir__())

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        if "shape" in kwargs:
            _checks.weight_shape(kwargs.get("name", "weight"), kwargs["shape"])
        return super().add_weight(*args, **kwargs)

    def add_precise_weight(
        self, name: str, shape: Sequence[int | None], initializer: Any = "zeros", **kwargs: Any
    ) -> Any:
        """Add a weight that mixed precision does not cast, so that `call` and other methods read the same value."""
        return self.add_weight(name=name, shape=shape, initializer=initializer, **NO_AUTOCAST, **kwargs)

    def add_parameter(self, name: str, start: Any, *, trainable: bool = True) -> Any:
        """Add a small weight with a given start that mixed precision does not cast: 2.2 would be 2.1992 in float16."""
        start = np.asarray(start, np.float64)
        return self.add_precise_weight(
            name, start.shape, lambda shape, dtype=None: tf.constant(start, dtype), trainable=trainable
        )


@functools.cache
def _first_argument(layer: type) -> str:
    """Return the name of the first argument of a layer's `call`."""
    return list(inspect.signature(layer.call).parameters)[1]  # type: ignore[attr-defined]


def _check_inputs(name: str, inputs: Any) -> None:
    """Raise unless all inputs are dense tensors, arrays of numbers, or symbolic tensors."""
    parts = tf.nest.flatten(inputs)
    for part in parts:
        _plain.no_mask(name, part)
        is_tensor = hasattr(part, "shape") and hasattr(part, "dtype")
        # NumPy's kinds of objects, texts, dates and durations.
        is_not_numeric = is_tensor and getattr(part.dtype, "kind", None) in ("O", "S", "U", "M", "m")
        if not is_tensor or is_not_numeric or isinstance(part, (tf.RaggedTensor, tf.SparseTensor)):
            raise ValueError(
                f"`{name}` must be a tensor of numbers, or a list of such tensors. "
                f"Received: {name} of type {type(part if part is inputs else inputs).__name__}"
            )
    if not parts:
        raise ValueError(f"`{name}` must hold at least one tensor. {_checks.received(name, inputs)}")


class ImageLayer(BaseLayer):
    """A layer of floating point images [batch, height, width, channels], or of a list of them.

    Convention:
        A layer cannot check the range of its images. It raises an error if it is called on integers. But `predict` and
        `fit` cast uint8 images before any layer gets them, and the model then computes with 0 to 255. Convert images as
        in training first, for example with `tf.image.convert_image_dtype(images, tf.float32)`.

    Args:
        data_format: "channels_last", or None for Keras's global setting, which must be "channels_last".
        **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(self, *, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        given = keras.backend.image_data_format() if data_format is None else data_format
        self.data_format = _checks.data_format(given)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        """Check the dtype in Keras 3's symbolic call, which does not run `call`."""
        for tensor in inputs if isinstance(inputs, (list, tuple)) else [inputs]:
            _checks.floating("images", keras.backend.standardize_dtype(tensor.dtype))
        return super().compute_output_spec(inputs, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


def check_built(layer: keras.layers.Layer, name: str) -> None:
    """Raise unless the layer is built; `name` is the attribute or method that requires it."""
    if not layer.built:
        raise ValueError(
            f"`{name}` is available only after the layer is built. Call the layer on its inputs first. "
            "Received: built=False"
        )


def as_called(method: Callable) -> Callable:
    """Decorate a method of a layer to accept arrays, and to cast its inputs as Keras casts those of `call`."""
    name = list(inspect.signature(method).parameters)[1]

    @functools.wraps(method)
    def with_tensors(self: keras.layers.Layer, inputs: Any) -> Any:
        check_built(self, method.__name__)

        def cast(value: Any) -> tf.Tensor:
            tensor = _checks.floating_tensor(name, value)
            return tf.cast(tensor, self.compute_dtype) if getattr(self, "autocast", True) else tensor

        return method(self, tf.nest.map_structure(cast, inputs))

    return with_tensors


class TakesLevels(BaseLayer):
    """A layer that takes a list of levels, or a dict of them in the dict's order, finest first."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Convert the dict before Keras flattens it, because flattening sorts the keys.
        name = _first_argument(type(self))  # type: ignore[arg-type]  # Keras has no types.
        if not args and name in kwargs:
            args = (kwargs.pop(name),)
        if args and isinstance(args[0], Mapping):
            args = (_level_checks.level_list(args[0]), *args[1:])
        return super().__call__(*args, **kwargs)


def check_layer(name: str, layer: Any) -> keras.layers.Layer:
    """Return the layer that an argument is, or that it is the configuration of."""
    found = layer
    if isinstance(layer, dict) and "class_name" in layer:
        # A copy, because Keras removes entries from the configuration of a functional model.
        found = keras.saving.deserialize_keras_object(copy.deepcopy(layer))
    if not isinstance(found, keras.layers.Layer):
        raise ValueError(f"`{name}` must be an instance of keras.layers.Layer. {_checks.received(name, layer)}")
    return found


def check_activation(name: str, value: Any) -> Callable:
    """Return the activation function for a name, a configuration, a function or None."""
    rule = "the name of an activation of Keras, a function of one tensor, or None"
    found: Any = None if isinstance(value, type) else _get(keras.activations.get, name, value, rule)
    if not _plain.can_be_called(found, "x"):
        raise _rule_error(rule, name, value)
    return found


def check_initializer(name: str, value: Any) -> Callable:
    """Return the initializer for a name, a configuration or an object."""
    rule = "the name of an initializer of Keras, an initializer, or a function of (shape, dtype)"
    known = isinstance(value, (str, dict)) or callable(value)
    found: Any = _get(keras.initializers.get, name, value, rule) if known else None
    if isinstance(found, type) or not _plain.can_be_called(found, "shape", dtype=None):
        raise _rule_error(rule, name, value)
    return found


def check_regularizer(name: str, value: Any) -> Callable | None:
    """Return the regularizer for a name, a configuration or an object; None for None."""
    rule = "the name of a regularizer of Keras, a regularizer, a function of one tensor, or None"
    found = _get(keras.regularizers.get, name, value, rule)
    if value is not None and (isinstance(found, type) or not _plain.can_be_called(found, "weights")):
        raise _rule_error(rule, name, value)
    return found


def fresh_initializer(initializer: Callable) -> Callable:
    """Return a copy of an initializer, because one that is used twice draws the same numbers."""
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    return type(initializer).from_config(initializer.get_config())


def _get(get: Callable, name: str, value: Any, rule: str) -> Any:
    """Return `get(value)`, for one of Keras's `get` functions, and name the argument in its error."""
    try:
        return get(value)
    except Exception as error:  # The type of the error depends on the version of Keras and on the value.
        raise ValueError(f"{_rule_error(rule, name, value)}. Keras says: {_plain.first_line(error)}") from error


def _rule_error(rule: str, name: str, value: Any) -> ValueError:
    return ValueError(f"`{name}` must be {rule}. {_checks.received(name, value)}")


def build_layer(layer: keras.layers.Layer, shape: Sequence[int | None]) -> None:
    """Build a layer, unless it is built, for images of any size if possible, else for images of `shape`.

    Keras fixes the sides that a Sequential or a wrapper is built for and later rejects other sides, in some cases only
    after loading.
    """
    unknown = (None, None, None, shape[3])
    if layer.built:
        return
    if isinstance(layer, (keras.Sequential, keras.layers.Wrapper)) and _can_be_built(layer, unknown):
        shape = unknown
    layer.build(shape)


def _can_be_built(layer: keras.layers.Layer, shape: Sequence[int | None]) -> bool:
    """Tell whether a layer can be built for a shape without sides; the weights of a Dense after a Flatten need them.

    This builds a copy, because a failed `build` leaves a layer half built.
    """
    try:
        type(layer).from_config(layer.get_config()).build(shape)
    except Exception:  # An error of the layer itself is raised again when the layer is built.
        return False
    return True


def call_layer(layer: keras.layers.Layer, x: tf.Tensor, dtype: Any) -> tf.Tensor:
    """Return `layer(x)` for a layer with one input and one output; a floating result is cast to `dtype`.

    `x` may be an empty batch.
    """
    y = layer(x) if isinstance(layer, BaseLayer) else batches.call(layer, x)
    return tf.cast(y, dtype) if y.dtype.is_floating else y


def output_dtype(layer: keras.layers.Layer) -> tf.DType:
    """Return the dtype of a layer's output according to Keras: that of the last layer if it is a model of layers."""
    if isinstance(layer, keras.Sequential):
        return output_dtype(layer.layers[-1])
    outputs = getattr(layer, "outputs", None)
    return tf.as_dtype(outputs[0].dtype if outputs else layer.compute_dtype)


def output_shape(layer: keras.layers.Layer, shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Return the output shape of a layer, also for a Sequential and other sides than it was built for.

    Keras 3 computes the output shape of a Sequential only for those sides, so this goes through its layers.
    """
    if isinstance(layer, keras.Sequential):
        return functools.reduce(lambda each, part: output_shape(part, each), layer.layers, tuple(shape))
    return shape_tuple(layer.compute_output_shape(shape))


def clone(layer: keras.layers.Layer, index: int) -> keras.layers.Layer:
    """Return a layer with the same configuration, its own weights, and the index after its name."""
    with warnings.catch_warnings():
        # Keras 2 warns that it cannot save some functions. This configuration is not saved.
        warnings.filterwarnings("ignore", "The `keras.*serialize", UserWarning)
        config = layer.get_config()
    config["name"] = f"{layer.name}_{index}"
    # A configuration holds functions by name, and Keras finds only registered functions by their names.
    config.update({key: value for key in config if inspect.isfunction(value := getattr(layer, key, None))})
    return type(layer).from_config(config)
