"""Conversion of arguments to Python values or tensors, and their text in an error."""

import inspect
import math
import numbers
import operator
import os
from typing import Any

import numpy as np
import tensorflow as tf

_MAX_CHARACTERS = 300  # Of a value in an error.


def plain(value: Any) -> Any:
    """Return a NumPy value, or a tensor with a known value, as a number, a flag or a list of them.

    A `TensorShape` becomes the list of its sides. Other values are returned unchanged. So are variables, because their
    values may change, and masked arrays, because their masks would be lost.
    """
    if isinstance(value, tf.TensorShape):
        return value if value.rank is None else value.as_list()
    if isinstance(value, tf.Tensor):
        known = tf.get_static_value(value)
        value = value if known is None else known
    if not isinstance(value, (np.generic, np.ndarray)) or isinstance(value, np.ma.MaskedArray):
        return value
    if is_floating(value.dtype):  # Python has no float for the elements of bfloat16 and longdouble.
        return value.astype(np.float64).tolist()
    return value.tolist() if value.dtype.kind in "biu" else value


def index(value: Any) -> int | None:
    """Return `value` as a Python integer, or None if it is not an integer."""
    if isinstance(value, (bool, np.ndarray)) or hasattr(value, "assign"):
        return None
    try:
        return operator.index(value)
    except (TypeError, AttributeError):  # Tensors of other dtypes raise AttributeError.
        return None


def finite(value: object) -> float:
    """Return `value` as a float, or NaN if it is not a finite number."""
    value = plain(value)
    if isinstance(value, (bool, str, bytes, bytearray, np.generic, np.ndarray)) or hasattr(value, "assign"):
        return math.nan
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, AttributeError):
        return math.nan
    return result if math.isfinite(result) else math.nan


def is_floating(dtype: np.dtype) -> bool:
    """Return whether a NumPy dtype is a real floating-point type; TensorFlow's bfloat16 is one."""
    return dtype.kind == "f" or dtype == tf.bfloat16.as_numpy_dtype


def real_array(value: Any) -> np.ndarray | None:
    """Return nested real numbers as a float64 array, or None for any other value."""
    if isinstance(value, np.ma.MaskedArray) or hasattr(value, "assign"):
        return None
    try:
        array = np.asarray(value)
        if array.dtype == object and not all(isinstance(each, numbers.Number) for each in array.flat):
            return None
        known = array.dtype == object or array.dtype.kind in "iu" or is_floating(array.dtype)
        return array.astype(np.float64) if known else None
    except Exception:  # NumPy refuses lists of unequal lengths, and graph tensors refuse conversion.
        return None


def path_text(value: Any) -> str | None:
    """Return a path as a string, or None if the value is not a path."""
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    return text if isinstance(text, str) and text and "\0" not in text else None


def can_be_called(value: Any, *arguments: Any, **keywords: Any) -> bool:
    """Return whether a value is a function that accepts these arguments; True if its signature is unknown."""
    if not callable(value):
        return False
    try:
        inspect.signature(value).bind(*arguments, **keywords)
    except TypeError:
        return False
    except ValueError:  # Some functions written in C have no signature.
        return True
    return True


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if it has no message."""
    line, *_ = str(error).strip().splitlines() or [type(error).__name__]
    return line


def received(name: str, value: Any) -> str:
    """Return the end of an error message: "Received: " and the value, shortened if it is long."""
    try:
        shown = repr(value)
    except Exception:  # Python refuses to print very long integers, and the `repr` of other classes may raise anything.
        return f"Received: {name} of type {type(value).__name__}"
    return f"Received: {name}={shown if len(shown) <= _MAX_CHARACTERS else shown[:_MAX_CHARACTERS] + '...'}"


def tensor(name: str, value: Any) -> tf.Tensor:
    """Return `value` as a tensor; raise `ValueError` if TensorFlow refuses it, or would ignore its mask."""
    for part in value if isinstance(value, (list, tuple)) else [value]:
        no_mask(name, part)
    try:
        if type(value).__name__ == "KerasTensor":  # Keras 2 turns some operations into layers, and fails for others.
            raise TypeError("It is symbolic.")
        return tf.convert_to_tensor(value)
    except Exception as error:  # TensorFlow, Keras and other packages raise many types of errors here.
        raise ValueError(
            f"`{name}` must be a tensor or an array. In a functional model, call a layer instead of a function. "
            f"Received: {name} of type {type(value).__name__}"
        ) from error


def no_mask(name: str, value: Any) -> None:
    """Raise `ValueError` for a masked array."""
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(
            f"`{name}` must not be a masked array, because its mask would be ignored. Fill it first, for example "
            f"with {name}.filled(0). Received: {name} of type MaskedArray"
        )
