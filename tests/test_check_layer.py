"""The checks themselves: each is given a layer that is broken in its way, and must say so."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests import check_layer
from tests.layer_cases import LayerCase
from tfpyramid._compat import keras, register


class Scale(keras.layers.Layer):
    """A layer that passes every check: images times a learned number for each channel."""

    def __init__(self, gain=1.0, **kwargs):
        super().__init__(**kwargs)
        self.gain = gain

    def build(self, input_shape):
        self.scale = self.add_weight(name="scale", shape=(input_shape[-1],), initializer="ones")
        super().build(input_shape)

    def call(self, images):
        return images * tf.convert_to_tensor(self.scale) * self.gain

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "gain": self.gain}


def case_of(layer, **kwargs):
    def reference(layer, x):
        return x * np.float64(layer.scale.numpy()) * 1.5

    return LayerCase(make=lambda **common: layer(gain=1.5, **common), label="broken", reference=reference, **kwargs)


class ForgetsItsArgument(Scale):
    def get_config(self):
        return {**super().get_config(), "gain": 1.0}


class KeepsAnArrayInItsConfiguration(Scale):
    def get_config(self):
        return {**super().get_config(), "gain": np.float32(self.gain)}


class WrongShape(Scale):
    def compute_output_shape(self, input_shape):
        return (*tuple(input_shape)[:3], 1)


class RetracesForEverySize(Scale):
    def call(self, images):
        if images.shape[1] is None:
            raise ValueError("This layer needs to know the height.")
        return super().call(images)


class StaysInFloat32(Scale):
    def call(self, images):
        return tf.cast(super().call(tf.cast(images, self.compute_dtype)), tf.float32)


class OverflowsInHalfPrecision(Scale):
    def call(self, images):
        return super().call(images * 60000) / 60000 if self.compute_dtype == "float16" else super().call(images)


class DoesNotCompile(Scale):
    def call(self, images):
        y = tf.numpy_function(lambda x: x, [super().call(images)], images.dtype)
        y.set_shape(images.shape)
        return y


class OtherWhenCompiled(Scale):
    def call(self, images):
        return super().call(images) * (1.0 if tf.executing_eagerly() else 1.01)


class WrongGradient(Scale):
    def call(self, images):
        @tf.custom_gradient
        def identity(x):
            return tf.identity(x), lambda dy: 1.01 * dy

        return identity(super().call(images))


class NoGradientForTheWeight(Scale):
    def call(self, images):
        return images * tf.stop_gradient(tf.convert_to_tensor(self.scale)) * self.gain


class ZeroGradientForTheWeight(Scale):
    def call(self, images):
        scale = tf.convert_to_tensor(self.scale)
        return images * (tf.stop_gradient(scale) + 0 * scale) * self.gain


class WrongValues(Scale):
    def call(self, images):
        return super().call(images) + 1e-9


class AssignsInCall(Scale):
    def build(self, input_shape):
        super().build(input_shape)
        self.calls = self.add_weight(name="calls", shape=(), initializer="zeros", trainable=False)

    def call(self, images):
        self.calls.assign_add(1.0)
        return super().call(images)


class TrainsNothing(Scale):
    def call(self, images):
        return tf.stop_gradient(super().call(images))


@register
class KnownHereOnly(Scale):
    """Registered in this process, by this file, and in no other."""


def assert_caught(check, case, readers, folder, message):
    with pytest.raises(Exception, match=message):
        check_layer.CHECKS[check](case, readers, folder)


@pytest.mark.parametrize("check", [name for name in check_layer.CHECKS if name != "keras"])
def test_a_sound_layer_passes(check, readers, tmp_path):
    check_layer.CHECKS[check](case_of(Scale), readers, tmp_path)


@pytest.mark.parametrize(
    "check, layer, message",
    [
        ("config", ForgetsItsArgument, "config"),
        ("config", KeepsAnArrayInItsConfiguration, "not JSON serializable"),
        ("shapes", WrongShape, "computed"),
        ("shapes", RetracesForEverySize, "needs to know the height"),
        ("precision", StaysInFloat32, "float32"),
        ("precision", OverflowsInHalfPrecision, "float16"),
        ("xla", DoesNotCompile, "PyFunc"),
        ("xla", OtherWhenCompiled, "compiled"),
        ("gradient", WrongGradient, "gradient of"),
        ("gradient", NoGradientForTheWeight, "scale.* is None"),
        ("gradient", ZeroGradientForTheWeight, "the gradient of .*scale"),
        ("reference", WrongValues, "output 0"),
        ("training", AssignsInCall, "calls.* changed"),
        ("training", TrainsNothing, "did not change|No gradients"),
    ],
)
def test_a_broken_layer_is_caught(check, layer, message, readers, tmp_path):
    assert_caught(check, case_of(layer), readers, tmp_path, message)


@pytest.mark.parametrize(
    "layer, message", [(AssignsInCall, "calls.* changed"), (TrainsNothing, "did not change|No grad")]
)
def test_a_layer_is_caught_that_trains_wrongly_in_a_graph(layer, message, readers, tmp_path):
    assert_caught("training", dataclasses.replace(case_of(layer), label="default"), readers, tmp_path, message)


def test_a_shape_that_claims_to_know_learned_sides_is_caught(readers, tmp_path):
    assert_caught("shapes", case_of(Scale, learned_sides=True), readers, tmp_path, "computed")


@pytest.mark.slow
def test_a_layer_unknown_to_a_fresh_process_is_caught(readers, tmp_path):
    assert_caught("keras", case_of(KnownHereOnly), readers, tmp_path, "does not answer in a fresh process")


def test_an_export_that_needs_python_is_caught(readers, tmp_path):
    assert_caught("saved_model", case_of(DoesNotCompile), readers, tmp_path, "does not answer in a fresh process")


def test_an_export_that_differs_is_caught(readers, tmp_path):
    assert_caught("saved_model", case_of(OtherWhenCompiled), readers, tmp_path, "after loading")


def test_an_export_that_loses_its_gradient_is_caught(readers, tmp_path, monkeypatch):
    # What a server that drops custom gradients would do: the function it loads has other gradients than the model.
    case = case_of(WrongGradient)
    loaded = readers["saved_model"].read

    def without_custom_gradient(model, batches):
        return [(outputs, [g / 1.01 for g in found]) for outputs, found in loaded(model, batches)]

    monkeypatch.setattr(readers["saved_model"], "read", without_custom_gradient)
    assert_caught("saved_model", case, readers, tmp_path, "gradient 0 after loading")


@pytest.mark.parametrize("wrong", ["inputs", "scale"])
def test_a_straight_through_gradient_that_is_not_the_closed_form_is_caught(wrong, readers, tmp_path):
    def closed_form(layer, inputs, upstream):
        (x,), (u,) = inputs, upstream
        scale = np.float64(layer.scale.numpy())
        right = {"inputs": [1.5 * scale * u], "scale": 1.5 * np.sum(x * u, axis=(0, 1, 2))}
        return {**right, wrong: [1.01 * right[wrong][0]] if wrong == "inputs" else np.abs(right[wrong])}

    case = dataclasses.replace(case_of(Scale), closed_form=closed_form)
    assert_caught("gradient", case, readers, tmp_path, f"straight-through gradient of {wrong.rstrip('s')}")
