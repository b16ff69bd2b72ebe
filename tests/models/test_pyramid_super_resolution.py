"""pyramid_super_resolution: where it starts, shapes and phases, learning, files and exports, and bad input."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import losses, models, ops
from tfpyramid._compat import keras
from tfpyramid.models._pyramid_model import PyramidModel

BICUBIC = [-3, -9, 29, 111, 111, 29, -9, -3]


def photograph(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def small(scale=4, **arguments):
    return models.pyramid_super_resolution(scale, **{"filters": 4, "num_convolutions": 1, **arguments})


def perturbed(model):
    rng = np.random.default_rng(2)
    model.set_weights([w + 0.1 * rng.standard_normal(w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("sides", [(1, 1), (1, 5), (7, 6)], ids=str)
def test_each_output_has_its_multiple_of_the_size(scale, sides):
    model = perturbed(small(scale))
    steps = [step for step in (2, 4, 8) if step <= scale]
    for batch in (2, 0):
        outputs = model(photograph(batch, *sides, 3))
        shapes = {f"x{step}": (batch, step * sides[0], step * sides[1], 3) for step in steps}
        assert {key: tuple(y.shape) for key, y in outputs.items()} == shapes


def test_it_starts_as_bicubic_interpolation():
    x = photograph(1, 12, 15, 3)
    outputs = small(8)(x)
    image = x
    for step in (2, 4, 8):
        # At the border TensorFlow leaves out what a pyramid repeats.
        sides = step * 12, step * 15
        expected = tf.image.resize(image, sides, "bicubic")
        inner = slice(2 * step, -2 * step)
        np.testing.assert_allclose(outputs[f"x{step}"][:, inner, inner], expected[:, inner, inner], atol=1e-5)
        image = outputs[f"x{step}"]


def test_the_bicubic_of_the_loss_is_that_of_the_training_images():
    photos = photograph(1, 48, 40, 3)
    half = tf.image.resize(photos, (24, 20), "bicubic", antialias=True)
    level = ops.pyr_down(photos, kernel=BICUBIC, border="edge")
    np.testing.assert_allclose(level[:, 2:-2, 2:-2], half[:, 2:-2, 2:-2], atol=1e-5)
    np.testing.assert_allclose(level, half, atol=0.1)  # TensorFlow leaves out what lies beyond the border.


def test_flipped_images_have_flipped_outputs_if_the_kernels_are_symmetric():
    """Then the grids of all outputs have the same centre as that of the images."""
    model = perturbed(small())
    model.set_weights([(w + w[:, ::-1]) / 2 if w.ndim == 4 else w for w in model.get_weights()])
    x = photograph(1, 6, 7, 3)
    flipped = model(x[:, :, ::-1])
    for key, y in model(x).items():
        np.testing.assert_allclose(flipped[key][:, :, ::-1], y, atol=1e-5)


def test_levels_share_their_weights():
    separate, shared = small(8, num_convolutions=3), small(8, num_convolutions=3, share_weights=True)
    first = 9 * 3 * 4 + 4
    assert separate.count_params() - first == 3 * (shared.count_params() - first)
    outputs = perturbed(shared)(photograph(1, 3, 4, 3))
    assert outputs["x8"].shape == (1, 24, 32, 3)


def test_each_level_may_have_its_own_number_of_convolutions():
    names = [layer.name for layer in small(4, num_convolutions=(3, 1)).layers]
    assert [name for name in names if "conv_" in name] == ["x2_conv_0", "x2_conv_1", "x2_conv_2", "x4_conv_0"]


def edges(count):
    """Return photographs of straight edges, 16 by 16, and their quarter."""
    rng = np.random.default_rng(0)
    angle, offset = rng.uniform(0, 2 * np.pi, [2, count, 1, 1])
    y, x = np.mgrid[:32, :32] - 15.5
    sharp = np.float32(np.cos(angle) * x + np.sin(angle) * y > offset - 3)[..., None]
    return tf.image.resize(sharp, (16, 16), "area"), tf.image.resize(sharp, (4, 4), "bicubic", antialias=True)


@pytest.mark.slow
def test_a_few_steps_beat_the_bicubic():
    keras.backend.clear_session()
    tf.random.set_seed(0)
    photos, quarter = edges(64)
    model = small(filters=8, input_shape=(None, None, 1))
    model.compile(
        keras.optimizers.Adam(0.02), losses.MultiScaleLoss(losses.Charbonnier(), kernel=BICUBIC, border="edge")
    )
    before = tf.reduce_mean(tf.square(model(quarter)["x4"] - photos))
    model.fit(quarter, dict.fromkeys(model.output, photos), epochs=20, batch_size=8, verbose=0)
    assert tf.reduce_mean(tf.square(model(quarter)["x4"] - photos)) < 0.6 * before


@pytest.mark.slow
def test_it_is_saved_and_exported(tmp_path):
    model = perturbed(small(share_weights=True))
    final = keras.Model(model.input, model.output["x4"])
    images = [photograph(2, 9, 6, 3), photograph(1, 4, 5, 3), photograph(0, 4, 5, 3)]
    expected = [model(x) for x in images]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is PyramidModel
    final.export(str(tmp_path / "export"))
    served = tf.saved_model.load(str(tmp_path / "export"))
    for x, y in zip(images, expected):
        for key, each in again(x).items():
            np.testing.assert_allclose(each, y[key], atol=1e-6)
        np.testing.assert_allclose(final(x), y["x4"], atol=1e-6)
        np.testing.assert_allclose(served.serve(x), y["x4"], atol=1e-6)


def test_outputs_are_float32_under_mixed_precision():
    x = photograph(1, 5, 4, 3)
    expected = small()(x)
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        outputs = small()(x)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert {y.dtype for y in outputs.values()} == {tf.float32}
    # The image itself is not rounded to float16.
    np.testing.assert_allclose(outputs["x4"], expected["x4"], atol=1e-6)


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"scale": 3}, "`scale` must be 2, 4 or 8"),
        ({"scale": 16}, "`scale` must be at most 8, 2, 4 or 8"),
        ({"scale": 4.0}, "`scale` must be an integer of at least 2, 2, 4 or 8"),
        ({"filters": 0}, "`filters` must be an integer of at least 1"),
        ({"num_convolutions": 0}, "`num_convolutions` must be an integer of at least 1"),
        ({"num_convolutions": [1]}, "`num_convolutions` must be one integer, or one for each level: 2 integers"),
        ({"share_weights": 1}, "`share_weights` must be True or False"),
        ({"input_shape": (32, 32)}, "`input_shape` must be .height, width, channels."),
    ],
)
def test_bad_arguments_are_errors(arguments, rule):
    with pytest.raises(ValueError, match=f"{rule}.* Received: {next(iter(arguments))}="):
        models.pyramid_super_resolution(**arguments)


def test_shared_levels_have_one_number_of_convolutions():
    rule = "`num_convolutions` must be one integer, .* because the levels share their weights. Received"
    with pytest.raises(ValueError, match=rule):
        small(num_convolutions=(2, 1), share_weights=True)
