"""The loss at every level: its values, what Keras makes of it, and what it refuses."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import layers, losses, ops
from tfpyramid._compat import KERAS_3, keras

RNG = np.random.default_rng(0)
TARGET = RNG.standard_normal([2, 9, 14, 3])


def noisy_levels(num_levels, dtype=np.float64, **step):
    levels = references.gaussian_pyramid(TARGET, num_levels, **step)
    return [np.asarray(level + RNG.standard_normal(level.shape), dtype) for level in levels]


def expected(predictions, weights, compare, **step):
    levels = references.gaussian_pyramid(TARGET, len(predictions), **step)
    return sum(w * compare(t - p).mean(axis=(1, 2, 3)) for w, t, p in zip(weights, levels, predictions))


@pytest.mark.parametrize(
    "loss, compare",
    [("mse", np.square), ("mae", np.abs), (keras.losses.MeanSquaredError(), np.square)],
    ids=["mse", "mae", "object"],
)
def test_levels_are_compared_with_the_pyramid_of_the_target(loss, compare):
    predictions = noisy_levels(4)
    found = losses.multi_scale_loss(TARGET, predictions, loss)
    np.testing.assert_allclose(found, expected(predictions, [1, 0.5, 0.25, 0.125], compare), rtol=1e-6)


def test_a_function_can_be_the_loss():
    predictions = noisy_levels(2)
    found = losses.multi_scale_loss(TARGET, predictions, lambda t, p: tf.abs(t - p) ** 3)
    np.testing.assert_allclose(found, expected(predictions, [1, 0.5], lambda d: np.abs(d) ** 3), rtol=1e-12)


def test_weights_and_decay_are_those_that_are_given():
    predictions = noisy_levels(3)
    found = losses.multi_scale_loss(TARGET, predictions, weights=[0, 2, 0.3])
    np.testing.assert_allclose(found, expected(predictions, [0, 2, 0.3], np.square), rtol=1e-12)
    found = losses.multi_scale_loss(TARGET, predictions, decay=2)
    np.testing.assert_allclose(found, expected(predictions, [1, 2, 4], np.square), rtol=1e-12)


def test_the_pyramid_of_the_target_is_of_the_given_factor_kernel_and_border():
    step = {"scale_factor": 3.0, "kernel": "box", "border": "edge"}
    predictions = noisy_levels(3, **step)
    found = losses.multi_scale_loss(TARGET, predictions, **step)
    np.testing.assert_allclose(found, expected(predictions, [1, 0.5, 0.25], np.square, **step), rtol=1e-12)


def test_a_single_output_finds_its_weight_by_its_size():
    levels = noisy_levels(4)
    one_by_one = [losses.multi_scale_loss(TARGET, level, decay=0.3) for level in levels]
    np.testing.assert_allclose(sum(one_by_one), losses.multi_scale_loss(TARGET, levels, decay=0.3), rtol=1e-12)


def test_levels_may_begin_below_the_full_size():
    levels = noisy_levels(3)[1:]
    targets = references.gaussian_pyramid(TARGET, 3)[1:]
    found = losses.multi_scale_loss(TARGET, levels)
    np.testing.assert_allclose(found, losses.multi_scale_loss(targets, levels), rtol=1e-12)


def test_one_pixel_stays_one_pixel_for_every_level_of_a_list():
    target = np.full([1, 2, 2, 1], 3.0)
    predictions = [target, *[np.zeros([1, 1, 1, 1])] * 2]
    np.testing.assert_allclose(losses.multi_scale_loss(target, predictions), [9 * 0.75])


@pytest.mark.slow
@pytest.mark.parametrize("scale_factor", [2.0, 1.5])
def test_sizes_that_are_not_known_while_tracing_give_the_same(scale_factor):
    predictions = noisy_levels(4, scale_factor=scale_factor)
    unknown = tf.TensorSpec([None, None, None, 3], tf.float64)

    @tf.function(input_signature=[unknown, [unknown] * 4], autograph=False)
    def traced(target, levels):
        singles = [losses.multi_scale_loss(target, level, scale_factor=scale_factor) for level in levels]
        return losses.multi_scale_loss(target, levels, scale_factor=scale_factor), tf.add_n(singles)

    wanted = losses.multi_scale_loss(TARGET, predictions, scale_factor=scale_factor)
    for found in traced(tf.constant(TARGET), [tf.constant(p) for p in predictions]):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    for sides in [(4, 8), (9, 15), (20, 20)]:
        with pytest.raises(tf.errors.InvalidArgumentError, match="`predictions` must have the sizes of levels"):
            traced(tf.constant(TARGET), [tf.zeros([2, *sides, 3], tf.float64)] * 4)


def test_xla_gives_the_same():
    predictions = [tf.constant(p) for p in noisy_levels(3)]
    compiled = tf.function(losses.multi_scale_loss, jit_compile=True, autograph=False)
    np.testing.assert_allclose(
        compiled(tf.constant(TARGET), predictions), losses.multi_scale_loss(TARGET, predictions), rtol=1e-12
    )


def test_half_precision_is_compared_in_single():
    predictions = noisy_levels(3, np.float16)
    found = losses.multi_scale_loss(TARGET, predictions)
    assert found.dtype == tf.float32
    wanted = losses.multi_scale_loss(TARGET, [np.float64(p) for p in predictions])
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_an_empty_batch_has_no_losses():
    levels = ops.gaussian_pyramid(tf.zeros([0, 5, 6, 2]), 3)
    assert losses.multi_scale_loss(levels[0], levels).shape == (0,)


def model_of_levels(num_levels=3):
    image = keras.Input((None, None, 3))
    levels = layers.PyramidConv2D(3)(layers.LearnablePyramid(num_levels)(image))
    return keras.Model(image, levels)


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_keras_sums_it_over_the_outputs_of_a_model(known):
    model = model_of_levels()
    model.compile(keras.optimizers.SGD(0.0), loss=losses.MultiScaleLoss("mse", decay=0.5))
    x, y = np.float32(RNG.standard_normal([2, 2, 9, 14, 3]))
    data = tf.data.Dataset.from_tensors((x, (y, y, y))).repeat(2)  # Repeated: warnings are errors here.
    if not known:
        spec = tf.TensorSpec([None, None, None, 3])
        data = tf.data.Dataset.from_generator(lambda: iter([(x, (y, y, y))] * 2), output_signature=(spec, (spec,) * 3))
    history = model.fit(data, epochs=1, steps_per_epoch=1, shuffle=False, verbose=0).history
    wanted = np.mean(losses.multi_scale_loss(y, model(x)))
    np.testing.assert_allclose(history["loss"][0], wanted, rtol=1e-5)


@pytest.mark.slow
def test_levels_in_a_dict_have_a_loss_each_in_the_history():
    listed = model_of_levels()
    outputs = {f"level_{k}": level for k, level in enumerate(listed.output)}
    model = keras.Model(listed.input, outputs)
    model.compile(keras.optimizers.SGD(0.0), loss=losses.MultiScaleLoss("mse", decay=0.5))
    x, y = np.float32(RNG.standard_normal([2, 2, 9, 14, 3]))
    history = model.fit(x, dict.fromkeys(model.output, y), shuffle=False, verbose=0).history
    found = [values[0] for name, values in history.items() if name.endswith("_loss")]
    if KERAS_3:  # Keras 2 numbers them.
        found = [history[f"level_{k}_loss"][0] for k in range(3)]
    wanted = [np.mean(losses.multi_scale_loss(y, level, decay=0.5)) for level in listed(x)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.slow
def test_the_loss_trains_every_level():
    model = model_of_levels()
    model.compile(keras.optimizers.SGD(0.1), loss=losses.MultiScaleLoss())
    before = model.get_weights()
    x = np.float32(RNG.standard_normal([4, 8, 8, 3]))
    model.fit(x, [x] * 3, verbose=0)
    assert all(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_mask_of_integers_is_cast_as_keras_casts():
    mask = RNG.integers(0, 2, [2, 8, 8, 1])
    half = np.full([2, 4, 4, 1], 0.5, np.float32)
    found = losses.MultiScaleLoss("mse")(mask, half)
    level = references.pyr_down(np.float64(mask))
    np.testing.assert_allclose(found, 0.5 * np.mean((level - 0.5) ** 2), rtol=1e-5)


def test_samples_are_weighed():
    y, p = np.float32(RNG.standard_normal([2, 3, 8, 8, 1]))
    weights = np.float32([1, 0, 2])
    per_sample = np.mean((y - p) ** 2, axis=(1, 2, 3))
    found = losses.MultiScaleLoss("mse")(y, p, sample_weight=weights)
    np.testing.assert_allclose(found, np.sum(per_sample * weights) / 3, rtol=1e-5)


@pytest.mark.parametrize("loss", ["mae", keras.losses.BinaryCrossentropy(from_logits=True)], ids=["name", "object"])
def test_the_configuration_makes_an_equal_loss(loss):
    made = losses.MultiScaleLoss(loss, 0.3, scale_factor=3, kernel="box", border="edge", phase=0.25, reduction="sum")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(made)))
    again = keras.saving.deserialize_keras_object(config)
    mine = [{name: value for name, value in each.get_config().items() if name != "loss"} for each in (again, made)]
    assert mine[0] == mine[1]
    levels = [np.float32(level) for level in noisy_levels(1)]
    target = np.float32(TARGET)
    np.testing.assert_allclose(again(target, levels[0]), made(target, levels[0]))


@pytest.mark.slow
def test_a_compiled_model_is_saved_with_it(tmp_path):
    model = model_of_levels()
    model.compile("sgd", loss=losses.MultiScaleLoss(keras.losses.Huber(), decay=0.25))
    x = np.float32(RNG.standard_normal([4, 8, 8, 3]))
    model.fit(x, [x] * 3, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        again.evaluate(x, [x] * 3, verbose=0)[0], model.evaluate(x, [x] * 3, verbose=0)[0], rtol=1e-5
    )


@pytest.mark.parametrize("sides", [(9, 13), (4, 7), (10, 14), (18, 28), (1, 2)])
def test_a_prediction_of_a_size_that_no_level_has_is_refused(sides):
    message = "`predictions` must have the sizes of levels .* pass a list with a target for each. Received: a pred"
    with pytest.raises(ValueError, match=message):
        losses.multi_scale_loss(TARGET, np.zeros([2, *sides, 3]))
    with pytest.raises(ValueError, match=message):
        losses.MultiScaleLoss()(TARGET, np.zeros([2, *sides, 3]))


def test_a_coarser_prediction_before_a_finer_one_is_refused():
    with pytest.raises(ValueError, match="`predictions` must have the sizes of levels of `targets`"):
        losses.multi_scale_loss(TARGET, noisy_levels(3)[::-1])


def test_targets_of_their_own_must_be_of_the_size_of_their_prediction():
    levels = noisy_levels(2)
    with pytest.raises(ValueError, match=r"Received: a prediction of sides \(5, 7\); the target has sides \(9, 14\)"):
        losses.multi_scale_loss([TARGET, TARGET], levels)
    with pytest.raises(
        ValueError, match="`targets` must be one tensor, or a list of 2 targets, one .* Received: 1 targets"
    ):
        losses.multi_scale_loss([TARGET], levels)


def test_classes_that_are_not_one_hot_are_refused():
    with pytest.raises(ValueError, match="`targets` must have as many channels .* Encode classes as one-hot"):
        losses.multi_scale_loss(TARGET[..., :1], TARGET, "sparse_categorical_crossentropy")


def test_integer_targets_are_refused_by_the_function():
    with pytest.raises(ValueError, match="`targets` must be floating point. Convert integers first"):
        losses.multi_scale_loss(np.zeros([1, 4, 4, 1], np.uint8), np.zeros([1, 4, 4, 1]))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"loss": "nothing"}, "`loss` must be the name of a Keras loss.* Received: loss='nothing'"),
        ({"loss": 3}, "`loss` must be the name of a Keras loss.* Received: loss=3"),
        ({"decay": 0}, "`decay` must be a finite number greater than 0.* Received: decay=0"),
        ({"scale_factor": 1}, "`scale_factor` must be .* Received: scale_factor=1"),
        ({"kernel": "lanczos"}, "`kernel` must be .* Received: kernel='lanczos'"),
        ({"border": "mirror"}, "`border` must be .* Received: border='mirror'"),
        ({"phase": np.nan}, "`phase` must be a finite number.* Received: phase=nan"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        losses.MultiScaleLoss(**arguments)
    with pytest.raises(ValueError, match=message):
        losses.multi_scale_loss(TARGET, [TARGET], **arguments)


@pytest.mark.parametrize(
    "weights, message",
    [
        ([1.0], "`weights` must be a list of 2 numbers, one for each of `predictions`. Received"),
        (2.0, "`weights` must be a list of 2 numbers, one for each of `predictions`. Received"),
        (
            [1.0, -1.0],
            "`weights` must be a finite number of at least 0, one for each of `predictions`. Received: weights=-1",
        ),
    ],
)
def test_weights_are_checked(weights, message):
    with pytest.raises(ValueError, match=message):
        losses.multi_scale_loss(TARGET, noisy_levels(2), weights=weights)


def test_weights_are_for_lists():
    with pytest.raises(ValueError, match="`weights` must be None if .* is a single tensor. Received: weights="):
        losses.multi_scale_loss(TARGET, TARGET, weights=[1.0])


def test_no_predictions_are_refused():
    with pytest.raises(
        ValueError, match=r"`predictions` must be a list of at least one level.* Received: predictions=\[\]"
    ):
        losses.multi_scale_loss(TARGET, [])
