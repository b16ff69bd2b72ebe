"""Losses that compare pairs of images: their values, what Keras makes of them, and bad input."""

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.finite_differences import assert_gradients
from tests.references import similarity as references
from tfpyramid import losses, metrics, ops
from tfpyramid._compat import keras

RNG = np.random.default_rng(0)
T = RNG.random([2, 9, 14, 3])
P = np.clip(T + 0.2 * RNG.standard_normal(T.shape), 0, 1)
MADE = {
    "Charbonnier": lambda **options: losses.Charbonnier(epsilon=0.25, **options),
    "LaplacianPyramidLoss": lambda **options: losses.LaplacianPyramidLoss(3, weights=(1, 0, 0.5), norm=2, **options),
    "MultiScaleSSIM": lambda **options: losses.MultiScaleSSIM(2.0, power_factors=(0.5, 0.25), filter_size=5, **options),
}
EXPECTED = {
    "Charbonnier": np.sqrt((T - P) ** 2 + 0.25**2).mean(axis=(1, 2, 3)),
    "LaplacianPyramidLoss": references.laplacian_pyramid_loss(T, P, (1, 0, 0.5), 2),
    "MultiScaleSSIM": 1 - references.multi_scale_ssim(T, P, 2.0, (0.5, 0.25), 5),
}

every_loss = pytest.mark.parametrize("name", MADE)


@every_loss
def test_reductions_and_weights_are_those_of_keras(name):
    t, p, expected = np.float32(T), np.float32(P), EXPECTED[name]
    pixels = T.shape[1] * T.shape[2] if name == "Charbonnier" else 1
    np.testing.assert_allclose(MADE[name]()(t, p), expected.mean(), rtol=1e-5)
    np.testing.assert_allclose(MADE[name](reduction="sum")(t, p), pixels * expected.sum(), rtol=1e-5)
    weights = np.float32([0.5, 3])
    for given in (weights, weights[:, None]):
        found = MADE[name]()(t, p, sample_weight=given)
        np.testing.assert_allclose(found, (weights * expected).mean(), rtol=1e-5)
    np.testing.assert_allclose(MADE[name]()(t, p, sample_weight=2.0), 2 * expected.mean(), rtol=1e-5)
    each = MADE[name](reduction="none")(t, p)
    assert each.shape == ([2, 9, 14] if pixels > 1 else [2])


@every_loss
def test_gradients_are_the_derivatives(name):
    assert_gradients(MADE[name]().call, [T, P])


@pytest.mark.slow
@every_loss
def test_a_model_is_trained_saved_loaded_and_exported(name, tmp_path):
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 3, padding="same")])
    model.compile(keras.optimizers.SGD(0.1), MADE[name]())
    first, *_, last = model.fit(P, T, epochs=4, verbose=0).history["loss"]
    assert last < first
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == model.loss.get_config() == MADE[name]().get_config()
    np.testing.assert_allclose(again.evaluate(P, T, verbose=0), model.evaluate(P, T, verbose=0), rtol=1e-6)
    # A module that computes the loss is a SavedModel, too.
    module, loss = tf.Module(), MADE[name]()
    module.score = tf.function(lambda t, p: loss(t, p), [tf.TensorSpec([None, None, None, 3])] * 2)
    tf.saved_model.save(module, str(tmp_path / "score"))
    found = tf.saved_model.load(str(tmp_path / "score")).score(np.float32(T), np.float32(P))
    np.testing.assert_allclose(found, EXPECTED[name].mean(), rtol=1e-5)


@every_loss
def test_it_can_be_the_loss_of_each_level(name):
    loss = losses.MultiScaleLoss(MADE[name](), decay=0.5, reduction="none")
    np.testing.assert_allclose(loss(np.float32(T), np.float32(P)), EXPECTED[name], rtol=1e-5)
    half = ops.pyr_down(P)
    expected = MADE[name](reduction="none").call(ops.pyr_down(T), half)
    expected = np.reshape(expected, [2, -1]).mean(axis=1) / 2
    np.testing.assert_allclose(loss(np.float32(T), np.float32(half)), expected, rtol=1e-5)
    again = losses.MultiScaleLoss.from_config(loss.get_config())
    assert again.loss.get_config() == MADE[name]().get_config()


