"""Straight-through estimators: discrete to the bit forward, the closed form of the docstring backward."""

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.straight_through import DTYPES, OPS, backward, discrete, forward_and_backward, one_hot, values
from tfpyramid import ops
from tfpyramid._compat import keras


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", OPS)
def test_forward_is_the_discrete_value_to_the_bit(name, dtype):
    x = values(dtype)
    y = OPS[name](x, 0.7)
    expected = discrete(name, x.numpy()).astype(dtype.as_numpy_dtype)
    assert y.dtype == dtype
    assert y.numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_fixed_point_is_whole_steps_within_the_limit(dtype):
    x = values(dtype)
    work = np.float64 if dtype == tf.float64 else np.float32
    for bits, limit in [(1, 1.0), (8, 16.0), (7, 10.0), (4, 0.3), (12, 30.0)]:
        held = np.asarray(limit, dtype.as_numpy_dtype)  # The limit as the dtype of x holds it.
        step = np.asarray(limit / 2**bits, work)
        expected = np.round(np.clip(x.numpy(), -held, held).astype(work) / step) * step
        y = ops.quantize_st(x, bits, limit)
        assert y.numpy().tobytes() == expected.astype(dtype.as_numpy_dtype).tobytes()
        exact = tf.cast(y, tf.float64).numpy()
        wide = np.clip(tf.cast(x, tf.float64), -limit, limit)
        error = limit / 2**bits / 2 + limit * {2: 2.0**-7, 4: 2.0**-22, 8: 2.0**-50}[dtype.size]
        assert np.abs(exact - wide).max() <= error and len(np.unique(exact)) <= 2 ** (bits + 1) + 1


def test_adding_the_difference_of_the_discrete_and_the_soft_value_would_not_be_exact():
    x = values(tf.float32)
    for q in (ops.quantize_st(x, 4, 0.3), tf.constant(np.random.default_rng(13).normal(size=x.shape), tf.float32)):
        assert np.mean(x + tf.stop_gradient(q - x) == q) < 0.5
        assert ops.surrogate_st(q, x).numpy().tobytes() == q.numpy().tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", OPS)
def test_gradient_is_that_of_the_docstring_for_either_sign_of_upstream(name, dtype):
    x = values(dtype, shape=(50, 4), seed=1)
    tolerance = {2: 2.0**-6 if dtype == tf.bfloat16 else 2.0**-9, 4: 1e-5, 8: 1e-12}[dtype.size]
    for temperature in (0.3, 1.0, 20.0):
        for dy in (tf.ones_like(x), -tf.ones_like(x), values(dtype, shape=(50, 4), seed=2)):
            y, gradient = forward_and_backward(OPS[name], x, temperature, dy)
            expected = backward(name, x, dy, temperature)
            assert gradient.dtype == dtype
            atol = tolerance * 10 / temperature
            np.testing.assert_allclose(tf.cast(gradient, tf.float64), expected, rtol=tolerance, atol=atol)


