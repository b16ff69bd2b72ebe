"""pyramid_flow: what it computes, shapes, gradients, options, learning, files and exports, and bad input."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, losses, models, ops
from tfpyramid._compat import keras, raw
from tfpyramid.models._pyramid_model import PyramidModel


def pair(*shape):
    rng = np.random.default_rng(0)
    return {key: rng.random(shape, np.float32) for key in ("first", "second")}


def small(num_levels=3, **arguments):
    return models.pyramid_flow(
        num_levels, **{"filters": 4, "num_convolutions": 1, "decoder_filters": (6,), "max_displacement": 2, **arguments}
    )


def perturbed(model, scale=0.1):
    rng = np.random.default_rng(2)
    model.set_weights([w + scale * rng.standard_normal(w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("sides", [(1, 1), (1, 5), (7, 6), (33, 18)], ids=str)
def test_the_flow_has_the_size_of_the_images_and_each_level_its_own(sides):
    model = perturbed(small())
    half, quarter = ([-(-side // step) for side in sides] for step in (2, 4))
    for batch in (2, 0):
        flows = model(pair(batch, *sides, 3))
        shapes = {"flow": (batch, *sides, 2), "level_1": (batch, *half, 2), "level_2": (batch, *quarter, 2)}
        assert {key: tuple(flow.shape) for key, flow in flows.items()} == shapes


@pytest.mark.parametrize(
    "options, keys",
    [
        ({}, ["flow", "level_1", "level_2"]),
        ({"finest_level": 0}, ["flow", "level_1", "level_2"]),
        ({"finest_level": 2}, ["flow", "level_2"]),
        ({"refinements": 2}, ["flow", "level_1_step_2", "level_1_step_1", "level_1", "level_2"]),
        ({"finest_level": 0, "refinements": 1}, ["flow", "level_0", "level_1", "level_2"]),
        ({"num_levels": 1, "finest_level": 0}, ["flow"]),
    ],
)
def test_outputs_are_named_after_levels_and_steps_finest_first(options, keys):
    assert list(small(**options).output) == keys


def flow_by_hand(model, first, second):
    """Return the flows of a model of three levels, in pixels of the images, from its weights."""
    names = ("features_0", "decoder_0", "decoder_flow")
    kernels = {name: [np.asarray(w, np.float64) for w in model.get_layer(name).get_weights()] for name in names}
    sharpness, threshold = (float(w) for w in model.get_layer("match").get_weights())
    displacements = np.array([(dx, dy) for dy in range(-2, 3) for dx in range(-2, 3)], np.float64)

    def convolved(x, name):
        kernel, bias = kernels[name]
        return tf.nn.conv2d(x, kernel, 1, "SAME") + bias

    def local_mean(x):
        ones = tf.ones([9, 9, 1, 1], tf.float64)
        total = tf.concat([tf.nn.conv2d(part, ones, 1, "SAME") for part in tf.split(x, x.shape[3], 3)], 3)
        return total / tf.nn.conv2d(tf.ones_like(x[..., :1]), ones, 1, "SAME")

    def features(level):
        x = convolved(level, "features_0")
        x -= local_mean(x)
        return x / tf.sqrt(tf.reduce_mean(x**2, -1, keepdims=True) + 1e-4)

    levels = [ops.gaussian_pyramid(tf.constant(x, tf.float64), 3) for x in (first, second)]
    flow, found = None, {}
    for k in (2, 1):
        one, two = (features(level[k]) for level in levels)
        size = one.shape[1:3]
        flow = tf.zeros([*one.shape[:3], 2], tf.float64) if flow is None else 2 * ops.resize_by(flow, 2.0, size)
        costs = ops.cost_volume(one, ops.warp(two, flow), 2, kernel_size=5)
        likely, unlikely = tf.exp(sharpness * costs), np.exp(sharpness * threshold)
        total = tf.reduce_sum(likely, -1, keepdims=True) + unlikely
        sure = 1 - unlikely / total
        match = local_mean(likely / total @ displacements) / (local_mean(sure) + 1e-4)
        x = tf.nn.leaky_relu(convolved(tf.concat([costs, one, match, sure, flow], -1), "decoder_0"), 0.1)
        flow += match + convolved(x, "decoder_flow")
        found[f"level_{k}"] = 2**k * flow
    return {**found, "flow": 2 * ops.resize_by(flow, 2.0, first.shape[1:3])}


def test_it_computes_its_equation():
    model = small()
    pyramid = model.get_layer("pyramid").get_weights()
    perturbed(model)
    model.get_layer("pyramid").set_weights(pyramid)  # The Gaussian pyramid.
    images = pair(2, 13, 18, 3)
    expected = flow_by_hand(model, **images)
    assert np.abs(expected["level_1"]).max() > 1
    for key, flow in model(images).items():
        np.testing.assert_allclose(flow, expected[key], rtol=1e-3, atol=1e-3)


def test_an_untrained_model_matches_patches():
    images, truth = shifted(8)
    tf.random.set_seed(0)
    flow = models.pyramid_flow(3)(images)["flow"]
    inner = slice(8, -8)
    error, size = (np.linalg.norm(x[:, inner, inner], axis=-1).mean() for x in (flow - truth, truth))
    assert error < 0.4 * size


def test_a_gradient_reaches_every_weight():
    for options in ({}, {"stop_gradient": True, "refinements": 1}, {"normalize_gradients": True, "sampling": "lookup"}):
        model = perturbed(small(**options))
        with tf.GradientTape() as tape:
            flows = model(pair(2, 17, 16, 3), training=True)
            loss = tf.add_n([tf.reduce_mean(flow**2) for flow in flows.values()])
        gradients = tape.gradient(loss, [raw(w) for w in model.trainable_weights])
        assert all(np.any(np.asarray(tf.convert_to_tensor(g)) != 0) for g in gradients), options


OPTIONS = [
    {"num_levels": 5},
    {"finest_level": 0},
    {"patch_size": 1},
    {"sampling": "lookup"},
    {"stop_gradient": True},
    {"normalize_gradients": True},
    {"refinements": 2},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options)))
def test_weights_do_not_depend_on(options):
    weights = perturbed(small()).get_weights()
    other = small(**options)
    other.set_weights(weights)
    assert [w.shape for w in other.get_weights()] == [w.shape for w in weights]


def test_options_of_the_gradient_do_not_change_the_flow():
    model, images = perturbed(small(refinements=1)), pair(1, 12, 11, 3)
    other = small(refinements=1, stop_gradient=True, normalize_gradients=True)
    other.set_weights(model.get_weights())
    expected = model(images)
    for key, flow in other(images).items():
        np.testing.assert_array_equal(flow, expected[key])


def gradient_of_the_coarse_flow(model, scale=1.0):
    """Return the gradient of the finest flow for the flow of level 2, and for what the decoder adds to level 1."""
    watched = {"coarse": model.get_layer("level_2_sum").output, "change": model.get_layer("level_1_sum").input[1]}
    inner = keras.Model(model.input, {**watched, "fine": model.get_layer("level_1_sum").output})
    with tf.GradientTape() as tape:
        found = inner(pair(1, 16, 15, 3))
        loss = scale * tf.reduce_sum(found["fine"] ** 2)
    return tape.gradient(loss, [found["coarse"], found["change"]], unconnected_gradients="zero")


def test_a_stopped_gradient_does_not_reach_the_level_before():
    coarse, _ = gradient_of_the_coarse_flow(perturbed(small()))
    assert np.abs(coarse).max() > 1e-3
    coarse, change = gradient_of_the_coarse_flow(perturbed(small(stop_gradient=True)))
    np.testing.assert_array_equal(coarse, 0)
    assert np.abs(change).max() > 1e-3


def test_normalized_gradients_do_not_depend_on_the_scale_of_the_loss():
    for options in ({}, {"normalize_gradients": True}):
        model, gradients = perturbed(small(**options)), []
        for scale in (1.0, 100.0):
            with tf.GradientTape() as tape:
                loss = scale * tf.reduce_sum(model(pair(1, 16, 15, 3))["level_2"])
            (found,) = tape.gradient(loss, [raw(model.get_layer("decoder_flow").bias)])
            gradients.append(found)
        np.testing.assert_allclose(gradients[1], gradients[0] * (1 if options else 100), rtol=1e-4)


def test_one_true_flow_at_full_size_trains_every_output():
    model = perturbed(small(refinements=1))
    model.compile("sgd", losses.MultiScaleLoss("mse", decay=1.0))
    images, truth = pair(2, 15, 22, 3), np.random.default_rng(1).normal(size=(2, 15, 22, 2)).astype(np.float32)
    found = model.evaluate(images, dict.fromkeys(model.output, truth), verbose=0, return_dict=True)["loss"]
    levels = dict(zip(("flow", "level_1", "level_2"), ops.gaussian_pyramid(truth, 3)))
    expected = sum(float(tf.reduce_mean((flow - levels[key[:7]]) ** 2)) for key, flow in model(images).items())
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_layer_may_make_the_levels():
    model = perturbed(small(downsample=layers.LearnableDownsample2D(kernel_size=2)))
    assert model.get_layer("level_1_start").phase == 0.5 and model.get_layer("full_size").phase == 0.5
    assert model(pair(1, 7, 10, 3))["flow"].shape == (1, 7, 10, 2)


def shifted(count, side=32):
    """Return pairs of smooth noise with one motion each, of 2 to 5 pixels, and their flow."""
    rng = np.random.default_rng(0)
    noise = tf.image.resize(rng.normal(size=(count, 28, 28, 3)), (56, 56), "bicubic").numpy().astype(np.float32)
    motion = rng.choice([-1, 1], (count, 2)) * rng.integers(2, 6, (count, 2))
    first, second = [], []
    for image, (dx, dy) in zip(noise, motion):
        first.append(image[12 : 12 + side, 12 : 12 + side])
        second.append(image[12 - dy : 12 - dy + side, 12 - dx : 12 - dx + side])
    flow = np.broadcast_to(motion[:, None, None], (count, side, side, 2)).astype(np.float32)
    return {"first": np.stack(first), "second": np.stack(second)}, flow


@pytest.mark.slow
def test_a_few_steps_find_motions():
    tf.random.set_seed(0)
    images, truth = shifted(64)
    model = models.pyramid_flow(4, filters=8, decoder_filters=(24, 16))
    model.compile(keras.optimizers.Adam(0.003), losses.MultiScaleLoss("mae", decay=1.0))
    model.fit(images, dict.fromkeys(model.output, truth), epochs=5, batch_size=8, verbose=0)
    error = np.linalg.norm(model.predict(images, verbose=0)["flow"] - truth, axis=-1)
    assert error.mean() < 0.5 * np.linalg.norm(truth, axis=-1).mean()


@pytest.mark.slow
def test_it_is_saved_and_exported(tmp_path):
    model = perturbed(small(sampling="lookup", refinements=1, stop_gradient=True, normalize_gradients=True))
    final = keras.Model(model.input, {"flow": model.output["flow"]})
    batches = [pair(2, 9, 6, 3), pair(1, 1, 1, 3), pair(0, 4, 5, 3)]
    expected = [model(images) for images in batches]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is PyramidModel
    final.export(str(tmp_path / "export"))
    served = tf.saved_model.load(str(tmp_path / "export")).signatures["serving_default"]
    for images, flows in zip(batches, expected):
        for key, flow in again(images).items():
            np.testing.assert_allclose(flow, flows[key], atol=1e-5)
        (flow,) = served(**{key: tf.constant(image) for key, image in images.items()}).values()
        np.testing.assert_allclose(flow, flows["flow"], atol=1e-5)


def test_outputs_are_float32_under_mixed_precision():
    weights, images = perturbed(small(refinements=1)).get_weights(), pair(1, 9, 8, 3)
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = small(refinements=1)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    model.set_weights(weights)
    flows = model(images)
    assert {flow.dtype for flow in flows.values()} == {tf.float32}
    assert all(np.isfinite(flow).all() for flow in flows.values())


def test_images_of_a_pair_have_one_size():
    images = {**pair(1, 6, 5, 3), "second": np.zeros((1, 6, 4, 3), np.float32)}
    model = small()
    with pytest.raises(ValueError, match="`second` must have the shape of `first`. Received: first of shape"):
        model(images)
    traced = tf.function(
        model, autograph=False, input_signature=[dict.fromkeys(images, tf.TensorSpec([None] * 3 + [3]))]
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="`second` must have the shape of `first`"):
        traced(images)


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"finest_level": 3}, "`finest_level` must be at most 2, below `num_levels`"),
        ({"decoder_filters": ()}, "`decoder_filters` must be a list of integers"),
        ({"decoder_filters": 8}, "`decoder_filters` must be a list of integers"),
        ({"max_displacement": 33}, "`max_displacement` must be at most 32"),
        ({"patch_size": 2}, "`patch_size` must be odd"),
        ({"sampling": "nearest"}, "`sampling` must be one of 'warp', 'lookup'"),
        ({"stop_gradient": 1}, "`stop_gradient` must be True or False"),
        ({"refinements": -1}, "`refinements` must be an integer of at least 0"),
    ],
)
def test_bad_arguments_are_errors(arguments, rule):
    with pytest.raises(ValueError, match=f"{rule}.* Received: {next(iter(arguments))}="):
        small(**arguments)


def test_a_layer_that_does_not_halve_the_sides_is_an_error():
    with pytest.raises(ValueError, match="`downsample` must halve the sides .* Received: a layer from .*64, 64, 3. to"):
        small(downsample=keras.layers.MaxPooling2D(4))