@every_loss
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (10, 12)], ids=str)
def test_values_and_gradients_are_finite_in_float16(name, size):
    stripes = np.indices([1, *size, 1])[2] % 2
    for t, p in ((stripes, stripes), (stripes, 1 - stripes), (0 * stripes, 0 * stripes), (0 * stripes, stripes)):
        p = tf.constant(p, tf.float16)
        with tf.GradientTape() as tape:
            tape.watch(p)
            loss = MADE[name]()(tf.constant(t, tf.float16), p)
        assert np.isfinite(loss) and loss.dtype == tf.float32 and np.isfinite(tape.gradient(loss, p)).all()


@pytest.mark.slow
@every_loss
def test_mixed_precision_trains(name):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 3, padding="same")])
        model.compile(keras.optimizers.SGD(0.1), MADE[name]())
        history = model.fit(P, T, epochs=2, verbose=0).history["loss"]
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert np.isfinite(history).all() and all(np.isfinite(weight).all() for weight in model.get_weights())


@every_loss
def test_integer_targets_have_the_values_they_hold(name):
    t, p = np.random.default_rng(1).integers(0, 255, [2, 9, 14, 3], np.uint8), np.float32(255 * P)
    np.testing.assert_allclose(MADE[name]()(t, p), MADE[name]()(np.float32(t), p), rtol=1e-6)


@every_loss
def test_an_empty_batch_has_the_loss_zero(name):
    empty = tf.zeros([0, 9, 14, 3])
    assert tf.reduce_sum(MADE[name](reduction="sum")(empty, empty)) == 0


@every_loss
@pytest.mark.parametrize("shape", [(2, 9, 13, 3), (2, 9, 14, 1), (1, 9, 14, 3)])
def test_images_of_different_shapes_are_an_error(name, shape):
    rule = "`targets` must have the shape of `predictions`|`targets` and `predictions` must have the same batch size"
    with pytest.raises(ValueError, match=f"({rule}).* Received: "):
        MADE[name]()(np.zeros(shape, np.float32), np.zeros([2, 9, 14, 3], np.float32))


@every_loss
def test_weights_of_another_batch_are_an_error(name):
    with pytest.raises(ValueError, match="`predictions` and `sample_weight` must have the same batch size"):
        MADE[name]()(np.float32(T), np.float32(P), sample_weight=[1.0, 2.0, 3.0])


def test_charbonnier_takes_a_weight_for_each_pixel():
    weights = RNG.random([2, 9, 14])
    expected = (weights * np.sqrt((T - P) ** 2 + 0.25**2).mean(axis=3)).mean()
    for given in (weights, weights[..., None]):
        found = MADE["Charbonnier"]()(np.float32(T), np.float32(P), sample_weight=np.float32(given))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_charbonnier_compares_what_has_no_sides():
    found = losses.Charbonnier(1e-3)(
        np.zeros([4, 2], np.float32), np.ones([4, 2], np.float32), np.float32([1, 1, 0, 0])
    )
    np.testing.assert_allclose(found, 0.5, rtol=1e-5)


@pytest.mark.parametrize("norm", [1, 2])
def test_a_mask_hides_what_is_unknown(norm):
    mask = np.round(RNG.random([2, 9, 14, 1])) * RNG.random([2, 9, 14, 1])
    expected = references.laplacian_pyramid_loss(T, P, [1] * 5, norm, mask)
    np.testing.assert_allclose(losses.laplacian_pyramid_loss(T, P, norm=norm, mask=mask), expected, rtol=1e-10)
    unknown = tf.constant(np.where(mask == 0, np.nan, T), tf.float32)
    for given in (mask, mask[..., 0]):
        p = tf.constant(P, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(p)
            found = losses.LaplacianPyramidLoss(norm=norm)(unknown, p, sample_weight=given)
        np.testing.assert_allclose(found, expected.mean(), rtol=1e-5)
        assert (tape.gradient(found, p).numpy()[np.broadcast_to(mask == 0, P.shape)] == 0).all()


@pytest.mark.slow
def test_a_mask_may_be_what_fit_is_given():
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 3, padding="same")])
    model.compile("sgd", losses.LaplacianPyramidLoss())
    mask = np.float32(RNG.random([2, 9, 14, 1]) > 0.5)
    model.fit(P, T, sample_weight=mask, verbose=0)
    found = model.evaluate(P, T, sample_weight=mask, verbose=0)
    expected = losses.laplacian_pyramid_loss(np.float32(T), model(np.float32(P)), mask=mask)
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 9, 14, 3), (2, 9, 13), (9, 14)])
def test_a_mask_of_another_shape_is_an_error(shape):
    with pytest.raises(ValueError, match="`mask` must be numbers .batch, height, width. or .* Received: mask of shape"):
        losses.laplacian_pyramid_loss(T, P, mask=np.ones(shape))


