"""What an empty batch must leave alone, whatever the memory held before.

    python -m tests.empty_batch

It checks operations and layers, in eager execution and in graphs that TensorFlow optimises, trains on two devices with
a last batch that leaves one of them without samples, and prints each failure.
"""

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tests.layer_cases import CASES, LayerCase, case_id
from tfpyramid import layers, ops
from tfpyramid._compat import keras, raw, training_loss

DTYPES = ("float32", "float16", "bfloat16")
POLICIES = {"float32": "float32", "mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}

TAPS, KERNEL, DEPTHWISE, STRIDES = [5], [3, 4, 2, 3], [5, 4, 2, 1], [2]

# Each takes images [batch, 7, 6, 2] and a tensor of the shape given; the last entry is the shape of a result's sample.
OPERATIONS: dict[str, tuple[Callable, list[int], tuple[int, ...]]] = {
    "pyr_down": (lambda x, w: ops.pyr_down(x, kernel=w), TAPS, (4, 3, 2)),
    "pyr_down by 1.5": (lambda x, w: ops.pyr_down(x, kernel=w, scale_factor=1.5), TAPS, (5, 4, 2)),
    "pyr_up": (lambda x, w: ops.pyr_up(x, (13, 12), kernel=w), TAPS, (13, 12, 2)),
    "laplacian_pyramid": (lambda x, w: ops.laplacian_pyramid(x, 2, kernel=w)[0], TAPS, (7, 6, 2)),
    "depthwise_down": (ops.depthwise_down, DEPTHWISE, (4, 3, 2)),
    "depthwise_down of zeros": (lambda x, w: ops.depthwise_down(x, w, border="constant"), DEPTHWISE, (4, 3, 2)),
    "conv_down": (ops.conv_down, KERNEL, (4, 3, 3)),
    "conv_down of zeros": (lambda x, w: ops.conv_down(x, w, border="constant"), KERNEL, (4, 3, 3)),
    "strided_conv2d": (lambda x, w: ops.strided_conv2d(x, w, 1.5), KERNEL, (3, 2, 3)),
    "strides": (
        lambda x, w: ops.strided_conv2d(x, tf.ones(KERNEL, x.dtype), w, output_size=(3, 2)),
        STRIDES,
        (3, 2, 3),
    ),
    "spectral_pool": (lambda x, w: ops.spectral_pool(x, w, (4, 3)), STRIDES, (4, 3, 2)),
}


@contextlib.contextmanager
def filled_memory() -> Iterator[None]:
    """Fill memory that is allocated or freed with a byte other than 0, so that what is read before it is written shows.

    Only glibc can. Not for longer than needed: memory that is allocated and never used is filled too.
    """
    libc, m_perturb = ctypes.CDLL(None), -6
    set_option = getattr(libc, "mallopt", lambda *_: 0)
    set_option(m_perturb, 85)
    try:
        yield
    finally:
        set_option(m_perturb, 0)


def check_operation(name: str, dtype: str) -> None:
    """Assert that an operation on no images has a gradient of zeros for what all images share."""
    operation, shape, sample = OPERATIONS[name]
    shared, empty = tf.fill(shape, tf.constant(1.5, dtype)), tf.zeros([0, 7, 6, 2], dtype)
    with filled_memory():
        with tf.GradientTape() as tape:
            tape.watch([empty, shared])
            y = operation(empty, shared)
        to_x, to_shared = tape.gradient(y, [empty, shared])
    assert y.shape == (0, *sample) and to_x.shape == empty.shape, (y.shape, to_x.shape)
    np.testing.assert_array_equal(tf.cast(to_shared, tf.float32), np.zeros(shape))


def weight_gradients(case: LayerCase, layer: keras.layers.Layer, values: list) -> tuple[list, list]:
    """Return the outputs of a layer, and the gradients of its trainable weights."""
    with tf.GradientTape() as tape:
        outputs = tf.nest.flatten(layer(case.structured(values), **case.arguments))
        objective = tf.add_n([tf.cast(tf.reduce_sum(y), tf.float32) for y in outputs])
    return outputs, tape.gradient(objective, [raw(w) for w in layer.trainable_weights])


def check_layer(case: LayerCase, layer: keras.layers.Layer, dtype: str, *, in_graph: bool = False) -> None:
    """Assert that a layer makes of an empty batch outputs of the right shape and zeros as the gradient of a weight."""
    values = [tf.constant(x, dtype) for x in case.inputs(batch=0)]
    expected = tf.nest.flatten(layer(case.structured([tf.constant(x, dtype) for x in case.inputs()]), **case.arguments))

    def run(x: list) -> tuple[list, list]:
        return weight_gradients(case, layer, x)

    if in_graph:
        specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in values]
        run = tf.function(run, input_signature=[specs], autograph=False)
        run.get_concrete_function()
    with filled_memory():
        outputs, gradients = run(values)
    for k, (y, full) in enumerate(zip(outputs, expected, strict=True)):
        assert y.shape == (0, *full.shape[1:]), f"output {k} of an empty batch has shape {y.shape}"
    for w, g in zip(layer.trainable_weights, gradients):
        g = np.asarray(tf.cast(0.0 if g is None else g, tf.float64))
        assert not np.any(g), f"an empty batch has a gradient for {w.name}, as {dtype}: {g.ravel()[:3]}"


