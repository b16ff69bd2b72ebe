"""The floating-point dtypes that operations compute in."""

from collections.abc import Sequence

import tensorflow as tf


def working_dtype(dtype: tf.DType) -> tf.DType:
    """Return the dtype to compute in for tensors of `dtype`: float32 for float16 and bfloat16, else `dtype` itself."""
    return tf.float32 if dtype.size == 2 else dtype


def common_dtype(dtypes: Sequence[tf.DType]) -> tf.DType:
    """Return the widest of floating dtypes, or float32 for float16 with bfloat16: neither can hold the other."""
    widest = max(dtypes, key=lambda dtype: dtype.size)
    equally_wide = {dtype for dtype in dtypes if dtype.size == widest.size}
    return widest if len(equally_wide) == 1 else tf.float32
