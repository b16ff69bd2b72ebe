"""Copies of models with blurs before each decimation."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, models
from tfpyramid._compat import keras, producer
from tfpyramid.export import export_saved_model

KL = keras.layers
SIZES = [(16, 16), (17, 15), (18, 21), (9, 8)]


def images(size=(17, 15), channels=3):
    return np.random.default_rng(0).normal(size=(2, *size, channels)).astype(np.float32)


def network(**arguments):
    """Return a network with every kind of strided layer, every padding, and a residual block with strides."""
    image = keras.Input((None, None, 3), name="image")
    x = KL.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="stem")(image)
    x = KL.BatchNormalization(name="stem_norm")(x)
    x = KL.ReLU(name="stem_relu")(x)
    short = KL.Conv2D(6, 1, strides=2, name="short", **arguments)(x)
    x = KL.ZeroPadding2D(1)(x)
    x = KL.DepthwiseConv2D(3, strides=2, padding="valid", activation="relu", name="depthwise")(x)
    x = KL.Add(name="sum")([short, KL.Conv2D(6, 1, name="pointwise")(x)])
    x = KL.MaxPooling2D(3, (2, 1), padding="same", name="max")(x)
    x = KL.SeparableConv2D(5, (2, 3), strides=2, padding="same", name="separable")(x)
    x = KL.LeakyReLU(name="leaky")(x)
    return keras.Model(image, [x, KL.Dense(2, name="logits")(KL.GlobalAveragePooling2D()(x))], name="network")


def with_random_weights(model):
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.2, 1, w.shape) for w in model.get_weights()])
    return model


def sequential(*parts, channels=3):
    return with_random_weights(keras.Sequential([keras.Input((None, None, channels)), *parts]))


@pytest.mark.parametrize("size", SIZES)
def test_without_a_blur_the_copy_is_the_model(size):
    model = with_random_weights(network())
    copy = models.antialias(model, kernel_size=1)
    for expected, y in zip(model(images(size)), copy(images(size))):
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("layer", [KL.Conv2D, KL.MaxPooling2D, KL.AveragePooling2D])
@pytest.mark.parametrize("window, strides", [(1, 2), (2, 2), (3, 2), (4, 4), (5, 3), ((2, 3), (2, 1))])
def test_sizes_and_positions_are_those_of_the_model(layer, window, strides, padding):
    first = {"filters": 2, "kernel_size": window} if layer is KL.Conv2D else {"pool_size": window}
    model = sequential(layer(**first, strides=strides, padding=padding))
    copy, exact = models.antialias(model), models.antialias(model, kernel_size=1)
    for size in [(7, 8), (8, 9), (9, 12)]:
        expected = model(images(size))
        assert copy(images(size)).shape == expected.shape
        if layer is not KL.AveragePooling2D:
            np.testing.assert_allclose(exact(images(size)), expected, rtol=1e-5, atol=1e-5)


def test_the_copy_has_the_weights_the_names_and_the_inputs_of_the_model():
    model = with_random_weights(network())
    copy = models.antialias(model)
    assert copy.name == "network" and copy.layers[0].name == "image" and copy.count_params() == model.count_params()
    for layer in model.layers:
        for a, b in zip(layer.get_weights(), copy.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    added = {layer.name for layer in copy.layers} - {layer.name for layer in model.layers}
    assert added == {"stem_blur", "short_blur", "depthwise_blur", "separable_blur"}
    kept = [w.numpy() for w in model.weights]
    copy.set_weights([w + 1 for w in copy.get_weights()])
    for a, b in zip(model.weights, kept):
        np.testing.assert_array_equal(a.numpy(), b)


def reads(copy, blur):
    """Return the name of the layer that a blur reads."""
    tensor = copy.get_layer(blur).input
    return producer(tensor).name


def test_a_blur_follows_the_activation_where_there_is_one():
    copy = models.antialias(network())
    assert reads(copy, "stem_blur") == "stem_relu"
    assert reads(copy, "separable_blur") == "leaky"
    assert reads(copy, "depthwise_blur") == "depthwise"  # It has its own activation.
    assert reads(copy, "short_blur") == "stem_blur"  # Before a 1 by 1 convolution.


def test_the_copy_is_the_network_of_the_paper():
    model = with_random_weights(network())
    copy = models.antialias(model)
    layer = {each.name: each for each in with_random_weights(network()).layers}
    x = images((18, 21))

    def at_stride_one(name, x):
        clone = type(layer[name]).from_config({**layer[name].get_config(), "strides": 1})
        clone.build(x.shape)
        clone.set_weights(layer[name].get_weights())
        return clone(x)

    def blurred(x, first, step=2):
        padded = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)], mode="reflect")
        taps = np.array([1, 4, 6, 4, 1]) / 16
        rows = sum(w * padded[:, k : k + x.shape[1]] for k, w in enumerate(taps))
        return sum(w * rows[:, :, k : k + x.shape[2]] for k, w in enumerate(taps))[
            :, first[0] :: step, first[1] :: step
        ]

    # Keras puts the first window of 3 at sample 1 of an even side, and at sample 0 of an odd one.
    x = blurred(layer["stem_relu"](layer["stem_norm"](at_stride_one("stem", x))).numpy(), (1, 0))
    short = blurred(at_stride_one("short", x).numpy(), (0, 0))
    x = blurred(at_stride_one("depthwise", np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])).numpy(), (0, 0))
    x = short + layer["pointwise"](x).numpy()
    found = keras.Model(copy.input, copy.get_layer("sum").output)(images((18, 21)))
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-4)


def test_an_average_keeps_its_position():
    """An even number of taps is centred between two samples, as is a window of two."""
    pools = [KL.AveragePooling2D(n, 2) for n in (2, 3)]
    for pool, taps in zip(pools, (4, 5)):
        copy = models.antialias(sequential(pool))
        (blur,) = copy.layers
        assert (blur.kernel_size, blur.pooling, blur.name) == (taps, "average", pool.name)
        assert blur.phase == (pool.pool_size[0] - 1) / 2


def test_the_kernel_grows_with_the_strides():
    copy = models.antialias(sequential(*(KL.MaxPooling2D(n) for n in (2, 3, 4)), KL.MaxPooling2D((2, 1))))
    assert [blur.kernel_size for blur in copy.layers] == [5, 9, 17, (5, 1)]
    (blur,) = models.antialias(sequential(KL.MaxPooling2D()), kernel_size=3, border="edge").layers
    assert (blur.kernel_size, blur.border) == (3, "edge")


def branched(image):
    return KL.Conv2D(3, 3, strides=2, padding="same", name="branch")(image)


def test_a_convolution_that_is_read_twice_is_blurred_at_once():
    image = keras.Input((None, None, 3))
    x = branched(image)
    model = with_random_weights(keras.Model(image, KL.Add()([KL.ReLU(name="relu")(x), x])))
    copy = models.antialias(model)
    assert reads(copy, "branch_blur") == "branch"
    assert copy(images()).shape == model(images()).shape


def test_an_output_keeps_its_size_before_its_activation():
    image = keras.Input((None, None, 3))
    x = branched(image)
    model = with_random_weights(keras.Model(image, [x, KL.ReLU()(x)]))
    for y, expected in zip(models.antialias(model)(images()), model(images())):
        assert y.shape == expected.shape


def test_an_activation_with_weights_of_places_stays_on_the_small_map():
    image = keras.Input((9, 8, 3))
    model = with_random_weights(keras.Model(image, KL.PReLU(name="prelu")(branched(image))))
    copy = models.antialias(model)
    assert reads(copy, "branch_blur") == "branch"
    shared = with_random_weights(keras.Model(image, KL.PReLU(shared_axes=[1, 2], name="prelu")(branched(image))))
    assert reads(models.antialias(shared), "branch_blur") == "prelu"


def test_models_inside_shared_layers_and_dicts():
    inner = keras.Sequential([keras.Input((None, None, 2)), KL.Conv2D(2, 3, 2, name="inside")], name="inner")
    shared = KL.Conv2D(2, 3, strides=2, padding="same", name="shared")
    inputs = {name: keras.Input((None, None, 3), name=name) for name in ("a", "b")}
    y = {name: inner(shared(x)) * 2.0 for name, x in inputs.items()}
    model = with_random_weights(keras.Model(inputs, y))
    copy = models.antialias(model)
    assert isinstance(copy.get_layer("inner"), keras.Sequential)
    x = {"a": images(), "b": images((13, 14))}
    for name, expected in model(x).items():
        assert copy(x)[name].shape == expected.shape
        np.testing.assert_allclose(models.antialias(model, kernel_size=1)(x)[name], expected, rtol=1e-5, atol=1e-4)
    assert [layer.name for layer in models.antialias(model, layers="inside").get_layer("inner").layers] == [
        "inside",
        "inside_blur",
    ]
    assert len(copy.weights) == len(model.weights)


@pytest.mark.parametrize(
    "chosen, blurs",
    [
        ("stem", {"stem_blur"}),
        (["stem", KL.MaxPooling2D], {"stem_blur", "max"}),
        (KL.DepthwiseConv2D, {"depthwise_blur"}),
        (lambda layer: layer.name.startswith("s"), {"stem_blur", "short_blur", "separable_blur"}),
    ],
)
def test_layers_are_chosen_by_name_class_or_function(chosen, blurs):
    copy = models.antialias(network(), layers=chosen)
    assert {layer.name for layer in copy.layers if isinstance(layer, layers.BlurPool2D)} == blurs


@pytest.mark.parametrize(
    "make, arguments, message",
    [
        (lambda: KL.Conv2D(2, 3), {}, "`model` must be a functional or sequential keras.Model.* Received: model=<"),
        (
            lambda: keras.Sequential([KL.Conv2D(2, 3, 2)]),
            {},
            "`model` must .*keras.Input.*a Sequential that is not",
        ),
        (lambda: Subclass(name="own"), {}, "`model` must .*Received: model 'own', a subclassed model of type Subclass"),
        (
            lambda: sequential(KL.Conv2D(2, 3)),
            {},
            "`model` must have a layer with strides.*Received: model",
        ),
        (network, {"layers": "pointwise"}, "`layers` must choose .*'stem', .*Received: layers='pointwise'"),
        (network, {"layers": [KL.Dense]}, "`layers` must choose layers with strides"),
        (network, {"layers": lambda layer: False}, "`layers` must choose layers with strides"),
        (
            network,
            {"kernel_size": 0},
            "`kernel_size` must be an integer of at least 1, .*or None. Received",
        ),
        (network, {"border": "zero"}, "`border` must be one of"),
        (
            lambda: keras.Sequential([keras.Input((3, 8, 8)), KL.MaxPooling2D(2, data_format="channels_first")]),
            {},
            "`model` must hold images as .*batch, height, width, channels.*data_format='channels_first'",
        ),
    ],
)
def test_bad_arguments_are_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.antialias(make(), **arguments)


class Subclass(keras.Model):
    def call(self, x):
        return x


def test_frozen_layers_remain_frozen_and_dtypes_remain():
    model = network(dtype="mixed_float16")
    model.get_layer("stem_norm").trainable = False
    copy = models.antialias(model)
    assert not copy.get_layer("stem_norm").trainable and copy.get_layer("stem").trainable
    assert copy.get_layer("short_blur").compute_dtype == "float16"
    model.trainable = False
    assert not models.antialias(model).trainable_weights


def test_adapted_normalization_is_copied():
    norm = KL.Normalization()
    norm.adapt(images() * 3 + 2)
    model = keras.Sequential([keras.Input((None, None, 3)), norm, KL.MaxPooling2D(2)])
    copy = models.antialias(model, kernel_size=1)
    np.testing.assert_allclose(copy(images()), model(images()), atol=1e-5)


@pytest.mark.slow
def test_the_copy_is_trained_and_saved(tmp_path):
    model = models.antialias(network())
    logits = keras.Model(model.input, model.output[1])
    logits.compile("sgd", "mse")
    logits.fit(images(), np.ones([2, 2], np.float32), verbose=0)
    logits.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(images()), logits(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_copy_is_exported(tmp_path):
    copy = models.antialias(with_random_weights(network()))
    export_saved_model(copy, tmp_path / "saved")
    served = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    expected = {tuple(y.shape): y for y in copy(images())}
    for y in served(tf.constant(images())).values():
        np.testing.assert_allclose(y, expected[tuple(y.shape)], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["MobileNetV3Small", "ResNet50V2", "DenseNet121"])
def test_networks_of_keras_keep_their_shapes_and_weights(family):
    model = getattr(keras.applications, family)(include_top=False, weights=None, input_shape=(None, None, 3))
    copy = models.antialias(model)
    assert copy.count_params() == model.count_params()
    for layer in model.layers:
        for a, b in zip(layer.get_weights(), copy.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    for size in [(64, 64), (97, 131)]:
        x = images(size)[:1]
        y, expected = copy(x).numpy(), model(x).numpy()
        assert y.shape == expected.shape and np.isfinite(y).all()
        if family != "DenseNet121":  # It has average pools.
            exact = models.antialias(model, kernel_size=1)(x)
            np.testing.assert_allclose(exact, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