# Layers whose weights all samples share. A model of all of them is trained on two devices.
DOWNSAMPLERS = (
    lambda: layers.AntiAliasedDownsample2D(filters=2),
    lambda: layers.AntiAliasedDownsample2D(filters=2, normalization="sum"),
    lambda: layers.LearnableDownsample2D(2),
    lambda: layers.LearnableStrideConv2D(2, 3),
    lambda: layers.ChannelAdaptiveDownsample2D(2),
    lambda: layers.ContentAdaptiveDownsample2D(hidden=2),
    lambda: layers.SpectralDownsample2D(),
)
RATE = 0.1


def trainable_model() -> keras.Model:
    """Return a model of all downsamplers, and of a pyramid."""
    images = keras.Input((9, 9, 2))
    levels = layers.LearnablePyramid(2, layers.AntiAliasedDownsample2D())(images)
    features = [layers.UpsampleConcat()(layers.PyramidConv2D(2)(levels)), *(make()(images) for make in DOWNSAMPLERS)]
    pooled = [keras.layers.GlobalAveragePooling2D()(each) for each in features]
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.Concatenate()(pooled)))
    model.compile(keras.optimizers.SGD(RATE), "mse")
    return model


def check_two_devices() -> None:
    """Assert that `fit` on two devices, with last batches too small for both, takes the steps that Keras defines.

    The loss of a step is the mean over the devices of the mean over their samples; that of no samples is 0.
    """
    rng = np.random.default_rng(1)
    x, y, w = (rng.normal(size=(8, *shape)).astype(np.float32) for shape in ((9, 9, 2), (2,), ()))
    shares = [((0, 2), (2, 4)), ((4, 6), (6, 7)), ((7, 8),)]  # Of batches of 4, 3 and 1.
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = trainable_model()
    alone = trainable_model()
    alone.set_weights(model.get_weights())
    samples = tf.data.Dataset.from_tensor_slices((x, y, np.abs(w)))
    with filled_memory():
        model.fit(samples.take(7).batch(4).concatenate(samples.skip(7).batch(1)), verbose=0, shuffle=False)

    variables = [raw(variable) for variable in alone.trainable_variables]
    for batch in shares:
        with tf.GradientTape() as tape:
            parts = [[tf.constant(each[a:b]) for each in (x, y, np.abs(w))] for a, b in batch]
            loss = tf.add_n([training_loss(alone, *part) for part in parts]) / 2
        for variable, gradient in zip(variables, tape.gradient(loss, variables)):
            variable.assign_sub(RATE * gradient)
    for variable, actual, expected in zip(model.weights, model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5, err_msg=variable.name)


def _fails(name: str, check: Callable, *arguments: object, **options: object) -> bool:
    try:
        check(*arguments, **options)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {str(error)[:300]}")
        return True
    return False


def main() -> int:
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
    failures = [_fails(f"{name}, {d}", check_operation, name, d) for name in OPERATIONS for d in DTYPES]
    for case in CASES:
        if case.label != "default" and case.layer is not layers.PerLevel:
            continue
        for policy, dtype in POLICIES.items():
            layer = case.make(dtype=policy)
            layer.build(case.structured(case.shapes()))
            failures.append(_fails(f"{case_id(case)}, {policy}", check_layer, case, layer, dtype))
            if policy == "float32":
                failures.append(_fails(f"{case_id(case)} in a graph", check_layer, case, layer, dtype, in_graph=True))
    failures.append(_fails("two devices", check_two_devices))
    print(f"{sum(failures)} of {len(failures)} checks failed")
    return sum(failures)


if __name__ == "__main__":
    sys.exit(main())
