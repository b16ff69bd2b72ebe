"""Gradients that are changed on purpose, and the gradients of every linear and every smooth operation."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import ops

BORDERS = ("reflect", "symmetric", "edge", "constant", "wrap")
TAPS = ([1.0, 2.0, 4.0, -1.0, 0.5], [1.0, 3.0, 2.0, -0.5])
SIZE = (7, 5)
MODES = {
    "eager": lambda function: function,
    "graph": tf.function,
    "xla": lambda function: tf.function(function, jit_compile=True, autograph=False),
}


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def as_list(outputs):
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def linear_op(name, factor, border="reflect", taps=TAPS[0]):
    """Return a linear function of tensors, to a tensor or a list of them, and the shapes of its arguments."""
    step = {"scale_factor": factor, "kernel": taps, "border": border}
    sizes = [SIZE]
    while len(sizes) < 3:
        sizes.append(tuple(int(np.ceil(n / factor)) for n in sizes[-1]))
    fine, coarse, coarsest = ([2, *size, 2] for size in sizes)
    dense, strides = normal([4, 3, 2, 3], seed=9), int(np.ceil(factor))
    return {
        "pyr_down": (lambda x: ops.pyr_down(x, **step), [fine]),
        "pyr_up": (lambda x: ops.pyr_up(x, SIZE, **step), [coarse]),
        "gaussian_pyramid": (lambda x: ops.gaussian_pyramid(x, 3, **step), [fine]),
        "laplacian_pyramid": (lambda x: ops.laplacian_pyramid(x, 2, **step), [fine]),
        "reconstruct": (lambda *x: ops.reconstruct(x, **step), [fine, coarse]),
        "conv_down": (lambda x: ops.conv_down(x, dense, strides, border=border), [fine]),
        "conv_down of its kernel": (lambda k: ops.conv_down(normal(fine), k, strides, border=border), [dense.shape]),
        "resize_by": (lambda x: ops.resize_by(x, factor, SIZE), [coarse]),
        "resize_by nearest": (lambda x: ops.resize_by(x, factor, SIZE, interpolation="nearest"), [coarse]),
        "resize_by without a factor": (lambda x: ops.resize_by(x, None, SIZE), [coarse]),
        "align_levels up": (lambda *x: ops.align_levels(x, 0, scale_factor=factor), [fine, coarse, coarsest]),
        "align_levels down": (lambda *x: ops.align_levels(x, 2, scale_factor=factor), [fine, coarse, coarsest]),
    }[name]


def assert_linear_with_adjoint(op, shapes):
    x, other = ([tf.constant(normal(shape, seed + k)) for k, shape in enumerate(shapes)] for seed in (1, 4))
    with tf.GradientTape() as tape:
        tape.watch(other)
        of_other = as_list(op(*other))
    of_x = as_list(op(*x))
    y = [tf.constant(normal(level.shape, 7 + k)) for k, level in enumerate(of_x)]
    adjoint = tape.gradient(of_other, other, output_gradients=y)
    expected = sum(np.vdot(a, b) for a, b in zip(of_x, y, strict=True))
    np.testing.assert_allclose(sum(np.vdot(a, b) for a, b in zip(x, adjoint, strict=True)), expected, rtol=1e-11)
    mixed = as_list(op(*(2 * a - 3 * b for a, b in zip(x, other))))
    for sums, a, b in zip(mixed, of_x, of_other, strict=True):
        np.testing.assert_allclose(sums, 2 * a - 3 * b, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2.0, 3.0, 1.5])
@pytest.mark.parametrize("name", ["pyr_down", "pyr_up", "gaussian_pyramid", "laplacian_pyramid", "reconstruct"])
def test_a_step_is_linear_and_its_gradient_is_its_adjoint(name, factor):
    for k, border in enumerate(BORDERS):
        for taps in TAPS if name.startswith("pyr") else [TAPS[k % 2]]:
            assert_linear_with_adjoint(*linear_op(name, factor, border, taps))


@pytest.mark.parametrize("factor", [2.0, 3.0])
@pytest.mark.parametrize("name", ["conv_down", "conv_down of its kernel"])
def test_a_convolution_is_linear_and_its_gradient_is_its_adjoint(name, factor):
    for border in BORDERS:
        assert_linear_with_adjoint(*linear_op(name, factor, border))


@pytest.mark.parametrize("factor", [2.0, 3.0, 1.5])
@pytest.mark.parametrize(
    "name",
    ["resize_by", "resize_by nearest", "resize_by without a factor", "align_levels up", "align_levels down"],
)
def test_magnification_is_linear_and_its_gradient_is_its_adjoint(name, factor):
    assert_linear_with_adjoint(*linear_op(name, factor))


X, Y, KERNEL = normal([1, 4, 3, 1], 10), normal([1, 2, 2, 1], 11), np.array([1.0, 2.0, -0.5, 0.7])
SMOOTH = {
    "pyr_down": (lambda x, k: ops.pyr_down(x, kernel=k), [X, KERNEL]),
    "pyr_down by 1.5": (lambda x, k: ops.pyr_down(x, kernel=k, scale_factor=1.5, border="wrap"), [X, KERNEL]),
    "pyr_up": (lambda x, k: ops.pyr_up(x, (4, 3), kernel=k), [Y, KERNEL]),
    "pyr_up by 1.5": (lambda x, k: ops.pyr_up(x, (3, 2), kernel=k, scale_factor=1.5, border="edge"), [Y, KERNEL]),
    "conv_down": (lambda x, k: ops.conv_down(x, k), [normal([1, 4, 3, 2], 12), normal([3, 2, 2, 2], 13)]),
    "gaussian_pyramid": (lambda x, k: ops.gaussian_pyramid(x, 3, kernel=k), [X, KERNEL]),
    "laplacian_pyramid": (lambda x, k: ops.laplacian_pyramid(x, 3, kernel=k), [X, KERNEL]),
    "reconstruct": (lambda x, y, k: ops.reconstruct([x, y], kernel=k), [X, Y, KERNEL]),
    "resize_by": (lambda x: ops.resize_by(x, 2.0, (4, 3)), [Y]),
    "resize_by without a factor": (lambda x: ops.resize_by(x, None, (5, 3)), [Y]),
    "align_levels": (lambda x, y: ops.align_levels([x, y]), [X, Y]),
    "align_levels down": (lambda x, y: ops.align_levels([x, y], -1), [X, Y]),
    "fast fusion_weights": (ops.fusion_weights, [KERNEL]),
    "softmax fusion_weights": (lambda v: ops.fusion_weights(v, "softmax"), [KERNEL]),
    "sum fusion_weights": (lambda v: ops.fusion_weights(v, "sum"), [KERNEL]),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_the_gradient_of_a_smooth_op_is_that_of_finite_differences(name):
    op, arguments = SMOOTH[name]

    def loss(*arguments):
        outputs = as_list(op(*arguments))
        return tf.add_n([tf.reduce_sum(normal(y.shape, k) * y + y**2) for k, y in enumerate(outputs)])

    tensors = [tf.constant(argument) for argument in arguments]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        total = loss(*tensors)
    for n, gradient in enumerate(tape.gradient(total, tensors)):
        differences = np.zeros(arguments[n].shape)
        for place in np.ndindex(differences.shape):
            for sign in (1, -1):
                moved = [argument.copy() for argument in arguments]
                moved[n][place] += sign * 1e-5
                differences[place] += sign * loss(*map(tf.constant, moved)).numpy() / 2e-5
        np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("factor", [2.0, 1.5])
def test_the_second_derivative_of_a_quadratic_loss_is_that_of_the_matrix(factor):
    units = np.eye(30).reshape([30, 6, 5, 1])
    matrix = references.pyr_down(units, factor).reshape([30, -1]).T
    weights, direction = normal(len(matrix), 14), normal([1, 6, 5, 1], 15)
    x = tf.constant(normal([1, 6, 5, 1], 16))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            loss = tf.reduce_sum(weights * tf.reshape(ops.pyr_down(x, scale_factor=factor), [-1]) ** 2)
        slope = tf.reduce_sum(inner.gradient(loss, x) * direction)
    expected = 2 * matrix.T @ (weights * (matrix @ direction.ravel()))
    np.testing.assert_allclose(np.ravel(outer.gradient(slope, x)), expected, atol=1e-12)


def through(op, upstream, x=None, mode="eager"):
    """Return (x, output, gradient) of an op that keeps the shape."""
    upstream = tf.convert_to_tensor(upstream)
    x = tf.cast(normal(upstream.shape, 17), upstream.dtype) if x is None else tf.constant(x, upstream.dtype)

    def run(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = op(x)
        return y, tape.gradient(y, x, output_gradients=upstream)

    return x, *MODES[mode](run)(x, upstream)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scope", ["tensor", "sample"])
def test_a_normalized_gradient_keeps_its_direction_and_gets_the_length(scope, mode):
    upstream = normal([3, 4, 2, 2], 18) * np.array([1, 100, 1e-3]).reshape([3, 1, 1, 1])
    axes = None if scope == "tensor" else (1, 2, 3)
    for norm in (1.0, 0.25, 30):
        x, y, gradient = through(lambda x: ops.normalize_gradient(x, scope, norm), upstream, mode=mode)
        expected = norm * upstream / np.sqrt(np.sum(upstream**2, axis=axes, keepdims=True))
        assert y.numpy().tobytes() == x.numpy().tobytes()
        np.testing.assert_allclose(gradient, expected, rtol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_a_gradient_of_zero_stays_zero(mode):
    upstream = np.array([[0.0, 0.0], [3.0, -4.0], [0.0, 0.0]], "f")
    _, _, of_zeros = through(ops.normalize_gradient, np.zeros([3, 2], "f"), mode=mode)
    _, _, by_sample = through(lambda x: ops.normalize_gradient(x, "sample"), upstream, mode=mode)
    np.testing.assert_array_equal(of_zeros, np.zeros([3, 2]))
    np.testing.assert_allclose(by_sample, upstream / 5, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_anywhere_is_nan_everywhere(bad, mode):
    upstream = np.array([[0.0, 1.0], [bad, 0.0], [3.0, -4.0]], "f")
    _, _, of_tensor = through(ops.normalize_gradient, upstream, mode=mode)
    _, _, by_sample = through(lambda x: ops.normalize_gradient(x, "sample"), upstream, mode=mode)
    assert np.isnan(of_tensor).all()
    np.testing.assert_allclose(by_sample, [[0, 1], [np.nan, np.nan], [0.6, -0.8]], rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype, scale", [("float32", 1e-30), ("float32", 1e30), ("float16", 1e-6), ("float16", 3e4)])
def test_tiny_and_huge_gradients_have_the_length_too(dtype, scale, mode):
    upstream = (scale * np.clip(normal([500], 19), -2, 2)).astype(dtype)
    _, _, gradient = through(ops.normalize_gradient, upstream, mode=mode)
    exact = upstream.astype(float)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, exact / np.linalg.norm(exact), rtol=1e-3 if dtype == "float16" else 1e-5)


def test_a_normalized_gradient_of_a_scalar_is_its_sign_and_of_nothing_is_nothing():
    assert through(ops.normalize_gradient, np.float32(-7.0))[2] == -1
    for scope in ("tensor", "sample"):
        assert through(lambda x: ops.normalize_gradient(x, scope), np.zeros([0, 3], "f"))[2].shape == (0, 3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [float, tf.constant, lambda factor: tf.constant(factor, tf.float64)])
def test_a_scaled_gradient_is_multiplied_and_the_values_pass_to_the_bit(make, mode):
    values = np.array([1.1, -0.0, np.inf, -np.inf, np.nan, 3e38, 1e-45], "f")
    upstream = np.array([1.0, -2.0, 3.0, 4.0, 5.0, -6.0, 0.1], "f")
    for factor in (0.0, -1.0, 2.5, -0.3):
        x, y, gradient = through(lambda x: ops.scale_gradient(x, make(factor)), upstream, values, mode=mode)
        assert y.numpy().tobytes() == values.tobytes()
        np.testing.assert_array_equal(gradient, np.float32(factor) * upstream)


def test_a_scaled_gradient_keeps_its_dtype_and_the_factor_gets_none():
    for dtype in (tf.float16, tf.bfloat16, tf.float64):
        x, factor = tf.constant([1.0, 2.0], dtype), tf.constant(-0.5)
        with tf.GradientTape() as tape:
            tape.watch([x, factor])
            y = ops.scale_gradient(x, factor)
        to_x, to_factor = tape.gradient(y, [x, factor])
        assert y.dtype == to_x.dtype == dtype and to_factor is None
        np.testing.assert_array_equal(tf.cast(to_x, tf.float32), [-0.5, -0.5])


@pytest.mark.parametrize(
    "call, rule",
    [
        (lambda: ops.normalize_gradient(tf.constant([1])), "`x` must be floating point.* Received: x of dtype int32"),
        (lambda: ops.scale_gradient(tf.constant([1]), 2.0), "`x` must be floating point.* Received: x of dtype int32"),
        (lambda: ops.normalize_gradient(X, "batch"), "`scope` must be one of 'tensor', 'sample'. Received: scope="),
        (lambda: ops.normalize_gradient(tf.constant(1.0), "sample"), "`x` must have a batch axis.* Received: x of"),
        (lambda: ops.normalize_gradient(X, norm=0), "`norm` must be a finite number greater than 0, .* Received: "),
        (lambda: ops.normalize_gradient(X, norm=np.nan), "`norm` must be a finite number .* Received: norm=nan"),
        (lambda: ops.scale_gradient(X, np.inf), "`factor` must be a finite number.* Received: factor=inf"),
        (lambda: ops.scale_gradient(X, None), "`factor` must be a finite number.* Received: factor=None"),
    ],
)
def test_arguments_of_no_meaning_are_an_error(call, rule):
    with pytest.raises(ValueError, match=rule):
        call()


def test_a_factor_that_is_not_one_number_is_an_error():
    with pytest.raises(ValueError, match=r"`factor` must be one number, .* Received: factor of shape \(3,\)"):
        ops.scale_gradient(tf.ones([3]), tf.ones([3]))
