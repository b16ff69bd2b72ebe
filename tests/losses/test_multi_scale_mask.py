"""The mask of the loss at every level: weights of pixels, and targets that are not known everywhere."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tests.ops.finite_differences import assert_gradients
from tfpyramid import layers, losses
from tfpyramid._compat import KERAS_3, keras

RNG = np.random.default_rng(0)
TARGET = RNG.standard_normal([2, 9, 14, 2])
LEVELS = [x + RNG.standard_normal(x.shape) for x in references.gaussian_pyramid(TARGET, 3)]
MASK = np.round(RNG.random([2, 9, 14])) * RNG.random([2, 9, 14])
MASK[0, :5, :6] = 0  # So that some pixels of coarse levels have no weight.
UNKNOWN = np.where(MASK[..., None] == 0, np.nan, TARGET)
LENGTH, SQUARE = (lambda d: np.linalg.norm(d, axis=-1)), (lambda d: np.mean(d**2, axis=-1))


def expected(predictions, mask, weights, compare, **step):
    """Return the loss of each sample, [batch], and its part for each prediction, by sums over the known pixels."""
    weight = mask[..., None]
    weighted, parts = np.where(weight > 0, weight * TARGET, 0), []
    for k, prediction in enumerate(predictions):
        if k:
            weighted, weight = (references.pyr_down(x, **step) for x in (weighted, weight))
        known = weight[..., 0] > 0
        target = weighted / np.where(weight > 0, weight, 1)
        loss = np.where(known, compare(target - prediction), 0) * weight[..., 0]
        parts.append(loss.sum((1, 2)) / np.maximum(weight.sum((1, 2, 3)), 1e-300))
    return mask.mean((1, 2)) * sum(w * part for w, part in zip(weights, parts)), parts


@pytest.mark.parametrize("step", [{}, {"scale_factor": 1.5, "kernel": "box", "border": "edge"}], ids=["2", "1.5"])
@pytest.mark.parametrize(
    "loss, compare", [("mse", SQUARE), (losses.EndPointError(), LENGTH)], ids=["mse", "end_point_error"]
)
def test_targets_and_losses_are_means_over_known_pixels(loss, compare, step):
    predictions = [x + 1.0 for x in references.gaussian_pyramid(TARGET, 3, **step)]
    wanted, _ = expected(predictions, MASK, [1, 0.5, 0.25], compare, **step)
    for mask in (MASK, MASK[..., None]):
        found = losses.multi_scale_loss(UNKNOWN, predictions, loss, mask=mask, **step)
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_a_mask_of_ones_changes_nothing_and_a_constant_mask_multiplies_the_loss():
    plain = losses.multi_scale_loss(TARGET, LEVELS, losses.EndPointError())
    for constant in (True, 1, 0.3):
        found = losses.multi_scale_loss(TARGET, LEVELS, losses.EndPointError(), mask=np.full([2, 9, 14], constant))
        np.testing.assert_allclose(found, constant * plain, rtol=1e-10)


@pytest.mark.parametrize(
    "loss", [pytest.param("mse", marks=pytest.mark.slow), losses.EndPointError()], ids=["mse", "end_point_error"]
)
def test_gradients_are_derivatives_and_zero_where_nothing_is_known(loss):
    mask = MASK.copy()
    mask[1] = 0

    def run(*predictions):
        return losses.multi_scale_loss(UNKNOWN, predictions, loss, mask=mask)

    assert_gradients(run, LEVELS)
    predictions = [tf.constant(x, tf.float32) for x in LEVELS]
    predictions[0] = tf.where(mask[..., None] == 0, np.nan, predictions[0])
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        found = losses.multi_scale_loss(np.float32(UNKNOWN), predictions, loss, mask=mask)
    gradients = tape.gradient(found, predictions)
    assert np.isfinite(found).all() and found[1] == 0
    assert all(np.isfinite(g).all() and np.any(g[0] != 0) and not np.any(g[1] != 0) for g in gradients)
    assert (gradients[0].numpy()[mask == 0] == 0).all()


@pytest.mark.slow
def test_xla_and_sizes_that_are_not_known_while_tracing_give_the_same():
    loss = losses.EndPointError()
    wanted = losses.multi_scale_loss(UNKNOWN, LEVELS, loss, mask=MASK)
    inputs = [tf.constant(x) for x in (UNKNOWN, MASK, *LEVELS)]

    def run(target, mask, *levels):
        singles = [losses.multi_scale_loss(target, level, loss, mask=mask) for level in levels]
        return losses.multi_scale_loss(target, levels, loss, mask=mask), tf.add_n(singles)

    unknown = [tf.TensorSpec([None] * x.shape.rank if x.shape.rank == 3 else [None] * 3 + [2], x.dtype) for x in inputs]
    traced = tf.function(run, input_signature=unknown, autograph=False)
    for function in (tf.function(run, jit_compile=True, autograph=False), traced):
        for found in function(*inputs):
            np.testing.assert_allclose(found, wanted, rtol=1e-10)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="`mask` must be .batch, height, .* the sizes of mask, then of"
    ):
        traced(inputs[0], inputs[1][:, 1:], *inputs[2:])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_compared_in_single(dtype):
    halves = [tf.cast(x, dtype) for x in (TARGET, *LEVELS)]
    found = losses.multi_scale_loss(halves[0], halves[1:], mask=MASK)
    assert found.dtype == tf.float32
    target, *levels = (tf.cast(x, tf.float64) for x in halves)
    np.testing.assert_allclose(found, losses.multi_scale_loss(target, levels, mask=MASK), rtol=1e-5)


def test_an_empty_batch_has_no_losses():
    levels = [tf.zeros([0, *x.shape[1:]]) for x in LEVELS]
    assert losses.multi_scale_loss(levels[0], levels, mask=tf.zeros([0, 9, 14])).shape == (0,)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_keras_reduces_it_as_it_does_a_loss_of_pixels(k):
    target, prediction, loss = np.float32(UNKNOWN), np.float32(LEVELS[k]), losses.EndPointError()
    _, parts = expected(LEVELS, MASK, [1, 1, 1], LENGTH)
    sizes = MASK.mean((1, 2))
    found = losses.MultiScaleLoss(loss, decay=1.0)(target, prediction, np.float32(MASK))
    np.testing.assert_allclose(found, np.mean(sizes * parts[k]), rtol=1e-5)
    found = losses.MultiScaleLoss(loss, decay=1.0, reduction="sum")(target, prediction, np.float32(MASK))
    np.testing.assert_allclose(found, np.sum(sizes * parts[k]), rtol=1e-5)
    if KERAS_3:
        found = losses.MultiScaleLoss(loss, decay=1.0, reduction="mean_with_sample_weight")(target, prediction, MASK)
        np.testing.assert_allclose(found, np.average(parts[k], weights=sizes), rtol=1e-5)
    if k == 0:
        of_pixels = loss(np.float32(UNKNOWN), prediction, np.float32(MASK))
        np.testing.assert_allclose(losses.MultiScaleLoss(loss)(target, prediction, MASK), of_pixels, rtol=1e-5)


@pytest.mark.slow
def test_fit_takes_a_mask_for_each_output():
    image = keras.Input((None, None, 3))
    levels = layers.PyramidConv2D(2)(layers.LearnablePyramid(3)(image))
    model = keras.Model(image, {f"level_{k}": level for k, level in enumerate(levels)})
    loss = losses.EndPointError()
    model.compile(keras.optimizers.SGD(0.01), losses.MultiScaleLoss(loss, decay=0.5))
    x, y, mask = (np.float32(each) for each in (RNG.standard_normal([2, 9, 14, 3]), UNKNOWN, MASK))
    given = {"x": x, "y": dict.fromkeys(model.output, y), "sample_weight": dict.fromkeys(model.output, mask)}
    found = model.evaluate(**given, verbose=0, return_dict=True)["loss"]
    wanted = losses.multi_scale_loss(y, list(model(x).values()), loss, mask=mask)
    np.testing.assert_allclose(found, np.mean(wanted), rtol=1e-5)
    before = model.get_weights()
    model.fit(**given, verbose=0)
    after = model.get_weights()
    assert all(np.isfinite(w).all() for w in after)
    assert all(np.any(a != b) for a, b in zip(before, after))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"mask": np.ones([2, 9, 13])},
            r"`mask` must be .batch, height, .* of `targets`. Received: mask of shape \(2, 9, 13\)",
        ),
        ({"mask": np.ones([2, 9, 14, 2])}, "`mask` must be .batch, height, .* Received: mask of shape"),
        ({"mask": np.ones([3, 9, 14])}, "`mask` must be .batch, height, .* Received: mask of shape"),
        ({"kernel": [-1, 4, -1]}, r"`kernel` must have no negative taps if `mask` is given.* Received: kernel="),
        (
            {"loss": losses.EndPointError(0.5)},
            "`loss` must return a value for each pixel, .* Received: a loss of shape",
        ),
        ({"targets": LEVELS}, "`mask` must be None if `targets` is a list, .* Received: a list of 3 targets"),
        ({"targets": TARGET[..., :1]}, "`targets` must have as many channels as `predictions`"),
    ],
)
def test_bad_arguments_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        losses.multi_scale_loss(**{"targets": TARGET, "predictions": LEVELS, "mask": MASK, **arguments})


def test_weights_of_another_shape_are_errors():
    loss, p = losses.MultiScaleLoss("mse"), np.float32(LEVELS[1])
    with pytest.raises(ValueError, match=r"`mask` must be .batch, height, .* Received: mask of shape \(2, 5, 7\)"):
        loss(np.float32(TARGET), p, np.ones([2, 5, 7], np.float32))
    with pytest.raises(ValueError, match="`sample_weight` must be one number for each sample"):
        loss(np.float32(TARGET), p, np.ones([2, 2], np.float32))
