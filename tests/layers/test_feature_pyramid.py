"""FeaturePyramid, beyond the conformance table: the published network, with copied weights."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import layers, ops
from tfpyramid._compat import keras


def photograph(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def levels_of(*sides, channels=3, batch=1):
    """Return levels of the given sides."""
    return [photograph(batch, *side, channels) for side in sides]


def twice(x, size):
    """Nearest upsampling by 2: every sample twice, and on odd sides the last one once."""
    return np.repeat(np.repeat(x, 2, axis=1), 2, axis=2)[:, : size[0], : size[1]]


def randomise(layer):
    rng = np.random.default_rng(1)
    layer.set_weights([rng.standard_normal(w.shape).astype(np.float32) / 4 for w in layer.get_weights()])


def of_level(convolutions, k):
    return [np.float64(w) for w in convolutions.level_layers[k].get_weights()]


# Repetition gives cells of equal size only if the coarser sides are exact halves.
@pytest.mark.parametrize(
    "scale_factor, sides",
    [
        (2.0, [(16, 24), (8, 12), (4, 6)]),
        (2.0, [(13, 21), (7, 11), (4, 6)]),
        (2.0, [(1, 1), (1, 1), (1, 1)]),
        (None, [(16, 24), (8, 12), (4, 6)]),
    ],
    ids=["even", "odd", "one-pixel", "stretched"],
)
def test_it_is_the_published_network(scale_factor, sides):
    c3, c4, c5 = levels = levels_of(*sides)
    layer = layers.FeaturePyramid(5, extra_levels=2, scale_factor=scale_factor)
    layer(levels)
    randomise(layer)
    m5 = references.conv_same(c5, *of_level(layer.lateral, 2))
    m4 = references.conv_same(c4, *of_level(layer.lateral, 1)) + twice(m5, sides[1])
    m3 = references.conv_same(c3, *of_level(layer.lateral, 0)) + twice(m4, sides[0])
    expected = [references.conv_same(m, *of_level(layer.output_conv, k)) for k, m in enumerate((m3, m4, m5))]
    expected.append(expected[-1][:, ::2, ::2])
    expected.append(expected[-1][:, ::2, ::2])
    for y, e in zip(layer(levels), expected, strict=True):
        np.testing.assert_allclose(y, e, atol=1e-5)


def test_every_output_depends_on_the_coarser_levels_and_not_on_the_finer():
    levels = [tf.constant(x) for x in levels_of((8, 8), (4, 4), (2, 2))]
    layer = layers.FeaturePyramid(2)
    for k in range(3):
        with tf.GradientTape() as tape:
            tape.watch(levels)
            objective = tf.reduce_sum(layer(levels)[k] ** 2)
        depends = [g is not None and bool(np.any(g)) for g in tape.gradient(objective, levels)]
        assert depends == [j >= k for j in range(3)]


def test_one_level_is_a_pyramid_too():
    (y,) = layers.FeaturePyramid(2)(levels_of((5, 4)))
    assert y.shape == (1, 5, 4, 2)


def test_batch_normalisation_takes_the_place_of_the_biases_and_learns_the_statistics_in_training():
    levels = levels_of((8, 8), (4, 4), batch=4)
    layer = layers.FeaturePyramid(2, batch_norm=True)
    y = layer(levels, training=True)
    for level in y:
        np.testing.assert_allclose(tf.reduce_mean(level, [0, 1, 2]), np.zeros(2), atol=1e-4)
        np.testing.assert_allclose(tf.math.reduce_variance(level, [0, 1, 2]), np.ones(2), atol=0.1)
    assert layer.lateral.level_layers[0].bias is None and layer.output_conv.level_layers[1].bias is None
    for norm in layer.lateral_norm.level_layers + layer.output_norm.level_layers:
        assert np.any(norm.moving_mean.numpy() != 0)
    before = [w.copy() for w in layer.get_weights()]
    layer(levels, training=False)
    assert all(np.array_equal(a, b) for a, b in zip(before, layer.get_weights()))


def test_one_feature_pyramid_serves_images_of_many_sizes():
    image = keras.Input((None, None, 3))
    features = layers.FeaturePyramid(4, extra_levels=1)(layers.LearnablePyramid(3)(image))
    model = keras.Model(image, features)
    for sides in [(33, 47), (1, 1), (2, 9), (64, 64)]:
        shapes = [y.shape[1:3] for y in model(photograph(1, *sides, 3))]
        expected = [tuple(-(-n // 2**k) for n in sides) for k in range(4)]
        assert [tuple(shape) for shape in shapes] == expected


def padded_behind(image, filters=(4, 6, 8)):
    """Return levels like those of a Keras backbone with unknown sides: padded at the end, rounded down."""
    levels, x = [], image
    for count in filters:
        x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
        x = keras.layers.Conv2D(count, 3, strides=2, padding="valid")(x)
        levels.append(x)
    return levels


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(38, 76), (33, 47), (9, 30), (64, 64)])
def test_levels_that_are_rounded_down_are_levels_too(sides):
    image = keras.Input((None, None, 3))
    features = layers.FeaturePyramid(4, extra_levels=1, phase=1.0)(padded_behind(image))
    both = [features, layers.UpsampleConcat(target_level=1, phase=1.0)(features[:3])]
    model = keras.Model(image, tf.nest.flatten(both))
    graph = tf.function(model, input_signature=[tf.TensorSpec([None, None, None, 3])], autograph=False)
    x = photograph(1, *sides, 3)
    answers = model(x)
    for found, expected in zip(graph(x), answers, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    down = [tuple(max(1, n // 2**k) for n in sides) for k in (1, 2, 3)]
    extra = tuple(-(-n // 2) for n in down[2])
    assert [tuple(y.shape[1:3]) for y in answers] == [*down, extra, down[1]]


@pytest.mark.parametrize("n", [19, 20, 21, 7, 2, 3, 1])
def test_samples_do_not_move_when_a_side_is_rounded_down(n):
    fine, half = np.zeros([1, n, 1, 1], np.float32), max(1, n // 2)
    coarse = np.arange(float(half), dtype=np.float32).reshape(1, -1, 1, 1)
    for phase in (0.0, 0.5):
        found = np.ravel(ops.align_levels([fine, coarse], interpolation="nearest", phase=phase)[1])
        # The published repetition. A side that was rounded down lacks one sample, so the last one is repeated.
        np.testing.assert_array_equal(found, np.minimum(np.arange(n) // 2, half - 1))
    if n % 2 and n > 1:
        # torch.nn.functional.interpolate(mode="nearest"), which published code uses, reads floor(p m / n).
        found = np.ravel(ops.align_levels([fine, coarse], interpolation="nearest", phase=1.0)[1])
        np.testing.assert_array_equal(found, np.arange(n) * half // n)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("target_level", [0, 1])
def test_levels_without_padding_keep_their_positions(interpolation, target_level):
    # The sides of InceptionV3 at 100 by 149 pixels.
    levels = levels_of((47, 72), (21, 33), (10, 16), (4, 7), (1, 3))
    options = {"interpolation": interpolation, "phase": 1.0}
    expected = references.align([np.float64(x) for x in levels], target_level, **options)
    spec = tf.TensorSpec([None, None, None, 3])
    graph = tf.function(
        lambda *x: ops.align_levels(x, target_level, **options), input_signature=[spec] * 5, autograph=False
    )
    for found in (ops.align_levels(levels, target_level, **options), graph(*levels)):
        for y, e in zip(found, expected, strict=True):
            np.testing.assert_allclose(y, e, atol=1e-5)


@pytest.mark.parametrize("factor, least", [(2.0, 8), (3.0, 5), (1.5, 13)])
def test_levels_lack_at_most_three_samples_or_a_fifth(factor, least):
    layer = layers.UpsampleConcat(scale_factor=factor)
    if factor == 2:
        assert layer(levels_of((72, 40), (33, 17))).shape == (1, 72, 40, 6)
    spec = tf.TensorSpec([None, None, None, 3])
    graph = tf.function(layer, input_signature=[[spec, spec]], autograph=False)
    for call in (layer, graph):
        assert call([tf.constant(x) for x in levels_of((20, 20), (least, least))]).shape == (1, 20, 20, 6)
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="`levels` must be finest first"):
            call([tf.constant(x) for x in levels_of((20, 20), (least, least - 1))])


@pytest.mark.slow
def test_a_backbone_of_keras_takes_images_of_any_size():
    image = keras.Input((None, None, 3))
    backbone = keras.applications.MobileNetV2(input_tensor=image, include_top=False, weights=None, alpha=0.35)
    names = ("block_5_add", "block_12_add", "out_relu")
    features = layers.FeaturePyramid(4, phase=1.0)([backbone.get_layer(name).output for name in names])
    model = keras.Model(image, features)
    graph = tf.function(model, input_signature=[tf.TensorSpec([None, None, None, 3])], autograph=False)
    for sides, expected in [((96, 152), [(12, 19), (6, 9), (3, 4)]), ((135, 240), [(17, 30), (8, 15), (4, 7)])]:
        x = photograph(1, *sides, 3)
        answers = model(x)
        assert [tuple(y.shape[1:3]) for y in answers] == expected
        for found, wanted in zip(graph(x), answers, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.slow
def test_a_graph_refuses_sizes_that_python_refuses():
    layer, stretched = layers.FeaturePyramid(2), layers.FeaturePyramid(2, scale_factor=None)
    calls = [layer, stretched, layers.UpsampleConcat(), ops.align_levels]
    spec = tf.TensorSpec([None, None, None, 3])
    for call, sides in zip(calls, [((12, 12), (8, 6)), ((4, 4), (8, 4)), ((4, 4), (8, 8)), ((8, 8), (8, 4))]):
        graph = tf.function(call, input_signature=[[spec, spec]], autograph=False)
        graph(levels_of((7, 8), (3, 4)))
        with pytest.raises(tf.errors.InvalidArgumentError, match="`levels` must be finest first"):
            graph([tf.constant(level) for level in levels_of(*sides)])
        with pytest.raises(ValueError, match="`levels` must be finest first"):
            call(levels_of(*sides))


# Bad input.


@pytest.mark.parametrize("filters", [0, 1.5, None])
def test_filters_are_checked_when_the_layer_is_made(filters):
    with pytest.raises(ValueError, match="`filters` must be an integer of at least 1, .* Received: filters="):
        layers.FeaturePyramid(filters)


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"extra_levels": -1}, "`extra_levels` must be an integer of at least 0, the number of coarser levels to add"),
        ({"scale_factor": 1}, "`scale_factor` must be a finite number greater than 1"),
        ({"interpolation": "cubic"}, "`interpolation` must be one of 'bilinear', 'nearest'"),
        ({"batch_norm": "yes"}, "`batch_norm` must be True or False"),
    ],
)
def test_arguments_of_a_feature_pyramid_are_checked_when_it_is_made(arguments, rule):
    with pytest.raises(ValueError, match=f"{rule}.* Received: {next(iter(arguments))}="):
        layers.FeaturePyramid(4, **arguments)


@pytest.mark.parametrize("sides", [[(4, 4), (8, 8)], [(8, 8), (8, 8)], [(8, 8), (4, 5)]])
def test_levels_that_do_not_follow_the_factor_are_refused_eagerly_and_symbolically(sides):
    message = (
        r"`levels` must be finest first. Each side must be n / scale_factor, rounded up or down.*Received: sides .*=2"
    )
    with pytest.raises(ValueError, match=message):
        layers.FeaturePyramid(4)(levels_of(*sides))
    with pytest.raises(ValueError, match=message):
        layers.FeaturePyramid(4)([keras.Input((*side, 3)) for side in sides])


@pytest.mark.parametrize("layer", [layers.FeaturePyramid(4), layers.UpsampleConcat(), layers.WeightedFusion()])
def test_errors_about_sizes_name_the_option_that_accepts_them(layer):
    with pytest.raises(
        ValueError,
        match=r"If sizes follow no factor, pass scale_factor=None: the centres .* Received: sides .*\(8, 8\)",
    ):
        layer(levels_of((12, 12), (8, 8)))
    with pytest.raises(ValueError, match=r"levels\[1\] breaks this rule. Received: sides"):  # Of a wrong order no word.
        layer(levels_of((4, 4), (8, 8)))


def test_levels_of_no_factor_must_be_finest_first_too():
    layer = layers.FeaturePyramid(4, scale_factor=None)
    with pytest.raises(
        ValueError, match="`levels` must be finest first. No side may be larger.* Received: sides .*=None"
    ):
        layer(levels_of((4, 4), (7, 8)))


def test_a_feature_pyramid_keeps_its_number_of_levels():
    layer = layers.FeaturePyramid(4)
    layer(levels_of((8, 8), (4, 4)))
    with pytest.raises(ValueError, match="`levels` must be 2 levels, as at the first call,.* Received: 3 levels"):
        layer(levels_of((8, 8), (4, 4), (2, 2)))


def test_inputs_other_than_levels_are_refused():
    with pytest.raises(ValueError, match="`levels` must be a list of levels, finest first. Received: one tensor"):
        layers.FeaturePyramid(4)(photograph(1, 8, 8, 3))
