"""Rows as files: Parquet, or TFRecord of tf.train.Example."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import tensorflow as tf

from tfpyramid.scale._predictor import DeadLetter, Row

# For each column, its dtype and whether its cells are lists.
Columns = Mapping[str, tuple[tf.DType, bool]]
Write = Callable[[Mapping[str, Any]], None]

DEAD_LETTERS: Columns = {"file": (tf.string, False), "reason": (tf.string, False)}

# Numbers in a row group of Parquet, which is held in memory.
_MAX_NUMBERS = 2**22

_SURROGATES = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2})")

_HALF_PRECISION = (tf.float16, tf.bfloat16)


def columns_of(outputs: Mapping[str, tf.DType]) -> Columns:
    """Return the columns of the results of a model with these outputs.

    Raises:
        ValueError: two columns have the same name.
    """
    columns = {"file": (tf.string, False), "height": (tf.int64, False), "width": (tf.int64, False)}
    for name, dtype in outputs.items():
        added = {name: (dtype, True), f"{name}/shape": (tf.int64, True)}
        if taken := [each for each in added if each in columns]:
            raise ValueError(
                "`model` must not name an output 'file', 'height' or 'width', nor like another output with '/shape' "
                "added, because these are columns of the results. Rename it. "
                f"Received: outputs {list(outputs)}; {name!r} needs the column {taken[0]!r}, which exists"
            )
        columns.update(added)
    return columns


def name_of(file: str) -> str:
    """Return the name of a file as valid UTF-8. Python's surrogates, for other bytes, become `\\x` and two digits.

    Different names stay different: backslashes are doubled in names that have such a byte or such an escape sequence.
    """
    if not _SURROGATES.search(file) and not _ESCAPED.search(file):
        return file
    return _SURROGATES.sub(_escape, file.replace("\\", r"\\"))


def _escape(surrogate: re.Match[str]) -> str:
    code = ord(surrogate[0])
    # `os.fsdecode` returns U+DC80 to U+DCFF for bytes; Windows allows other surrogates in names.
    return rf"\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else rf"\u{code:04x}"


def letter_of(letter: DeadLetter) -> dict[str, Any]:
    """Return the cells of a dead letter by column."""
    return {"file": name_of(letter.file), "reason": _SURROGATES.sub(_escape, letter.reason)}


def cells_of(row: Row) -> dict[str, Any]:
    """Return the cells of a row by column."""
    cells: dict[str, Any] = {"file": name_of(row.file), "height": row.size[0], "width": row.size[1]}
    for name, values in row.outputs.items():
        half = values.dtype in [dtype.as_numpy_dtype for dtype in _HALF_PRECISION]
        cells[name] = (values.astype(np.float32) if half else values).ravel()
        cells[f"{name}/shape"] = list(values.shape)
    return cells


@contextlib.contextmanager
def parquet(path: str, columns: Columns) -> Iterator[Write]:
    """Yield a function that adds a row to a new file, a cell for each column."""
    schema = pyarrow.schema([(name, _arrow_type(*column)) for name, column in columns.items()])
    rows: list[Mapping[str, Any]] = []
    numbers = 0
    with pyarrow.parquet.ParquetWriter(path, schema) as file:

        def flush() -> None:
            nonlocal numbers
            file.write_table(pyarrow.Table.from_pylist(rows, schema))
            rows.clear()
            numbers = 0

        def write(row: Mapping[str, Any]) -> None:
            nonlocal numbers
            rows.append(row)
            numbers += sum(map(np.size, row.values()))
            if numbers > _MAX_NUMBERS:
                flush()

        yield write
        flush()


@contextlib.contextmanager
def tfrecord(path: str, columns: Columns) -> Iterator[Write]:
    """Yield a function that adds a row to a new file, as `parquet` does."""
    with tf.io.TFRecordWriter(path) as file:

        def write(row: Mapping[str, Any]) -> None:
            features = {
                name: _feature(row[name] if many else [row[name]], dtype) for name, (dtype, many) in columns.items()
            }
            file.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())

        yield write


WRITERS = {"parquet": parquet, "tfrecord": tfrecord}


def _arrow_type(dtype: tf.DType, many: bool) -> pyarrow.DataType:
    if dtype == tf.string:
        # File names are text; a model may return any bytes.
        return pyarrow.list_(pyarrow.binary()) if many else pyarrow.string()
    number = pyarrow.from_numpy_dtype(np.float32 if dtype in _HALF_PRECISION else dtype.as_numpy_dtype)
    return pyarrow.list_(number) if many else number


def _feature(values: Any, dtype: tf.DType) -> tf.train.Feature:
    if dtype == tf.string:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.compat.as_bytes(value) for value in values]))
    if dtype.is_floating:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=np.asarray(values, np.int64)))
