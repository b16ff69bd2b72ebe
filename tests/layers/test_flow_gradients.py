"""What each remedy for flow on a pyramid does to the gradients between levels."""

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.finite_differences import assert_gradients
from tfpyramid import layers, losses, ops

RNG = np.random.default_rng(0)
SIZES = [(12, 16), (6, 8), (3, 4)]  # Finest first.


def two_images():
    """Return the features of each level of two images, and the true flow: an object over a still background."""
    first = RNG.standard_normal([1, *SIZES[0], 4])
    flow = np.zeros([1, *SIZES[0], 2])
    flow[:, 4:8, 4:9] = [2.0, 0.0]
    second = first.copy()
    second[:, 4:8, 6:11] = first[:, 4:8, 4:9]
    return ops.gaussian_pyramid(first, 3), ops.gaussian_pyramid(second, 3), flow


FIRST, SECOND, TRUTH = two_images()
DECODER = 0.2 * RNG.standard_normal([9, 2])


def estimated(changes, *, stop=False, sampling="warp"):
    """Return the flow of each level, finest first, in pixels of the images.

    Each level adds to the magnified flow of the level before it what a linear decoder makes of the costs, and one of
    `changes`, which the gradients are measured at.
    """
    costs, flow, flows = layers.CostVolume(1, sampling=sampling, dtype="float64"), None, []
    for k in (2, 1, 0):
        flow = tf.zeros([1, *SIZES[2], 2], tf.float64) if flow is None else 2 * ops.resize_by(flow, 2.0, SIZES[k])
        if stop:
            flow = tf.stop_gradient(flow)
        volume = costs([FIRST[k], SECOND[k], flow])
        flow = flow + tf.einsum("bijk,kc->bijc", volume, DECODER) + changes[k]
        flows.append(2**k * flow)
    return flows[::-1]


def no_changes():
    return [tf.constant(0.3 * np.random.default_rng(k).standard_normal([1, *SIZES[k], 2])) for k in range(3)]


def gradients(level, loss="mse", **options):
    """Return the gradient of the loss of one level for the change of each level; zeros if there is no path."""
    changes, weights = no_changes(), [float(k == level) for k in range(3)]
    with tf.GradientTape() as tape:
        tape.watch(changes)
        value = losses.multi_scale_loss(TRUTH, estimated(changes, **options), loss, weights=weights)
    return [g.numpy() for g in tape.gradient(value, changes, unconnected_gradients="zero")]


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["warp", "lookup"])
def test_the_gradient_of_a_coarse_flow_is_the_derivative_of_a_fine_loss(sampling):
    # Through the window of the costs, the warp and the sum.
    def loss(*changes):
        return losses.multi_scale_loss(TRUTH, estimated(changes, sampling=sampling))

    assert_gradients(loss, no_changes())


@pytest.mark.parametrize("sampling", [pytest.param("warp", marks=pytest.mark.slow), "lookup"])
def test_a_stop_between_levels_leaves_each_loss_to_its_own_level(sampling):
    for level in range(3):
        free, stopped = (gradients(level, sampling=sampling, stop=stop) for stop in (False, True))
        for k in range(3):
            assert np.any(free[k] != 0) == (k >= level)
            if k == level:
                np.testing.assert_allclose(stopped[k], free[k], atol=1e-15)
            else:
                np.testing.assert_array_equal(stopped[k], np.zeros_like(stopped[k]))


@pytest.mark.slow
def test_stopped_levels_have_gradients_of_more_equal_length():
    def spread(**options):
        """Return the ratio of the largest to the smallest gradient norm of a level, for the sum of all losses."""
        each = [gradients(level, losses.EndPointError(), **options) for level in range(3)]
        norms = [np.linalg.norm(np.sum(parts, axis=0)) for parts in zip(*each)]
        return max(norms) / min(norms)

    # Without a stop, the coarsest level adds up the gradients of all losses: each of its pixels is 16 of the finest.
    assert spread(stop=True) < 0.6 * spread(stop=False)


def test_lookup_sends_a_fine_loss_to_fewer_coarse_pixels_than_a_warp():
    # The loss of one pixel on the left edge of the object, where the flow changes between neighbours.
    reached = {}
    for sampling in ("warp", "lookup"):
        changes = no_changes()
        with tf.GradientTape() as tape:
            tape.watch(changes)
            flow = estimated(changes, sampling=sampling)[0][0, 5, 4]
            value = tf.reduce_sum(flow)
        of_coarse = tape.gradient(value, changes)[1]
        reached[sampling] = np.any(of_coarse[0] != 0, axis=-1)
    assert np.all(reached["warp"] >= reached["lookup"]) and reached["warp"].sum() > reached["lookup"].sum()


@pytest.mark.parametrize("level", [1, *(pytest.param(k, marks=pytest.mark.slow) for k in (0, 2))])
def test_loss_max_pooling_has_gradients_at_the_hardest_pixels_of_each_level(level):
    everywhere, pooled = (gradients(level, losses.EndPointError(share), stop=True)[level] for share in (1.0, 0.1))
    norms = [np.linalg.norm(gradient, axis=-1) for gradient in (everywhere, pooled)]
    count = norms[0].size
    # Each of the hardest pixels has ten times its share, and the last of them what is left of it.
    np.testing.assert_allclose(norms[0], 2**level / count)
    assert np.count_nonzero(norms[1]) == np.ceil(0.1 * count)
    np.testing.assert_allclose(norms[1].max(), min(10 / count, 1) * 2**level)


def test_gradient_normalization_gives_each_level_the_same_norm():
    normalize, changes = layers.GradientNormalization(dtype="float64"), no_changes()
    with tf.GradientTape() as tape:
        tape.watch(changes)
        value = losses.multi_scale_loss(TRUTH, estimated(normalize(changes)))
    np.testing.assert_allclose([np.linalg.norm(g) for g in tape.gradient(value, changes)], np.ones(3))
