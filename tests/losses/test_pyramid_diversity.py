"""The loss for levels that are alike: its values, its gradient, its layer, and what it refuses."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import layers, losses, ops
from tfpyramid._compat import keras

RNG = np.random.default_rng(0)


def levels_of(*channels, sides=(9, 14), factor=2.0, dtype=np.float64):
    shapes = [(2, *sides, channels[0])]
    for c in channels[1:]:
        shapes.append((2, *(int(np.ceil(n / factor)) for n in shapes[-1][1:3]), c))
    return [RNG.standard_normal(shape).astype(dtype) for shape in shapes]


def expected(levels, factor=2.0):
    pairs = [(references.pyr_down(a, factor), b) for a, b in zip(levels, levels[1:])]
    cosines = [
        [np.dot(x.ravel(), y.ravel()) / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(*p)] for p in pairs
    ]
    return np.mean(cosines, axis=0)


@pytest.mark.parametrize("factor", [2.0, 3.0])
def test_it_is_the_mean_cosine_of_neighbours(factor):
    levels = levels_of(3, 3, 3, factor=factor)
    found = losses.pyramid_diversity_loss(levels, scale_factor=factor)
    np.testing.assert_allclose(found, expected(levels, factor), atol=1e-12)


def test_a_copy_is_as_alike_as_can_be_whatever_its_size_and_sign():
    levels = ops.gaussian_pyramid(tf.constant(RNG.random([1, 9, 7, 2])), 2)
    for scale in (1e-30, 1.0, 1e25, -3.0):
        scaled = [tf.cast(level * scale, tf.float32) for level in levels]
        np.testing.assert_allclose(losses.pyramid_diversity_loss(scaled), [1.0], rtol=1e-6)
        opposite = [scaled[0], -scaled[1]]
        np.testing.assert_allclose(losses.pyramid_diversity_loss(opposite), [-1.0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32])
def test_what_is_zero_is_like_nothing_and_has_a_finite_gradient(dtype):
    fine, coarse = (tf.cast(level, dtype) for level in levels_of(2, 2))
    for levels in ([tf.zeros_like(fine), coarse], [fine, tf.zeros_like(coarse)], [0 * fine, 0 * coarse]):
        with tf.GradientTape() as tape:
            tape.watch(levels)
            loss = losses.pyramid_diversity_loss(levels)
        assert np.array_equal(loss, [0, 0])
        assert all(np.all(np.isfinite(tf.cast(g, tf.float32))) for g in tape.gradient(loss, levels))


def test_the_gradient_is_that_of_finite_differences():
    levels = [tf.constant(level) for level in levels_of(2, 2, sides=(5, 4))]
    with tf.GradientTape() as tape:
        tape.watch(levels)
        loss = tf.reduce_sum(losses.pyramid_diversity_loss(levels))
    for k, gradient in enumerate(tape.gradient(loss, levels)):
        direction = RNG.standard_normal(levels[k].shape)
        values = []
        for sign in (1, -1):
            moved = [level + (sign * 1e-6 * direction if j == k else 0) for j, level in enumerate(levels)]
            values.append(float(tf.reduce_sum(losses.pyramid_diversity_loss(moved))))
        assert abs((values[0] - values[1]) / 2e-6 - np.sum(gradient * direction)) < 1e-7


@pytest.mark.slow
def test_unknown_sizes_and_xla_give_the_same():
    levels = [tf.constant(level, tf.float32) for level in levels_of(3, 3, 3)]
    spec = tf.TensorSpec([None, None, None, 3])
    traced = tf.function(losses.pyramid_diversity_loss, input_signature=[[spec] * 3], autograph=False)
    compiled = tf.function(losses.pyramid_diversity_loss, jit_compile=True, autograph=False)
    for found in (traced(levels), compiled(levels)):
        np.testing.assert_allclose(found, expected([np.float64(level) for level in levels]), atol=1e-6)


@pytest.mark.slow
def test_the_layer_adds_it_and_fit_makes_levels_differ():
    image = keras.Input((8, 8, 1))
    pyramid = layers.LearnablePyramid(3)
    model = keras.Model(image, losses.PyramidDiversity(0.1)(pyramid(image)))
    # Off the Gaussian, where neighbours are as alike as can be and the gradient is zero.
    pyramid.set_weights([w + 0.1 * RNG.standard_normal(w.shape) for w in pyramid.get_weights()])
    x = RNG.random([8, 8, 8, 1]).astype(np.float32)
    model.compile(keras.optimizers.SGD(0.5), loss=["mse"] * 3, loss_weights=[0.0] * 3)
    before = np.mean(losses.pyramid_diversity_loss(model(x)))
    first = model.evaluate(x, [y.numpy() for y in model(x)], verbose=0)
    np.testing.assert_allclose(np.ravel(first)[0], 0.1 * before, rtol=1e-5)
    model.fit(x, [y.numpy() for y in model(x)], epochs=3, verbose=0)
    assert np.mean(losses.pyramid_diversity_loss(model(x))) < before


def test_no_weight_adds_nothing_and_an_empty_batch_adds_zero():
    layer = losses.PyramidDiversity(0)
    layer(levels_of(1, 1, dtype=np.float32))
    assert not layer.losses
    layer = losses.PyramidDiversity()
    layer([np.zeros([0, 4, 4, 1], np.float32), np.zeros([0, 2, 2, 1], np.float32)])
    assert [float(loss) for loss in layer.losses] == [0.0]


@pytest.mark.parametrize("apply", [losses.pyramid_diversity_loss, lambda levels: losses.PyramidDiversity()(levels)])
@pytest.mark.parametrize(
    "levels, message",
    [
        (levels_of(3), "`levels` must have at least two levels to compare. Received: 1 level"),
        (levels_of(3, 2), r"`levels` must all have the same number of channels. Received: channels \[3, 2\]"),
        (levels_of(3, 3)[::-1], "`levels` must be finest first. Each side must be n / scale_factor"),
        (levels_of(3, 3, factor=3.0), "`levels` must be finest first. Each side must be n / scale_factor"),
    ],
)
def test_levels_that_cannot_be_compared_are_refused(apply, levels, message):
    with pytest.raises(ValueError, match=message):
        apply([np.float32(level) for level in levels])


@pytest.mark.parametrize("weight", [-0.1, float("nan"), "much"])
def test_the_weight_is_checked_when_the_layer_is_made(weight):
    with pytest.raises(ValueError, match="`weight` must be a finite number of at least 0.* Received: weight="):
        losses.PyramidDiversity(weight)


def test_the_scale_factor_is_checked_when_the_layer_is_made():
    with pytest.raises(ValueError, match="`scale_factor` must be .* Received: scale_factor=1"):
        losses.PyramidDiversity(scale_factor=1)
