"""load_saved_model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.export._versions import newest_version


def load_saved_model(path: str | Path, *, signature: str = "serving_default") -> Callable[..., dict[str, tf.Tensor]]:
    """Load a SavedModel, exported by this package or not, as a function of named inputs.

    Loading is as safe as who made the file: a graph can read and write files when it is called.

    Args:
        path: of a SavedModel, or of a folder of versions, of which the highest is taken, as TensorFlow Serving does.
        signature: which of its signatures.

    Returns:
        A function that takes the inputs of the signature by keyword, tensors or arrays of the rank, the known sizes and
        the kind of number that the signature names, and returns its outputs by name. It can be differentiated.

    Raises:
        ValueError: if there is no SavedModel at `path`, or it is not whole, or has no such signature; and, by the
            function, if it is given other inputs than it takes.

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
    """Return a model, whose variables live as long as it does, and one of its signatures.

    Raises:
        ValueError: as `load_saved_model` does; `argument` is what `path` was given as.
    """
    found = _checks.path(argument, path)
    try:
        found = resolve(found)
        model = tf.saved_model.load(found)
    except Exception as error:  # Of many kinds: TensorFlow's, Python's, those of protocol buffers.
        what, *_ = str(error).splitlines() or [type(error).__name__]
        raise ValueError(
            f"`{argument}` must be a SavedModel that is whole, or a folder of numbered ones. "
            f"Received: {argument}={found!r}, and the error: {what}"
        ) from error
    if not isinstance(signature, str) or signature not in model.signatures:
        raise ValueError(
            f"`signature` must be one of {sorted(model.signatures)} in {found!r}. "
            f"{_checks.received('signature', signature)}"
        )
    return model, model.signatures[signature]


def resolve(path: str | Path) -> str:
    """Return `path`, or its folder of the highest version if it is no SavedModel itself."""
    # No `Path` of what TensorFlow opens: that takes a slash from "gs://models".
    found = os.fspath(path)
    return found if tf.saved_model.contains_saved_model(found) else str(newest_version(Path(path)) or found)


def _fitting(name: str, value: Any, spec: tf.TensorSpec) -> tf.Tensor:
    """Return `value` as the tensor that a signature takes."""
    try:
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError("The model cannot see the mask of a masked array.")
        tensor = value if tf.is_tensor(value) else tf.convert_to_tensor(np.asarray(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"`{name}` must be {spec.dtype.name} of shape {spec.shape}. "
            f"Received: {type(value).__name__}, and the error: {error}"
        ) from error
    # Bytes in the place of numbers from 0 to 1 would be answered, and wrongly.
    same_kind = tensor.dtype == spec.dtype or (
        tensor.dtype.is_floating == spec.dtype.is_floating and tf.string not in (tensor.dtype, spec.dtype)
    )
    if not same_kind or not spec.shape.is_compatible_with(tensor.shape):
        raise ValueError(
            f"`{name}` must be {spec.dtype.name} of shape {spec.shape}. "
            f"Received: {tensor.dtype.name} of shape {tensor.shape}"
        )
    return tf.cast(tensor, spec.dtype) if tensor.dtype != spec.dtype else tensor
