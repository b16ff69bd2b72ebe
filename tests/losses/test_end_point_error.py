"""The loss and the metric of optical flows, and loss max-pooling."""

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.finite_differences import assert_gradients
from tfpyramid import losses, metrics, ops
from tfpyramid._compat import keras

RNG = np.random.default_rng(0)
T = RNG.standard_normal([2, 5, 7, 2])
P = T + RNG.standard_normal(T.shape)
ERRORS = np.hypot(*np.moveaxis(P - T, -1, 0))


def hardest_mean(errors, share):
    """Return the mean of the largest values of each sample, added one by one until their share is used up."""
    means = []
    for sample in errors.reshape(len(errors), -1):
        left = share * sample.size
        total = 0.0
        for error in sorted(sample, reverse=True):
            part = min(1.0, left)
            total, left = total + part * error, left - part
        means.append(total / (share * sample.size))
    return np.array(means)


def both(t, p, weight=None, **options):
    """Return the loss and the metric."""
    metric = metrics.EndPointError()
    metric.update_state(t, p, sample_weight=weight)
    return losses.EndPointError(**options)(t, p, sample_weight=weight), metric.result()


def test_it_is_the_mean_distance():
    np.testing.assert_allclose(both(np.float32(T), np.float32(P)), [ERRORS.mean()] * 2, rtol=1e-6)
    each = losses.EndPointError(reduction="none")(np.float32(T), np.float32(P))
    np.testing.assert_allclose(each, ERRORS, rtol=1e-5)


@pytest.mark.parametrize("hardest", [1e-9, 1 / 35, 0.1, 0.5, 0.97, 1.0])
def test_the_hardest_pixels_of_each_flow_are_averaged(hardest):
    loss = losses.EndPointError(hardest)
    expected = hardest_mean(ERRORS, hardest)
    np.testing.assert_allclose(np.reshape(loss.call(T, P), [2, -1]).mean(axis=1), expected, rtol=1e-12)
    np.testing.assert_allclose(loss(np.float32(T), np.float32(P)), expected.mean(), rtol=1e-5)
    assert_gradients(loss.call, [T, P])


def test_the_gradient_of_loss_max_pooling_reaches_the_hardest_pixels_alone():
    p = tf.constant(P)
    with tf.GradientTape() as tape:
        tape.watch(p)
        loss = losses.EndPointError(0.2, reduction="sum").call(T, p)
    lengths = np.linalg.norm(tape.gradient(loss, p), axis=-1)
    ranks = np.argsort(np.argsort(-ERRORS.reshape(2, -1), axis=1), axis=1).reshape(ERRORS.shape)
    np.testing.assert_allclose(lengths, np.where(ranks < 7, 1 / 7, 0), atol=1e-12)  # 7 of 35 pixels.


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
@pytest.mark.parametrize("hardest", [0.5, 1.0])
def test_equal_flows_have_the_gradient_0(dtype, hardest):
    p = tf.zeros([1, 3, 2, 2], dtype)
    with tf.GradientTape() as tape:
        tape.watch(p)
        loss = losses.EndPointError(hardest)(tf.zeros([1, 3, 2, 2]), p)
    assert loss == 0 and loss.dtype.size >= 4
    np.testing.assert_array_equal(tf.cast(tape.gradient(loss, p), tf.float32), np.zeros([1, 3, 2, 2]))


