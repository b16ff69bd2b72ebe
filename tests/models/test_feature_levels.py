"""The feature maps of a backbone by their stride."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, models
from tfpyramid._compat import keras, producer, raw


def photograph(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def chosen(model, strides):
    """Return the name of the layer that computes the map of each stride."""
    levels = models.feature_levels(model, strides)
    return [producer(levels.get_layer(f"stride_{stride}").input).name for stride in strides]


def conv(filters, strides=1, name=None, padding="same", size=3):
    return keras.layers.Conv2D(filters, size, strides=strides, padding=padding, name=name)


def residual(sides=(None, None)):
    """A small residual network with squeeze-and-excitation, padding layers and branches of two convolutions."""
    x = image = keras.Input((*sides, 3), name="image")
    x = keras.layers.ZeroPadding2D(3)(x)
    x = conv(4, 2, "stem", "valid", 7)(x)
    for k, filters in enumerate((4, 6, 8)):
        # TensorFlow 2.21 writes outside of its memory in the gradient of a 1 by 1 convolution with stride 2 on a CPU.
        shortcut = conv(filters, 2, f"shortcut_{k}")(x)
        y = conv(filters, 1, f"before_{k}")(x)  # Of the finer stride, in a branch.
        y = keras.layers.ZeroPadding2D(1)(y)
        y = keras.layers.BatchNormalization(name=f"norm_{k}")(conv(filters, 2, f"down_{k}", "valid")(y))
        gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(y)
        y = keras.layers.Multiply()([y, conv(filters, 1, f"gate_{k}", size=1)(gate)])
        x = keras.layers.Add(name=f"block_{k}")([y, shortcut])
    return keras.Model(image, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)), name="residual")


def u_net():
    x = image = keras.Input((None, None, 1))
    skips = []
    for k in range(2):
        x = conv(2, name=f"down_{k}")(x)
        skips.append(x)
        x = keras.layers.MaxPooling2D()(x)
    x = conv(2, name="bottom")(x)
    for k in (1, 0):
        x = keras.layers.Concatenate(name=f"join_{k}")([keras.layers.UpSampling2D()(x), skips[k]])
        x = keras.layers.ReLU(name=f"up_{k}")(conv(2, name=f"up_conv_{k}")(x))
    return keras.Model(image, conv(1, name="head", size=1)(x))


def two_back():
    """Cells that read the last two cells, as in NASNet: no map is on every path."""
    image = keras.Input((None, None, 2))
    before, x = image, conv(3, name="stem")(image)
    before = conv(3, name="first")(before)
    for k, strides in enumerate((1, 2, 1, 2)):
        cell = keras.layers.Add(name=f"cell_{k}")([conv(3, strides)(x), conv(3, strides)(before)])
        before, x = (conv(3, 2)(x) if strides == 2 else x), cell
    return keras.Model(image, x)


def test_a_level_is_what_all_coarser_maps_are_computed_from():
    assert chosen(residual(), (2, 4, 8, 16)) == ["stem", "block_0", "block_1", "block_2"]


def test_levels_of_a_network_whose_layers_skip_each_other():
    assert chosen(u_net(), (1, 2, 4)) == ["head", "up_1", "bottom"]
    assert chosen(two_back(), (1, 2, 4)) == ["cell_0", "cell_2", "cell_3"]


@pytest.mark.parametrize("sides", [(None, None), (64, 96)])
def test_levels_are_the_maps_of_the_model(sides):
    model = residual(sides)
    levels = models.feature_levels(model, [4, 8])
    assert levels.output_names == ["stride_4", "stride_8"] and levels.name == "residual_levels"
    x = photograph(2, 64, 96, 3)
    expected = keras.Model(model.input, [model.get_layer(f"block_{k}").output for k in (0, 1)])(x)
    for found, wanted in zip(levels(x), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert all(any(w is v for v in model.weights) for w in levels.weights)


def test_levels_of_levels_are_the_same():
    levels = models.feature_levels(residual(), (2, 4, 8))
    again = models.feature_levels(levels, (4, 8))
    x = photograph(1, 32, 32, 3)
    for found, wanted in zip(again(x), levels(x)[1:], strict=True):
        np.testing.assert_array_equal(found, wanted)
    head = keras.Model(levels.input, conv(2)(levels.output[0]))  # A layer inside has the name of an output.
    assert models.feature_levels(head, (2,)).output_names == ["stride_2_level"]


def test_a_sequential_and_a_stride_that_is_no_power_of_two_have_levels():
    stack = [keras.Input((None, None, 1)), conv(2, 3, padding="valid"), keras.layers.ReLU(name="relu"), conv(2, (2, 1))]
    model = keras.Sequential([*stack, conv(2, (1, 2), name="last"), keras.layers.GlobalMaxPooling2D()])
    assert chosen(model, (3, 6)) == ["relu", "last"]
    with pytest.raises(ValueError, match=r"maps of the strides \[3, \(6, 3\), 6\], and none of \[2\]"):
        models.feature_levels(model, (2, 3))


def test_convolutions_without_padding_have_levels():
    x = image = keras.Input((None, None, 1))
    for k in range(3):
        x = conv(2, name=f"valid_{k}", padding="valid")(conv(2, 2, padding="valid")(x))
    levels = models.feature_levels(keras.Model(image, x), (2, 4, 8))
    assert [level.shape[1] for level in levels(photograph(1, 100, 100, 1))] == [47, 21, 8]
    features = layers.FeaturePyramid(3)(levels(photograph(1, 100, 100, 1)))
    assert [level.shape[1] for level in features] == [47, 21, 8]


def test_layers_whose_arguments_are_not_one_list_are_followed():
    class Joined(keras.layers.Layer):
        def call(self, x, other=None, scale=1.0):
            return x[:, ::2, ::2] + scale * other[:, ::2, ::2]

    image = keras.Input((None, None, 3))
    x = Joined(name="joined")(conv(3)(image), other=conv(3)(image) + image, scale=2.0)
    assert chosen(keras.Model(image, conv(2, 2, name="last")(x)), (2, 4)) == ["joined", "last"]


def test_frozen_batch_normalisation_stays_frozen():
    model = residual()
    model.trainable = False
    levels = models.feature_levels(model, (4, 8, 16))
    assert not levels.trainable_weights
    whole = keras.Model(levels.input, layers.FeaturePyramid(3)(levels.outputs))
    before = [w.numpy() for w in model.weights]
    whole(photograph(2, 32, 32, 3), training=True)
    for old, new in zip(before, model.weights):
        np.testing.assert_array_equal(old, new.numpy())
    assert len(whole.trainable_weights) == 12 and not model.trainable_weights


def test_a_model_that_names_its_levels_chooses_them():
    model = residual()
    model.pyramid_outputs = {"P2": model.get_layer("shortcut_0").output, "P3": model.get_layer("norm_1").output}
    assert chosen(model, (4, 8)) == ["shortcut_0", "norm_1"]
    with pytest.raises(ValueError, match=r"maps of the strides \[4, 8\], and none of \[2, 16\]"):
        models.feature_levels(model, (2, 4, 16))


def test_levels_keep_their_dtype_under_mixed_precision():
    model = residual()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        levels, mixed = models.feature_levels(model, (4,)), models.feature_levels(residual(), (4,))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    x = photograph(1, 32, 32, 3)
    found = [tf.nest.flatten(each(x))[0].dtype for each in (levels, mixed)]
    assert found == [tf.float32, tf.bfloat16]


@pytest.mark.slow
@pytest.mark.parametrize(
    "family, maps",
    [
        ("MobileNetV2", ["block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu"]),
        ("ResNet50V2", ["conv2_block2_out", "conv3_block3_out", "conv4_block5_out", "post_relu"]),
        ("DenseNet121", ["pool2_conv", "pool3_conv", "pool4_conv", "relu"]),
    ],
)
def test_backbones_of_keras_have_levels(family, maps):
    model = getattr(keras.applications, family)(include_top=False, weights=None, input_shape=(None, None, 3))
    assert chosen(model, (4, 8, 16, 32)) == maps


def train_a_step(model, strides, sides):
    """Fit a feature pyramid and a map of all levels; return the sides of the levels."""
    levels = models.feature_levels(model, strides)
    features = layers.FeaturePyramid(2)(levels.outputs)
    whole = keras.Model(levels.input, [layers.UpsampleConcat()(features), *features])
    with tf.GradientTape() as tape:
        joined, *outputs = whole(photograph(2, *sides, 3), training=True)
        loss = tf.reduce_mean(tf.square(joined - 1))
    gradients = tape.gradient(loss, [raw(w) for w in whole.trainable_weights])
    assert all(np.all(np.isfinite(g)) for g in gradients if g is not None)
    assert all(np.any(g) for g in gradients[-4 * len(strides) :])  # The weights of the feature pyramid.
    assert joined.shape[1:3] == outputs[0].shape[1:3]
    return [tuple(y.shape[1:3]) for y in outputs]


@pytest.mark.parametrize("sides", [(100, 100), (97, 131)])
def test_levels_go_through_a_feature_pyramid(sides):
    expected = [tuple(-(-n // stride) for n in sides) for stride in (2, 4, 8)]
    assert train_a_step(residual(), (2, 4, 8), sides) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "family, expected",
    [
        ("MobileNet", [(24, 33), (12, 16), (6, 8), (3, 4)]),
        ("MobileNetV3Small", [(24, 33), (12, 16), (6, 8), (3, 4)]),
        ("InceptionV3", [(20, 29), (9, 14), (4, 6), (1, 2)]),
    ],
)
def test_backbones_of_keras_go_through_a_feature_pyramid(family, expected):
    model = getattr(keras.applications, family)(include_top=False, weights=None, input_shape=(None, None, 3))
    assert train_a_step(model, (4, 8, 16, 32), (97, 131)) == expected


# Bad input.


def subclassed():
    class Network(keras.Model):
        def call(self, x):
            return x

    return Network(name="mine")


def fixed(sides):
    x = image = keras.Input((*sides, 1))
    for _ in range(5):
        x = conv(1, 2)(x)
    return keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(x)), name="fixed")


def two_inputs():
    a, b = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    return keras.Model([a, b], keras.layers.Add()([a, b]), name="two")


def nested():
    image = keras.Input((64, 64, 3))
    return keras.Model(image, residual()(image), name="outer")


@pytest.mark.parametrize(
    "model, rule",
    [
        (lambda: "resnet", "`model` must be a functional or sequential keras.Model. Received: model='resnet'"),
        (lambda: conv(1), "`model` must be a functional or sequential keras.Model. Received: model=<.*Conv2D"),
        (lambda: keras.Model, "`model` must be a functional or sequential keras.Model. Received: model=<class"),
        (subclassed, "`model` must .* Received: model 'mine', a subclassed model of type Network"),
        (lambda: keras.Sequential([conv(1)], name="s"), "Received: model 's', a Sequential that is not built"),
        (two_inputs, "`model` must have one input, images .* Received: model 'two' with inputs of shapes"),
        (lambda: fixed((16, 40)), "`model` must take images of at least 32 by 32 .* Received: .* images of 16 by 40"),
        (nested, r"maps of the strides \[\], .* A model inside it counts as one layer: pass 'residual' itself. Recei"),
        (residual, r"model 'residual', which has maps of the strides \[2, 4, 8, 16\], and none of \[32\]. Received: "),
    ],
)
def test_models_without_the_levels_are_errors(model, rule):
    with pytest.raises(ValueError, match=rule):
        models.feature_levels(model())


def test_a_model_of_one_size_has_levels():
    levels = models.feature_levels(fixed((40, 70)))
    assert [level.shape[1:3] for level in levels(photograph(1, 40, 70, 1))] == [(10, 18), (5, 9), (3, 5), (2, 3)]


def test_an_error_names_the_layer_that_refuses_images_of_other_sizes():
    x = image = keras.Input((None, None, 1))
    x = keras.layers.Add(name="add")([conv(1, 2)(x), conv(1, 2, padding="valid")(x)])
    model = keras.Model(image, conv(1, 2)(x))
    with pytest.raises(ValueError, match="Its layer 'add' refuses images of 40320 by 40320: .* Build it for images of"):
        models.feature_levels(model, (4,))


@pytest.mark.parametrize(
    "strides, rule",
    [
        ((), r"`strides` must be a list of integers, at least one. Received: strides=\(\)"),
        (8, "`strides` must be a list of integers, at least one. Received: strides=8"),
        ((4, 2.5), r"`strides\[1\]` must be an integer of at least 1, .* Received: strides\[1\]=2.5"),
        ((0, 4), r"`strides\[0\]` must be an integer of at least 1, .* Received: strides\[0\]=0"),
        ((8, 4), r"`strides` must increase, because levels are finest first. Received: strides=\[8, 4\]"),
        ((4, 4), r"`strides` must increase, because levels are finest first. Received: strides=\[4, 4\]"),
    ],
)
def test_strides_are_checked(strides, rule):
    with pytest.raises(ValueError, match=rule):
        models.feature_levels(residual(), strides)
    with pytest.raises(ValueError, match="`name` must be a non-empty string"):
        models.feature_levels(residual(), (4,), name="")