@pytest.mark.parametrize("dtype", [tf.float16, tf.float32, tf.float64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("temperature", [1e-6, 1e6])
@pytest.mark.parametrize("name", ["heaviside_st", "one_hot_st"])
def test_gradient_is_finite_and_right_at_extreme_temperatures(name, temperature, dtype):
    x = values(dtype, seed=3)
    ties = tf.zeros_like(x)
    # Where the gradient is steepest: a few temperatures from the step, as far as the dtype can tell.
    near = tf.cast(np.random.default_rng(4).normal(0, min(temperature, 1000.0), size=x.shape), dtype)
    for at in (x, ties, near):
        for sign in (1, -1):
            dy = tf.cast(sign * 0.2 * one_hot(values(dtype, seed=5).numpy()), dtype)  # float16 holds 0.2 / 4e-6.
            y, gradient = forward_and_backward(OPS[name], at, temperature, dy)
            expected = backward(name, at, dy, temperature)
            assert np.isfinite(gradient).all()
            rtol = {2: 2e-3, 4: 1e-5, 8: 1e-11}[dtype.size]
            atol = max(rtol * np.abs(expected).max(), 1e-7 if dtype == tf.float16 else 0)
            np.testing.assert_allclose(gradient, expected, rtol=rtol, atol=atol)


def test_clipped_values_get_no_gradient_and_those_at_the_limit_do():
    x = tf.constant([-2.1, -2.0, -0.3, 0.0, 2.0, np.nextafter(np.float32(2), np.float32(3)), np.inf])
    y, gradient = forward_and_backward(OPS["quantize_st"], x, None, tf.constant([3.0, -3, 3, -3, 3, -3, 3]))
    np.testing.assert_array_equal(y, [-2, -2, -0.25, 0, 2, 2, 2])
    np.testing.assert_array_equal(gradient, [0, -3, 3, -3, 3, 0, 0])


def test_the_discrete_argument_gets_no_gradient():
    x, surrogate = tf.Variable([1.0, 2.0]), tf.Variable([3.0, 4.0])
    with tf.GradientTape() as tape:
        y = ops.surrogate_st(x, surrogate)
    to_x, to_surrogate = tape.gradient(y, [x, surrogate], output_gradients=tf.constant([5.0, -6.0]))
    np.testing.assert_array_equal(to_x, [0, 0])
    np.testing.assert_array_equal(to_surrogate, [5, -6])


def keras_variable(value):
    layer = keras.layers.Layer()
    return layer.add_weight(name="t", shape=(), initializer=keras.initializers.Constant(value), trainable=True)


@pytest.mark.parametrize("make", [tf.Variable, keras_variable])
@pytest.mark.parametrize("dtype", [tf.float16, tf.float32], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", ["heaviside_st", "one_hot_st"])
def test_a_variable_temperature_gets_the_derivative_of_the_soft_form(name, dtype, make):
    x, dy = (values(dtype, shape=(5, 4), seed=seed) / 10 for seed in (6, 7))
    temperature = make(0.5)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = OPS[name](x, temperature)
    to_x, to_temperature = tape.gradient(y, [x, temperature], output_gradients=dy)
    expected = backward(name, x, dy, 0.5)
    tolerance = {"rtol": 5e-3, "atol": 5e-3} if dtype == tf.float16 else {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_array_equal(y, discrete(name, x.numpy()))
    np.testing.assert_allclose(to_x, expected, **tolerance)
    # s(x / T) has the derivative -x / T s'(x / T) / T.
    np.testing.assert_allclose(to_temperature, np.sum(expected * -tf.cast(x, tf.float64)) / 0.5, **tolerance)


def in_map_fn(op, x, t):
    return tf.map_fn(lambda row: op(row, t), x)


def in_while_loop(op, x, t):
    _, rows = tf.while_loop(
        lambda n, rows: n < tf.shape(x)[0],
        lambda n, rows: (n + 1, tf.tensor_scatter_nd_update(rows, [[n]], [op(x[n], t)])),
        (0, tf.zeros_like(x)),
    )
    return rows


def in_cond(op, x, t):
    return tf.cond(tf.reduce_sum(x) > 1e6, lambda: tf.zeros_like(x), lambda: op(x, t))


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("name", OPS)
def test_compiled_forward_and_gradient_are_the_eager_ones(name, jit_compile):
    x, dy = values(tf.float32), values(tf.float32, seed=8)
    compiled = tf.function(lambda x, dy: forward_and_backward(OPS[name], x, 0.7, dy), jit_compile=jit_compile)
    y, gradient = compiled(x, dy)
    assert y.numpy().tobytes() == discrete(name, x.numpy()).tobytes()
    expected = backward(name, x, dy, 0.7)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrap", [in_map_fn, in_while_loop, in_cond])
@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_control_flow_leaves_forward_and_gradient_as_they_are(wrap, graph):
    x, dy = values(tf.float32, shape=(3, 4), seed=9), values(tf.float32, shape=(3, 4), seed=10)

    def run(x, dy):
        return {name: forward_and_backward(lambda x, t: wrap(op, x, t), x, 0.7, dy) for name, op in OPS.items()}

    results = (tf.function(run) if graph else run)(x, dy)
    for name, (y, gradient) in results.items():
        np.testing.assert_array_equal(y, discrete(name, x.numpy()))
        expected = backward(name, x, dy, 0.7)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


def test_a_saved_model_keeps_forward_and_gradient(tmp_path):
    module = tf.Module()
    module.temperature = tf.Variable(0.7)

    def saved(op):
        return tf.function(lambda x: op(x, module.temperature), input_signature=[tf.TensorSpec([None, 4])])

    for name, op in OPS.items():
        setattr(module, name, saved(op))
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    for name in OPS:
        for temperature, rows in [(0.7, 3), (3.0, 5)]:
            loaded.temperature.assign(temperature)
            x, dy = (values(tf.float32, shape=(rows, 4), seed=seed) for seed in (11, 12))
            y, gradient = forward_and_backward(lambda x, t: getattr(loaded, name)(x), x, None, dy)
            np.testing.assert_array_equal(y, discrete(name, x.numpy()))
            expected = backward(name, x, dy, temperature)
            np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_nan_stays_nan(dtype):
    x = tf.constant([[1.0, np.nan, 3.0], [3.0, 1.0, 2.0]], dtype)
    for name in ("round_st", "quantize_st", "heaviside_st"):
        np.testing.assert_array_equal(np.isnan(OPS[name](x, 1.0)), np.isnan(x), err_msg=name)
    np.testing.assert_array_equal(tf.cast(ops.one_hot_st(x), tf.float32), [[np.nan] * 3, [1, 0, 0]])


def test_of_equal_logits_the_first_is_chosen():
    logits = tf.constant([[0.0, 0, 0], [1, 2, 2], [-np.inf, -np.inf, -np.inf], [3, 1, 3]])
    np.testing.assert_array_equal(ops.one_hot_st(logits), [[1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0]])


@pytest.mark.parametrize("name", OPS)
def test_an_empty_batch_and_its_gradient_are_empty(name):
    x = tf.zeros([0, 4])
    y, gradient = forward_and_backward(OPS[name], x, 1.0, x)
    assert y.shape == gradient.shape == (0, 4)


@pytest.mark.parametrize(
    "call, name",
    [
        (ops.round_st, "x"),
        (ops.quantize_st, "x"),
        (ops.heaviside_st, "x"),
        (ops.one_hot_st, "logits"),
        (lambda x: ops.surrogate_st(x, tf.ones([2])), "discrete"),
        (lambda x: ops.surrogate_st(tf.ones([2]), x), "surrogate"),
    ],
)
def test_values_that_are_not_floating_are_an_error(call, name):
    with pytest.raises(ValueError, match=f"`{name}` must be floating point.* Received: {name} of dtype int32"):
        call(tf.constant([1, 2]))


@pytest.mark.parametrize("temperature", [0, -1.0, np.nan, np.inf, "warm", None, np.float64(-1), np.float32(0)])
def test_a_temperature_that_is_not_positive_is_an_error(temperature):
    rule = "`temperature` must be a finite number greater than 0, .* Received: temperature="
    for op in (ops.heaviside_st, ops.one_hot_st):
        with pytest.raises(ValueError, match=rule):
            op(tf.ones([2]), temperature)


def test_choices_and_fixed_points_that_are_none_are_an_error():
    for logits in (tf.constant(1.0), tf.ones([2, 0])):
        with pytest.raises(ValueError, match="`logits` must have a last axis.* Received: logits of shape"):
            ops.one_hot_st(logits)
    for bits in (0, 24, 2.0, True):
        with pytest.raises(ValueError, match="`bits` must be .* Received: bits="):
            ops.quantize_st(tf.ones([2]), bits)
    for limit in (0, -1.0, np.nan):
        with pytest.raises(ValueError, match="`limit` must be a finite number greater than 0.* Received: limit="):
            ops.quantize_st(tf.ones([2]), limit=limit)
    for surrogate in (tf.ones([3]), tf.ones([2], tf.float64)):
        with pytest.raises(
            ValueError, match="`discrete` and `surrogate` must have the same shape and dtype. Received: "
        ):
            ops.surrogate_st(tf.ones([2]), surrogate)
