"""FixationPredictor and FoveatedPyramid: what they learn together, and what they refuse."""

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.test_fovea import by_levels
from tfpyramid import layers, ops, training
from tfpyramid._compat import keras


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("f")


def test_several_fixations_of_each_image_are_an_axis():
    images, fixations = normal(2, 60, 61, 3), np.float32([[[0.2, 0.3], [0.9, 0.1], [-0.1, 1.2]]] * 2)
    layer = layers.FoveatedPyramid(4, 2, border="edge")
    crops = layer([images, fixations])
    assert [tuple(crop.shape) for crop in crops] == [(2, 3, 4, 4, 3)] * 2
    assert layer.compute_output_shape([images.shape, fixations.shape]) == [(2, 3, 4, 4, 3)] * 2
    for crop, expected in zip(crops, by_levels(images, np.float64(fixations), 4, 2, border="edge")):
        np.testing.assert_allclose(crop, expected, atol=1e-5)


@pytest.mark.slow
def test_a_predictor_learns_from_the_crops_where_to_look():
    rng = np.random.default_rng(0)
    places = rng.integers(4, 28, [64, 2])
    images = np.zeros([64, 32, 32, 1], "f")
    for image, (i, j) in zip(images, places):
        image[i - 1 : i + 2, j - 1 : j + 2] = 1
    start = keras.Input((32, 32, 1))
    fixations = layers.FixationPredictor(filters=8, temperature=0.2)(layers.BilinearDownsample2D(2.0)(start))
    crops = layers.FoveatedPyramid(5, 2)([start, fixations])
    # What is seen in the middle of the crops should be bright: no position is given.
    brightness = keras.layers.GlobalAveragePooling2D()(crops[0])
    model = keras.Model(start, [brightness, fixations])
    model.compile(keras.optimizers.Adam(0.03), loss=[lambda y, p: tf.reduce_mean(-p), None])
    model.fit(images, [np.zeros([64, 1]), np.zeros([64, 2])], batch_size=16, epochs=30, verbose=0)
    error = 32 * np.asarray(model(images)[1]) - 0.5 - places
    assert np.mean(np.abs(error).max(axis=1) < 2) > 0.9, np.abs(error).max(axis=1)


def test_fixations_differ_from_the_start():
    fixations = layers.FixationPredictor(3)(normal(2, 8, 9, 3))
    assert fixations.shape == (2, 3, 2)
    assert min(float(tf.norm(fixations[:, a] - fixations[:, b])) for a, b in ((0, 1), (0, 2), (1, 2))) > 1e-4


def test_maps_are_the_weights_of_the_fixations():
    view, query = normal(2, 6, 5, 3), normal(2, 4)
    layer = layers.FixationPredictor(2, temperature=0.5)
    fixations = layer([view, query])
    layer.query_kernel.assign(0.5 * normal(4, 64))
    maps = layer.fixation_maps([view, query])
    assert maps.shape == (2, 2, 6, 5)
    np.testing.assert_allclose(tf.reduce_sum(maps, [2, 3]), np.ones([2, 2]), rtol=1e-5)
    rows = tf.einsum("bnij,i->bn", maps, (np.arange(6, dtype="f") + 0.5) / 6)
    moved = layer([view, query])
    np.testing.assert_allclose(rows, moved[..., 0], rtol=1e-5)
    assert np.abs(moved - fixations).max() > 1e-4  # The query matters.


def test_the_temperature_is_annealed():
    layer = layers.FixationPredictor(filters=2, temperature=2.0)
    model = keras.Sequential([keras.Input((4, 4, 1)), layer])
    model.compile("sgd", "mse")
    annealing = training.TemperatureAnnealing(2.0, 0.5, steps=3)
    model.fit(normal(4, 4, 4, 1), np.zeros([4, 2]), epochs=3, callbacks=[annealing], verbose=0)
    assert float(layer.temperature) == pytest.approx(0.5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_no_policy_rounds_fixations(policy):
    view = np.zeros([1, 300, 300, 1], "f")
    view[0, 201, 77] = 1
    layer = layers.FixationPredictor(filters=1, kernel_size=1, hard=True, dtype=policy)
    layer.build(view.shape)
    layer.features_kernel.assign(tf.ones([1, 1, 1, 1]))
    layer.map_kernel.assign(tf.ones([1, 1]))
    fixations = layer(view)
    assert fixations.dtype == tf.float32
    np.testing.assert_array_equal(fixations, np.float32([[201.5 / 300, 77.5 / 300]]))
    (crop,) = layers.FoveatedPyramid(1, 1, dtype=policy)([view, fixations])
    assert crop.dtype == policy.split("_")[1]
    assert float(tf.squeeze(crop)) == 1
    symbolic = keras.Input((None, None, 1))
    outputs = layer(symbolic)
    assert keras.Model(symbolic, outputs)(view).dtype == tf.float32


def test_nan_reaches_its_own_sample():
    view = normal(3, 6, 5, 2)
    view[1, 3, 2] = np.nan
    y = layers.FixationPredictor(2)(view)
    np.testing.assert_array_equal(np.isnan(y).any(axis=(1, 2)), [False, True, False])


def test_a_view_of_one_pixel_is_its_center():
    np.testing.assert_allclose(layers.FixationPredictor()(normal(2, 1, 1, 3)), np.full([2, 2], 0.5))


def test_crops_are_read_where_the_view_was_seen():
    # Of a box pyramid: its samples lie at the centers of equal cells of the image.
    images = np.zeros([1, 64, 64, 1], "f")
    images[0, 40:44, 16:20] = 1
    view = ops.gaussian_pyramid(images, 3, kernel="box")[2]
    fixations = ops.soft_argmax(view, hard=True)[:, 0]
    np.testing.assert_array_equal(fixations, [[42 / 64, 18 / 64]])
    np.testing.assert_array_equal(ops.foveated_pyramid(images, fixations, 4, 1)[0], np.ones([1, 4, 4, 1]))


@pytest.mark.parametrize(
    "make, inputs, message",
    [
        (lambda: layers.FoveatedPyramid(0, 2), None, "`size` must be an integer of at least 1"),
        (lambda: layers.FoveatedPyramid(8, 0), None, "`num_levels` must be an integer of at least 1"),
        (lambda: layers.FoveatedPyramid(8, 2, 1.0), None, "`scale_factor` must be a finite number greater than 1"),
        (lambda: layers.FoveatedPyramid(8, 2), np.zeros([1, 8, 8, 1], "f"), r"`inputs` must be a list of two tensors"),
        (
            lambda: layers.FoveatedPyramid(8, 2),
            [np.zeros([1, 8, 8, 1], "f"), np.zeros([1, 3], "f")],
            r"`fixations` must be \[batch, 2\], or .* Received: fixations of shape \(1, 3\)",
        ),
        (lambda: layers.FixationPredictor(0), None, "`num_fixations` must be an integer of at least 1"),
        (lambda: layers.FixationPredictor(temperature=0), None, "`temperature` must be a finite number"),
        (lambda: layers.FixationPredictor(filters=0), None, "`filters` must be an integer of at least 1"),
        (
            lambda: layers.FixationPredictor(),
            [np.zeros([1, 8, 8, 1], "f"), np.zeros([1, 3, 2], "f")],
            r"`query` must have the shape \[batch, size\] .* Received: query of shape \(1, 3, 2\)",
        ),
    ],
)
def test_a_bad_argument_is_named(make, inputs, message):
    with pytest.raises(ValueError, match=message):
        layer = make()
        layer(inputs)
