"""load_saved_model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks, _plain
from tfpyramid.export._versions import newest_version


def load_saved_model(path: str | Path, *, signature: str = "serving_default") -> Callable[..., dict[str, tf.Tensor]]:
    """Load a SavedModel, from this package or any other, as a function of named inputs.

    Load only files that you trust: a graph can read and write files when it is called.

    Args:
        path: a SavedModel, or a folder of versions. The highest version is loaded, as in TensorFlow Serving.
        signature: the name of one of its signatures.

    Returns:
        A function that takes the inputs of the signature as keyword arguments and returns its outputs by name. Inputs
        are tensors or arrays with the rank, the known sizes and the kind of dtype of the signature. The function is
        differentiable.

    Raises:
        ValueError: `path` is not a complete SavedModel, or has no such signature. The function raises it if its inputs
            do not match the signature.

    Example:
        >>> taken = [tf.TensorSpec([None, None, 3], name="image")]
        >>> half = tf.function(lambda image: {"half": image / 2}, input_signature=taken)
        >>> tf.saved_model.save(tf.Module(), os.path.join(folder, "half", "1"), signatures=half)
        >>> answer = load_saved_model(os.path.join(folder, "half"))
        >>> tuple(answer(image=tf.ones([33, 47, 3]))["half"].shape)
        (33, 47, 3)
    """
    model, function = load_signature(path, signature)
    specs: dict[str, tf.TensorSpec] = dict(function.structured_input_signature[1])

    def answer(**inputs: Any) -> dict[str, tf.Tensor]:
        if set(inputs) != set(specs):
            raise ValueError(
                f"The inputs of the signature {signature!r} must be {sorted(specs)}. Received: {sorted(inputs)}"
            )
        return function(**{name: _fitting(name, value, specs[name]) for name, value in inputs.items()})

    answer.model = model  # type: ignore[attr-defined]
    return answer


def load_signature(path: str | Path, signature: str, argument: str = "path") -> tuple[Any, Any]:
    """Return a model and one of its signatures. Keep the model: its variables are deleted with it.

    Raises:
        ValueError: as in `load_saved_model`. The message names the `argument`.
    """
    found = _checks.path(argument, path)
    try:
        found = resolve(found)
        model = tf.saved_model.load(found)
    except Exception as error:  # TensorFlow, Python and protocol buffers raise many kinds.
        raise ValueError(
            f"`{argument}` must be a complete SavedModel, or a folder of numbered ones. "
            f"Received: {argument}={found!r}, which raised: {_plain.first_line(error)}"
        ) from error
    if not isinstance(signature, str) or signature not in model.signatures:
        raise ValueError(
            f"`signature` must be one of {sorted(model.signatures)} in {found!r}. "
            f"{_checks.received('signature', signature)}"
        )
    return model, model.signatures[signature]


def resolve(path: str | Path) -> str:
    """Return `path`, or its folder of the highest version if it is no SavedModel itself."""
    # Pass TensorFlow the text, because `Path` turns "gs://models" into "gs:/models".
    found = os.fspath(path)
    return found if tf.saved_model.contains_saved_model(found) else str(newest_version(Path(path)) or found)


def _fitting(name: str, value: Any, spec: tf.TensorSpec) -> tf.Tensor:
    """Return `value` as a tensor with the dtype and shape that a signature takes."""
    try:
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError("a masked array: the model would ignore the mask")
        tensor = value if tf.is_tensor(value) else tf.convert_to_tensor(np.asarray(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"`{name}` must be {spec.dtype.name} of shape {spec.shape}. "
            f"Received: {type(value).__name__}, which raised: {error}"
        ) from error
    # Refuse integers for floating point: bytes in place of numbers from 0 to 1 would give wrong outputs.
    same_kind = tensor.dtype == spec.dtype or (
        tensor.dtype.is_floating == spec.dtype.is_floating and tf.string not in (tensor.dtype, spec.dtype)
    )
    if not same_kind or not spec.shape.is_compatible_with(tensor.shape):
        raise ValueError(
            f"`{name}` must be {spec.dtype.name} of shape {spec.shape}. "
            f"Received: {tensor.dtype.name} of shape {tensor.shape}"
        )
    return tf.cast(tensor, spec.dtype) if tensor.dtype != spec.dtype else tensor
