"""Values that an argument may be given by mistake, and other forms of a right value."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid._compat import keras


def _one_argument(x: Any) -> Any:
    return x


# Made anew for each call, since some can be used once.
ODD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "np.True_": lambda: np.True_,
    "-1": lambda: -1,
    "0": lambda: 0,
    "half": lambda: 0.5,
    "10^400": lambda: 10**400,
    "-10^400": lambda: -(10**400),
    "too long to print": lambda: 10**5000,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "empty text": lambda: "",
    "text": lambda: "x",
    "bytes": lambda: b"2",
    "empty list": lambda: [],
    "empty tuple": lambda: (),
    "empty dict": lambda: {},
    "list of lists": lambda: [[1, 2], [3]],
    "dict": lambda: {"a": 1},
    "set": lambda: {2},
    "three": lambda: (1, 2, 3),
    "none and number": lambda: (None, 2),
    "iterator": lambda: iter([1, 2]),
    "object": object,
    "class": lambda: dict,
    "function": lambda: _one_argument,
    "complex": lambda: 1j,
    "decimal": lambda: decimal.Decimal("NaN"),
    "date": lambda: datetime.date(2026, 1, 1),
    "np.int64": lambda: np.int64(2),
    "np.complex64": lambda: np.complex64(2),
    "np.timedelta64": lambda: np.timedelta64(2, "s"),
    "0-d": lambda: np.array(2),
    "0-d float": lambda: np.array(2.0),
    "0-d bool": lambda: np.array(True),
    "0-d text": lambda: np.array("x"),
    "masked": lambda: np.ma.masked_array(2.0, mask=True),
    "one": lambda: np.array([2.0]),
    "pair": lambda: np.array([2, 2]),
    "masked pair": lambda: np.ma.masked_array([2, 2], mask=[True, False]),
    "texts": lambda: np.array(["x", "y"]),
    "objects": lambda: np.array([None, object()]),
    "nothing": lambda: np.zeros([0]),
    "images of nan": lambda: np.full([1, 5, 5, 2], np.nan, np.float32),
    "tensor": lambda: tf.constant(2),
    "float tensor": lambda: tf.constant(2.0),
    "text tensor": lambda: tf.constant("x"),
    "pair of floats": lambda: tf.constant([1.0, 2.0]),
    "shape": lambda: tf.TensorShape([2, 2]),
    "unknown shape": lambda: tf.TensorShape(None),
    "shape with unknown side": lambda: tf.TensorShape([None, 2]),
    "variable": lambda: tf.Variable(2.0),
    "variable of integers": lambda: tf.Variable(2),
    "ragged": lambda: tf.ragged.constant([[1.0], [1.0, 2.0]]),
    "sparse": lambda: tf.sparse.from_dense([[1.0, 0.0]]),
    "symbolic": lambda: keras.Input((5, 5, 2), 1),
    "dtype": lambda: tf.float32,
}


def odd_values(right: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and values: those above, and those near a right value."""
    for name, make in ODD.items():
        yield name, make()
    if isinstance(right, np.ndarray):
        yield from _near_array(right)
    if isinstance(right, (list, tuple)) and right:
        yield "elements of None", [None] * len(right)
        yield "elements of text", ["x"] * len(right)
        yield "elements of nan", [math.nan] * len(right)
        yield "elements of objects", tuple(object() for _ in right)
        yield "one more", [*right, right[-1]]
        yield "one less", right[:-1]
        yield "iterator over it", iter(right)
        if isinstance(right[0], np.ndarray):
            yield "masked element", [np.ma.masked_array(right[0], mask=right[0] > 0.5), *right[1:]]
            yield "the first element", right[0]
            yield "element of another dtype", [np.float64(right[0]), *right[1:]]
            yield "element of integers", [np.int32(right[0]), *right[1:]]


def _near_array(right: np.ndarray) -> Iterator[tuple[str, Any]]:
    yield "masked array", np.ma.masked_array(right, mask=right > 0.5)
    yield "integers", np.uint8(right)
    yield "booleans", right > 0.5
    yield "complex numbers", np.complex64(right)
    yield "array of objects", right.astype(object)
    yield "array of texts", right.astype(str)
    yield "fewer axes", right[0]
    yield "more axes", right[None]
    yield "empty batch", right[:0]
    yield "nested lists of objects", [[object()]]
    yield "symbolic of its shape", keras.Input(right.shape[1:], right.shape[0])
    yield "variable of its values", tf.Variable(right)


def forms_of(right: Any) -> Iterator[tuple[str, Any]]:
    """Yield other forms of a right value, which mean the same."""
    if isinstance(right, str):
        yield "np.str_", np.str_(right)
    elif isinstance(right, (bool, int, float)):
        array = np.array(right)
        yield type(array[()]).__name__, array[()]
        yield "0-d array", array
        yield "0-d tensor", tf.constant(right)
        if type(right) is int:
            yield "uint8", np.uint8(right)
        if type(right) is float:
            yield "np.float32", np.float32(right)
            yield "decimal", decimal.Decimal(right)
            if right.is_integer():
                yield "int", int(right)
    elif isinstance(right, np.ndarray):
        yield "lists", right.tolist()
        yield "tensor", tf.constant(right)
        yield "variable", tf.Variable(right)
    elif isinstance(right, (list, tuple)) and not any(isinstance(each, keras.layers.Layer) for each in right):
        yield "list", list(right)
        yield "tuple", tuple(right)
        if all(isinstance(each, (int, float)) for each in right):
            yield "array", np.array(right)
            yield "NumPy scalars", [np.array(each)[()] for each in right]
            if len(right) == 2:
                yield "tensor", tf.constant(right)
        if all(isinstance(each, int) for each in right):
            yield "shape", tf.TensorShape(right)
