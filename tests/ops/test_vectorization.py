"""Operations in TensorFlow's vectorized loops: Jacobians, and `tf.vectorized_map` with a tape inside or outside it."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import ops


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def in_rows(levels):
    return tf.concat([tf.reshape(level, [tf.shape(level)[0], -1]) for level in levels], 1)


X, Y, ROWS, KERNEL = normal(2, 4, 3, 1), normal(2, 2, 2, 1), normal(2, 3), normal(1, 3, 3, 1, 1)
BOXES = np.array([[[0.0, 0.0, 2.0, 3.0], [1.0, 2.0, 5.0, 4.0]], [[0.0, 1.0, 2.0, 2.0], [3.0, 0.0, 4.0, 2.0]]])

# The first argument of each has a batch axis; what a batch shares has one of a single entry.
SMOOTH = {
    "affine_grid": (lambda m: ops.affine_grid(m, (4, 3), (2, 2)), [normal(2, 2, 3)]),
    "align_levels": (lambda x, y: in_rows(ops.align_levels([x, y], -1)), [X, Y]),
    "bilinear_down": (lambda x: ops.bilinear_down(x, 1.5, antialias=True), [X]),
    "bilinear_sample": (ops.bilinear_sample, [X, 2 * normal(2, 3, 2)]),
    "bilinear_sample by rows": (ops.bilinear_sample, [normal(2, 3, 2, 9), normal(2, 2, 2)]),
    "blend": (lambda a, b, mask: ops.blend(a, b, mask, num_levels=2), [X, X[::-1], X**2]),
    "conv_down": (lambda x, k: ops.conv_down(x, k[0]), [X, KERNEL]),
    "cascade_costs": (
        lambda w, start: ops.cascade_costs(w, [1.0, 0.5, 0.25], start=start),
        [normal(2, 3), normal(2, 3)],
    ),
    "cost_volume": (lambda x, y: ops.cost_volume(x, y, 1), [normal(1, 2, 2, 1), normal(1, 2, 2, 1) + 1]),
    "cost_volume by lookup": (
        lambda x, y, flow: ops.cost_volume(x, y, 1, flow=flow, sampling="lookup"),
        [normal(2, 2, 2, 1), normal(2, 2, 2, 1) + 1, normal(2, 2, 2, 2)],
    ),
    "cumulative_gates": (lambda z: ops.cumulative_gates(z[0])[None], [normal(1, 3)]),
    "depthwise_down": (lambda x, k: ops.depthwise_down(x, k[0]), [X, KERNEL]),
    "exposure_fusion": (lambda *images: ops.exposure_fusion(images, 2), [X, X + 0.5]),
    "focus_stack": (lambda *images: ops.focus_stack(images, 2), [X, X[::-1]]),
    "foveated_pyramid": (lambda x, f: in_rows(ops.foveated_pyramid(x, f, 2, 2)), [X, normal(2, 2)]),
    "foveated_pyramid by windows": (
        lambda x, f: in_rows(ops.foveated_pyramid(x, f, 1, 2)),
        [normal(2, 18, 19, 1), normal(2, 2, 2)],
    ),
    "fuse_logits": (lambda a, b: ops.fuse_logits([a, b]), [ROWS, ROWS + 1]),
    "fusion_weights": (lambda v: ops.fusion_weights(v[0])[None], [normal(1, 4)]),
    "gaussian_pyramid": (lambda x: in_rows(ops.gaussian_pyramid(x, 2)), [X]),
    "generalized_iou": (ops.generalized_iou, [BOXES, BOXES + 0.3]),
    "gumbel_softmax": (lambda z: ops.gumbel_softmax(z, 0.5, seed=[1, 2]), [ROWS]),
    "laplacian_pyramid": (lambda x: in_rows(ops.laplacian_pyramid(x, 2)), [X]),
    "local_maxima": (lambda x: in_rows(ops.local_maxima(x, 3, separation=3)), [X]),
    "multi_scale_ssim": (ops.multi_scale_ssim, [X, X + 0.1 * X**2]),
    "normalize_kernel": (lambda k: ops.normalize_kernel(k[0])[None], [KERNEL]),
    "pyr_down": (ops.pyr_down, [X]),
    "pyr_down of a long side": (lambda x: ops.pyr_down(x), [normal(1, 2, 80, 1)]),
    "pyr_down by 1.5": (lambda x: ops.pyr_down(x, scale_factor=1.5), [X]),
    "pyr_up": (lambda x: ops.pyr_up(x, (8, 5)), [X]),
    "reconstruct": (lambda x, y: ops.reconstruct([x, y]), [X, Y]),
    "resize_by": (lambda x: ops.resize_by(x, 1.5, (5, 4)), [X]),
    "soft_argmax": (ops.soft_argmax, [X]),
    "softmax_mixture": (ops.softmax_mixture, [normal(2, 3, 4), ROWS]),
    "spectral_pool": (lambda x, s: ops.spectral_pool(x, s[0], (2, 2)), [X, np.array([[1.4, 1.3]])]),
    "strided_conv2d": (
        lambda x, k, s: ops.strided_conv2d(x, k[0], s[0], output_size=(2, 2)),
        [X, KERNEL, np.array([[1.4, 1.3]])],
    ),
    "warp": (ops.warp, [X, normal(2, 4, 3, 2)]),
    "window_mean": (ops.window_mean, [X, normal(2, 2, 2, 4)]),
}
OWN_GRADIENT = {
    "cumulative_gates": (lambda z: ops.cumulative_gates(z[0], hard=True)[None], [normal(1, 3)]),
    "fusion_weights": (lambda v: ops.fusion_weights(v[0], hard=True)[None], [normal(1, 4)]),
    "foveated_pyramid": (lambda x: in_rows(ops.foveated_pyramid(x, [[0.3, 0.7]] * 2, 2, 2, hard=True)), [X]),
    "gumbel_softmax": (lambda z: ops.gumbel_softmax(z, seed=[1, 2], hard=True), [ROWS]),
    "heaviside_st": (ops.heaviside_st, [ROWS]),
    "normalize_gradient": (lambda x: ops.normalize_gradient(x, "sample"), [ROWS]),
    "one_hot_st": (ops.one_hot_st, [ROWS]),
    "quantize_st": (ops.quantize_st, [ROWS]),
    "round_st": (ops.round_st, [ROWS]),
    "scale_gradient": (lambda x: ops.scale_gradient(x, -2.0), [ROWS]),
    "soft_argmax": (lambda x: ops.soft_argmax(x, hard=True), [X]),
    "spectral_pool": (lambda s: ops.spectral_pool(X, s[0], (2, 2), hard=True), [np.array([[1.4, 1.3]])]),
    "surrogate_st": (lambda x: ops.surrogate_st(tf.constant(ROWS), x**2), [ROWS]),
}
ALL = {**SMOOTH, **{f"{name} with a gradient of its own": row for name, row in OWN_GRADIENT.items()}}
NO_TENSORS = {"binomial", "box", "gaussian", "phase", "pixel_costs"}


def test_every_operation_that_has_a_gradient_is_in_a_table():
    assert {name.split()[0] for name in ALL} == set(ops.__all__) - NO_TENSORS


def value_and_gradients(op, arguments):
    """Return the value of an operation and the gradients of a cubic function of it."""
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        y = op(*arguments)
        objective = tf.reduce_sum(y**3 + y)
    return y, *tape.gradient(objective, arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_the_jacobian_equals_the_one_computed_row_by_row(name):
    op, arguments = ALL[name]
    arguments = [tf.constant(a) for a in arguments]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(arguments)
        y = op(*arguments)
        y = y**3 + y  # Not linear, so that an upstream gradient depends on the values.
    expected = tape.jacobian(y, arguments, experimental_use_pfor=False)
    for a, b in zip(tape.jacobian(y, arguments), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)
        assert np.any(b)


def two_rows(arguments):
    """Return arguments for `tf.vectorized_map`, which calls the function as it is where there is one row."""
    return tuple(tf.constant(np.stack([a, 1.5 * a])) for a in arguments)


def row_by_row(op, stacked):
    return [tf.stack(each) for each in zip(*(value_and_gradients(op, [a[k] for a in stacked]) for k in range(2)))]


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_a_map_has_the_values_and_the_gradients_taken_inside_it(name):
    op, arguments = ALL[name]
    stacked = two_rows(arguments)
    actual = tf.vectorized_map(lambda row: value_and_gradients(op, list(row)), stacked)
    for a, b in zip(actual, row_by_row(op, stacked), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


# Those of the smooth operations that have a gradient function of their own.
@pytest.mark.parametrize("name", ["bilinear_sample", "pyr_down by 1.5", "pyr_down of a long side", "strided_conv2d"])
def test_a_tape_outside_a_map_has_the_gradients_of_a_smooth_operation(name):
    op, arguments = SMOOTH[name]
    stacked = two_rows(arguments)
    actual = value_and_gradients(lambda *stacked: tf.vectorized_map(lambda row: op(*row), stacked), stacked)
    for a, b in zip(actual, row_by_row(op, stacked), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("name", OWN_GRADIENT)
def test_a_tape_outside_a_map_raises_where_the_map_drops_the_gradient(name):
    op, arguments = OWN_GRADIENT[name]
    with pytest.raises(LookupError, match="tf.vectorized_map has dropped the gradient .* inside the mapped function"):
        value_and_gradients(lambda *s: tf.vectorized_map(lambda row: op(*row), s), two_rows(arguments))


def test_a_map_over_nothing_is_nothing():
    assert tf.vectorized_map(ops.one_hot_st, tf.zeros([0, 3])).shape == (0, 3)
