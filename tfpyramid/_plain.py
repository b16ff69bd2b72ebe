"""What a given value stands for: a Python number, or a tensor; and how an error shows it."""

import inspect
import math
import numbers
import operator
import os
from typing import Any

import numpy as np
import tensorflow as tf

_LONGEST = 300  # Characters of a value in an error.


def plain(value: Any) -> Any:
    """Return the number, flag or list of them that a NumPy value or a tensor of known value holds, else the value.

    A `TensorShape` becomes the list of its sides. A variable stays as it is, because its value may change; so does a
    masked array, because its mask would be lost.
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
    """Return a Python integer, None for what is none."""
    if isinstance(value, (bool, np.ndarray)) or hasattr(value, "assign"):
        return None
    try:
        return operator.index(value)
    except (TypeError, AttributeError):  # The latter from tensors of other dtypes.
        return None


def finite(value: object) -> float:
    """Return `value` as a float, NaN where it is not one finite number."""
    value = plain(value)
    if isinstance(value, (bool, str, bytes, bytearray, np.generic, np.ndarray)) or hasattr(value, "assign"):
        return math.nan
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, AttributeError):
        return math.nan
    return result if math.isfinite(result) else math.nan


def is_floating(dtype: np.dtype) -> bool:
    """Return whether a dtype of NumPy's is of real floating-point numbers, among them TensorFlow's bfloat16."""
    return dtype.kind == "f" or dtype == tf.bfloat16.as_numpy_dtype


def real_array(value: Any) -> np.ndarray | None:
    """Return real numbers in any nesting as a float64 array, None for anything else."""
    if isinstance(value, np.ma.MaskedArray) or hasattr(value, "assign"):
        return None
    try:
        array = np.asarray(value)
        if array.dtype == object and not all(isinstance(each, numbers.Number) for each in array.flat):
            return None
        known = array.dtype == object or array.dtype.kind in "iu" or is_floating(array.dtype)
        return array.astype(np.float64) if known else None
    except Exception:  # NumPy refuses lists of unequal lengths, and tensors of a graph refuse NumPy.
        return None


def path_text(value: Any) -> str | None:
    """Return the text of a path, None for what is no path."""
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    return text if isinstance(text, str) and text and "\0" not in text else None


def can_be_called(value: Any, *arguments: Any, **keywords: Any) -> bool:
    """Return whether a value is a function that takes such arguments, as far as Python knows its signature."""
    if not callable(value):
        return False
    try:
        inspect.signature(value).bind(*arguments, **keywords)
    except TypeError:
        return False
    except ValueError:  # Some functions that are written in C have no signature.
        return True
    return True


def received(name: str, value: Any) -> str:
    """Return the end of every error, with the value in as many characters as help."""
    try:
        shown = repr(value)
    except Exception:  # Python refuses to print a very long integer, and other classes may fail in their own ways.
        return f"Received: {name} of type {type(value).__name__}"
    return f"Received: {name}={shown if len(shown) <= _LONGEST else shown[:_LONGEST] + '...'}"


def tensor(name: str, value: Any) -> tf.Tensor:
    """Return `value` as a tensor; raise `ValueError` for what TensorFlow refuses, and for a mask that it ignores."""
    for part in value if isinstance(value, (list, tuple)) else [value]:
        no_mask(name, part)
    try:
        if type(value).__name__ == "KerasTensor":  # Keras 2 makes a layer of some operations, and fails at others.
            raise TypeError("It is symbolic.")
        return tf.convert_to_tensor(value)
    except Exception as error:  # TensorFlow, Keras and other packages raise all kinds of errors here.
        raise ValueError(
            f"`{name}` must be a tensor or an array; in a functional model, call a layer instead of a function. "
            f"Received: {name} of type {type(value).__name__}"
        ) from error


def no_mask(name: str, value: Any) -> None:
    """Raise `ValueError` for a masked array."""
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(
            f"`{name}` must have no mask, because it would be ignored: fill what is masked, for example by "
            f"{name}.filled(0). Received: {name} of type MaskedArray"
        )
