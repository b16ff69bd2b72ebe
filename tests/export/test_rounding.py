"""The check of an export: what counts as rounding, and what does not."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid._compat import keras, register
from tfpyramid.export import export_saved_model
from tfpyramid.export._verify import _close


@register
class InGraphs(keras.layers.Layer):
    """Return `eager * x` in eager execution, and `graph * x` in a graph, as another order of sums could."""

    def __init__(self, eager, graph, **kwargs):
        super().__init__(**kwargs)
        self.eager, self.graph = eager, graph

    def call(self, x):
        return x * (self.eager if tf.executing_eagerly() else self.graph)

    def compute_output_shape(self, input_shape):
        return input_shape


def export(folder, eager, graph):
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, InGraphs(eager, graph, name="noise")(image))
    return export_saved_model(model, folder / "1")


@pytest.mark.parametrize("eager, graph", [(1e-12, -3e-12), (0.0, 1e-9), (1e-9, 0.0)])
def test_results_that_are_all_rounding_are_equal(eager, graph, tmp_path, one_interpreter):
    assert export(tmp_path, eager, graph) == tmp_path / "1"


@pytest.mark.parametrize("eager, graph", [(1.0, 1.01), (1e-5, -1e-5), (1e-5, 0.0), (0.0, 1e-6), (1e-6, 2e-6)])
def test_small_wrong_results_are_reported(eager, graph, tmp_path, one_interpreter):
    with pytest.raises(ValueError, match="its layer 'noise' .* differs when loaded"):
        export(tmp_path, eager, graph)


@register
class WrongGradient(keras.layers.Layer):
    """Return x, with twice its gradient in a graph."""

    def call(self, x):
        factor = 1.0 if tf.executing_eagerly() else 2.0
        return factor * x - (factor - 1) * tf.stop_gradient(x)

    def compute_output_shape(self, input_shape):
        return input_shape


def test_small_wrong_gradients_are_reported(tmp_path, one_interpreter):
    """The gradient of the mean of a million squares is small, but no rounding."""
    image = keras.Input((512, 512, 4), name="image")
    model = keras.Model(image, WrongGradient(name="wrong")(image))
    with pytest.raises(ValueError, match="its layer 'wrong' .* gradient 'image' differs when loaded"):
        export_saved_model(model, tmp_path / "1")


@pytest.mark.parametrize(
    "expected, actual, unit, equal",
    [
        (np.float32([1e-8]), np.float32([-1e-8]), 1.0, True),
        (np.float32([1e-6]), np.float32([-1e-6]), 1.0, False),
        (np.float32([1e-8]), np.float32([-1e-8]), 1e-3, False),  # A gradient of 1000 outputs is this small.
        (np.float64([1e-8]), np.float64([-1e-8]), 1.0, False),
        (np.float16([1e-4]), np.float16([-1e-4]), 1.0, True),
        (np.float16([1e-2]), np.float16([-1e-2]), 1.0, False),
        (np.float32([0, np.nan]), np.float32([1e-9, np.nan]), 1.0, True),
        (np.float32([0, np.nan]), np.float32([np.nan, 0]), 1.0, False),
        (np.float32([0]), np.float32([np.inf]), 1.0, False),
        (np.int32([0]), np.int32([1]), 1.0, False),
    ],
)
def test_rounding_is_relative_to_the_largest_result_or_to_one(expected, actual, unit, equal):
    assert _close(expected, actual, unit) == equal
