"""pyramid_flow as a whole under XLA, in loops, in half precision, and on two devices."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_pyramid_flow import pair, perturbed, small
from tfpyramid import losses
from tfpyramid._compat import keras, raw

ROOT = Path(__file__).parents[2]


def tensors(*shape):
    return {key: tf.constant(image) for key, image in pair(*shape).items()}


def with_gradients(model):
    """Return a function from a pair to its flows, and the gradients of their squares for images and weights."""
    weights = [raw(w) for w in model.trainable_weights]

    def run(first, second):
        with tf.GradientTape() as tape:
            tape.watch([first, second])
            flows = model({"first": first, "second": second})
            loss = tf.add_n([tf.reduce_mean(tf.square(flow)) for flow in flows.values()])
        return flows, tape.gradient(loss, [first, second, *weights])

    return run


def assert_same(found, expected, tolerance=1e-4):
    found, expected = tf.nest.flatten(found), tf.nest.flatten(expected)
    for y, wanted in zip(found, expected, strict=True):
        scale = max(1.0, np.max(np.abs(wanted), initial=0))
        np.testing.assert_allclose(y, wanted, atol=tolerance * scale, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["warp", "lookup"])
def test_xla_gives_the_same_flow_and_gradients(sampling):
    model = perturbed(small(2, sampling=sampling))
    run, images = with_gradients(model), tensors(2, 13, 10, 3)
    assert_same(tf.function(run, jit_compile=True, autograph=False)(**images), run(**images))


@pytest.mark.slow
def test_a_graph_of_unknown_sizes_gives_the_same_flow_and_gradients():
    model = perturbed(small(sampling="lookup"))
    run = with_gradients(model)
    spec = tf.TensorSpec([None, None, None, 3])
    traced = tf.function(run, autograph=False, input_signature=[spec, spec])
    for shape in ((2, 13, 10, 3), (1, 1, 1, 3)):
        images = tensors(*shape)
        assert_same(traced(*images.values()), run(**images))
    flows, gradients = traced(tf.zeros([0, 5, 4, 3]), tf.zeros([0, 5, 4, 3]))
    assert flows["flow"].shape == (0, 5, 4, 2)
    assert not any(np.any(g) for g in gradients if g is not None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampling, loop",
    [("warp", tf.map_fn), ("warp", tf.vectorized_map), ("lookup", tf.vectorized_map)],
    ids=["map_fn", "vectorized_map", "vectorized_map of a lookup"],
)
def test_pairs_in_a_loop_have_the_flow_and_gradients_of_a_batch(sampling, loop):
    model, images = perturbed(small(2, sampling=sampling)), tensors(3, 9, 8, 3)

    def one(each):
        return model({key: image[None] for key, image in each.items()})["flow"][0]

    def in_loop(images):
        return loop(one, images, fn_output_signature=tf.float32) if loop is tf.map_fn else loop(one, images)

    found = []
    for way in (in_loop, lambda images: model(images)["flow"]):

        @tf.function(autograph=False)
        def run(images, way=way):
            with tf.GradientTape() as tape:
                tape.watch(images)
                flow = way(images)
                loss = tf.reduce_sum(tf.square(flow))
            return flow, tape.gradient(loss, images)

        found.append(run(images))
    assert np.abs(found[1][0]).max() > 0.1
    assert_same(*found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "policy, tolerance, sampling", [("mixed_float16", 0.05, "warp"), ("mixed_bfloat16", 0.4, "lookup")]
)
def test_mixed_precision_is_close_to_float32(policy, tolerance, sampling):
    reference, images = perturbed(small(sampling=sampling), 0.05), pair(2, 17, 12, 3)
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = small(sampling=sampling)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    model.set_weights(reference.get_weights())
    flows, expected = model(images), reference(images)
    size = float(tf.reduce_max(tf.abs(expected["flow"])))
    for key, flow in flows.items():
        assert flow.dtype == tf.float32
        assert np.abs(flow - expected[key]).mean() < tolerance * size
    model.compile("sgd", losses.MultiScaleLoss(losses.EndPointError(), decay=1.0), jit_compile=False)
    model.fit(images, dict.fromkeys(model.output, np.ones([2, 17, 12, 2], np.float32)), verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.slow
def test_two_devices_train_as_one():
    command = [sys.executable, "-m", "tests.models.flow_on_two_devices"]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-1500:]