@pytest.mark.slow
def test_a_mask_of_another_size_stops_the_graph():
    run = tf.function(
        lambda p, mask: losses.laplacian_pyramid_loss(p, p + 1, 2, mask=mask),
        [tf.TensorSpec([None, None, None, 1]), tf.TensorSpec([None, None, None])],
    )
    np.testing.assert_allclose(run(tf.zeros([2, 4, 6, 1]), tf.ones([2, 4, 6])), [1, 1], rtol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`mask` must be numbers"):
        run(tf.zeros([2, 4, 6, 1]), tf.ones([1, 4, 6]))


def test_the_loss_of_levels_has_no_preference_by_default():
    found = losses.laplacian_pyramid_loss(T, P, 4)
    np.testing.assert_allclose(found, references.laplacian_pyramid_loss(T, P, [1, 1, 1, 1]), rtol=1e-10)


def test_the_metric_is_a_mean_over_samples():
    metric = metrics.MultiScaleSSIM(2.0, power_factors=(0.5, 0.25), filter_size=5)
    expected = 1 - EXPECTED["MultiScaleSSIM"]
    metric.update_state(np.float32(T), np.float32(P))
    metric.update_state(np.float32(T), np.float32(P), sample_weight=[2.0, 0.0])
    np.testing.assert_allclose(metric.result(), (3 * expected[0] + expected[1]) / 4, rtol=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(again) is metrics.MultiScaleSSIM and again.get_config() == metric.get_config()


@pytest.mark.slow
def test_loss_and_metric_of_one_name_are_loaded_as_what_they_are(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 3, padding="same")])
    model.compile("sgd", losses.MultiScaleSSIM(), metrics=[metrics.MultiScaleSSIM(name="similarity")])
    loss, similarity = model.evaluate(P, T, verbose=0)
    np.testing.assert_allclose(loss, 1 - similarity, atol=1e-6)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.loss) is losses.MultiScaleSSIM
    np.testing.assert_allclose(again.evaluate(P, T, verbose=0), [loss, similarity], rtol=1e-6)


@pytest.mark.parametrize(
    "make, rule",
    [
        (lambda: losses.Charbonnier(0), "`epsilon` must be a finite number of at least 1e-15"),
        (lambda: losses.LaplacianPyramidLoss(0), "`num_levels` must be an integer of at least 1"),
        (lambda: losses.LaplacianPyramidLoss(norm=3), "`norm` must be at most 2, 1 or 2"),
        (
            lambda: losses.LaplacianPyramidLoss(2, weights=[1]),
            "`weights` must be a list of 2 numbers, one for each level",
        ),
        (lambda: losses.MultiScaleSSIM(0), "`max_val` must be a finite number greater than 0"),
        (lambda: losses.MultiScaleSSIM(power_factors=[]), "`power_factors` must be a list of 1 to 64 numbers"),
        (lambda: metrics.MultiScaleSSIM(k1=0), "`k1` must be a finite number of at least 1e-06"),
        (lambda: losses.Charbonnier(name=""), "`name` must be a non-empty string"),
    ],
)
def test_bad_arguments_are_errors(make, rule):
    with pytest.raises(ValueError, match=f"{rule}.* Received: "):
        make()
