"""Products with a sparse matrix that has the same number of entries in each row, for a CPU."""

import functools

import tensorflow as tf


def multiply(weights: tf.Tensor, columns: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Return A x, for a matrix A with `weights` in `columns` of each row.

    An entry of weight 0 must be in a column where x is finite.

    Args:
        weights: [entries, rows], float32 or float64; at least one row.
        columns: int64, of the same shape; fewer than 2^31. A row may have two entries in one column.
        x: [size, channels], of the dtype of `weights`.
    """
    return _run(weights, columns, x, tf.shape(x, out_type=tf.int64)[0], transposed=False)


def multiply_transposed(weights: tf.Tensor, columns: tf.Tensor, x: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Return A^T x, [size, channels], for x [rows, channels]."""
    return _run(weights, columns, x, tf.cast(size, tf.int64), transposed=True)


def _run(weights: tf.Tensor, columns: tf.Tensor, x: tf.Tensor, size: tf.Tensor, transposed: bool) -> tf.Tensor:
    # `tf.vectorized_map` cannot convert an operation that returns a matrix. It runs `MapDefun`, which hides the matrix,
    # in a loop.
    (y,) = tf.raw_ops.MapDefun(
        arguments=[tf.zeros([1])],
        captured_inputs=[weights, columns, x, size],
        output_types=[x.dtype],
        output_shapes=[[None, x.shape[1]]],
        f=_product(x.dtype, transposed),
        max_intra_op_parallelism=2**10,
    )
    return y[0]


@functools.cache
def _product(dtype: tf.DType, transposed: bool) -> tf.types.experimental.ConcreteFunction:
    def product(_: tf.Tensor, weights: tf.Tensor, columns: tf.Tensor, x: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(columns, out_type=tf.int64)  # [entries, rows]
        places = tf.stack([tf.broadcast_to(tf.range(shape[1]), shape), columns])
        matrix = tf.raw_ops.SparseTensorToCSRSparseMatrix(
            indices=tf.reshape(tf.transpose(places, [2, 1, 0]), [-1, 2]),
            values=tf.reshape(tf.transpose(weights), [-1]),
            dense_shape=tf.stack([shape[1], size]),
        )
        return tf.raw_ops.SparseMatrixMatMul(a=matrix, b=x, transpose_a=transposed)

    pairs = [None, None]
    signature = [([], tf.float32), (pairs, dtype), (pairs, tf.int64), (pairs, dtype), ([], tf.int64)]
    with tf.init_scope():
        return tf.function(product, autograph=False).get_concrete_function(
            *(tf.TensorSpec(*each) for each in signature)
        )