@pytest.mark.parametrize("hardest", [0.25, 1.0])
@pytest.mark.parametrize("axes", [3, 4])
def test_a_mask_hides_pixels_that_are_unknown(hardest, axes):
    mask = np.round(RNG.random([2, 5, 7])) * RNG.random([2, 5, 7])
    weight = np.float32(mask if axes == 3 else mask[..., None])
    unknown = np.float32(np.where(mask[..., None] == 0, np.nan, T))
    p = tf.constant(P, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(p)
        loss, error = both(unknown, p, weight, hardest=hardest)
    np.testing.assert_allclose(loss, hardest_mean(mask * ERRORS, hardest).mean(), rtol=1e-5)
    np.testing.assert_allclose(error, np.average(ERRORS, weights=mask), rtol=1e-5)
    gradient = tape.gradient(loss, p).numpy()
    assert np.isfinite(gradient).all() and (gradient[mask == 0] == 0).all()


@pytest.mark.parametrize("hardest", [0.25, 1.0])
def test_samples_may_have_weights(hardest):
    expected, weights = hardest_mean(ERRORS, hardest), np.float32([0.5, 3])
    for given in (weights, weights[:, None]):
        loss, error = both(np.float32(T), np.float32(P), given, hardest=hardest)
        np.testing.assert_allclose(loss, (weights * expected).mean(), rtol=1e-5)
        np.testing.assert_allclose(error, np.average(ERRORS.mean(axis=(1, 2)), weights=weights), rtol=1e-5)
    np.testing.assert_allclose(both(np.float32(T), np.float32(P), 2.0)[0], 2 * ERRORS.mean(), rtol=1e-5)


@pytest.mark.parametrize("hardest", [0.25, 1.0])
def test_a_nan_reaches_its_own_flow_alone(hardest):
    p = P.copy()
    p[0, 2, 3, 1] = np.nan
    y = np.reshape(losses.EndPointError(hardest).call(T, p), [2, -1]).mean(axis=1)
    assert np.isnan(y[0])
    np.testing.assert_allclose(y[1], hardest_mean(ERRORS, hardest)[1])
    assert all(np.isnan(float(value)) for value in both(np.float32(T), np.float32(p), hardest=hardest))


@pytest.mark.parametrize("hardest", [0.3, 1.0])
def test_in_graphs_of_unknown_sizes_and_compiled_it_is_the_same(hardest):
    expected = losses.EndPointError(hardest)(np.float32(T), np.float32(P))
    for compiled in (False, True):
        run = tf.function(
            lambda t, p: losses.EndPointError(hardest)(t, p),
            [tf.TensorSpec([None, None, None, 2])] * 2,
            jit_compile=compiled,
        )
        np.testing.assert_allclose(run(np.float32(T), np.float32(P)), expected, rtol=1e-6)
        np.testing.assert_allclose(run(*[np.zeros([1, 1, 1, 2], np.float32)] * 2), 0)


def test_each_level_of_a_multi_scale_loss_has_its_own_hardest_pixels():
    levels = [np.float32(P), np.float32(ops.pyr_down(T) + 1)]
    found = losses.multi_scale_loss(np.float32(T), levels, losses.EndPointError(0.2), decay=0.5)
    np.testing.assert_allclose(found, hardest_mean(ERRORS, 0.2) + 0.5 * np.sqrt(2), rtol=1e-5)
    config = losses.MultiScaleLoss(losses.EndPointError(0.2)).get_config()
    assert losses.MultiScaleLoss.from_config(config).loss.hardest == 0.2


@pytest.mark.slow
def test_a_model_learns_and_its_file_holds_both(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 2)), keras.layers.Conv2D(2, 3, padding="same")])
    model.compile(keras.optimizers.Adam(0.1), losses.EndPointError(0.5), weighted_metrics=[metrics.EndPointError()])
    mask = np.ones([2, 5, 7], np.float32)
    history = model.fit(T, T, sample_weight=mask, epochs=20, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["end_point_error"][-1] < 0.5 * history["end_point_error"][0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == model.loss.get_config()
    np.testing.assert_allclose(again.evaluate(T, T, verbose=0), model.evaluate(T, T, verbose=0), rtol=1e-5)


def test_an_empty_batch_has_the_loss_zero():
    empty = tf.zeros([0, 5, 7, 2])
    for hardest in (0.5, 1.0):
        assert tf.reduce_sum(losses.EndPointError(hardest, reduction="sum")(empty, empty)) == 0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: losses.EndPointError(0), "`hardest` must be a finite number greater than 0.* Received: hardest=0"),
        (lambda: losses.EndPointError(1.5), "`hardest` must be at most 1, .* Received: hardest=1.5"),
        (lambda: both(T[..., :1], P[..., :1]), r"`predictions` must be flows .* of shape \(2, 5, 7, 1\)"),
        (lambda: both(T, P[:, :4]), "`targets` must have the shape of `predictions`"),
        (lambda: both(T, P, np.ones([2, 5, 6])), r"`sample_weight` must be \[batch\], .* of shape \(2, 5, 6\)"),
        (lambda: both(T, P, np.ones([3])), "`predictions` and `sample_weight` must have the same batch size"),
        (lambda: both(T, P, np.ones([2, 2])), "`sample_weight` must be one number for each sample"),
    ],
)
def test_bad_arguments_are_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
