"""What `LevelCascade` refuses, when it is made and when it is built."""

import numpy as np
import pytest

from tfpyramid import layers
from tfpyramid._compat import keras


def pools(count):
    return [keras.layers.GlobalAveragePooling2D(name=f"pool_{k}") for k in range(count)]


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"encoders": pools(2)}, "`encoders` must be one layer for all levels, or a list of 3 layers.*: 2 layers"),
        ({"encoders": 3 * pools(1)}, "`encoders` must be different layers"),
        ({"encoders": [*pools(2), "pool"]}, r"`encoders\[2\]` must be an instance of keras.layers.Layer"),
        ({"confidences": [keras.layers.Dense(1)]}, "`confidences` must be one layer for all levels, or a list of 2"),
        ({"confidences": None}, "`confidences` must be an instance of keras.layers.Layer"),
        ({"pyramid": layers.GaussianPyramid(1)}, "`pyramid` must have a known number of at least 2 levels"),
        ({"pyramid": layers.GaussianPyramid()}, "`pyramid` must have a known number of at least 2 levels"),
        ({"pyramid": layers.LaplacianPyramid(3)}, "`pyramid` must be a layer that computes each level from the one"),
        ({"threshold": 1.5}, "`threshold` must be at most 1, the probability at which a sample stops.*: threshold=1.5"),
        ({"threshold": -0.1}, "`threshold` must be a finite number of at least 0.* Received: threshold=-0.1"),
        ({"threshold": float("nan")}, "`threshold` must be a finite number"),
        ({"threshold": [0.5]}, "`threshold` must be one number, or 2 numbers.* Received: threshold="),
        ({"threshold": [0.5, 2.0]}, r"`threshold\[1\]` must be at most 1"),
        ({"merge": 3}, "`merge` must be an instance of keras.layers.Layer"),
        ({"partition": 2}, "`partition` must be True or False"),
    ],
)
def test_arguments_are_checked_when_the_layer_is_made(changed, message):
    arguments = {"encoders": pools(3), "confidences": keras.layers.Dense(1), "pyramid": layers.GaussianPyramid(3)}
    with pytest.raises(ValueError, match=message):
        layers.LevelCascade(**{**arguments, **changed})


@pytest.mark.parametrize(
    "changed, others, message",
    [
        ({"encoders": [*pools(1), keras.Sequential([*pools(1), keras.layers.Dense(2)])]}, [],
         "`encoders` must all return the same shape"),
        ({"encoders": keras.layers.Flatten()}, [], "`encoders` must all return the same shape"),
        ({"confidences": keras.layers.Dense(2)}, [], r"`confidences` must return .* \[batch, 1\].*: confidences\[0\]"),
        ({"confidences": keras.layers.Flatten()}, [], r"`confidences` must return the log-odds of each sample"),
        ({"merge": keras.layers.Concatenate()}, [], "`merge` must return features of the shape that it gets.*: merge"),
        ({"merge": keras.layers.Dense(3)}, [], "`merge` must"),
        ({}, [np.zeros([2, 4], np.float32)] * 3, "`inputs` must be images, .* Received: 4 inputs"),
        ({"confidences": keras.layers.Concatenate()}, [np.zeros([2, 4], np.float32)], "`confidences` must return"),
        ({"confidences": keras.layers.Dot(1)}, [np.zeros([2, 3], np.float32), np.zeros([2, 3], np.float32)],
         r"`start` must be \[batch, 2\], one for each sample.* Received: start of shape \(2, 3\)"),
    ],
)  # fmt: skip
def test_inputs_are_checked_when_the_layer_is_built(changed, others, message):
    arguments = {"encoders": pools(2), "confidences": keras.layers.Dense(1), "pyramid": layers.GaussianPyramid(2)}
    images = np.zeros([2, 8, 8, 3], np.float32)
    with pytest.raises(ValueError, match=message):
        layers.LevelCascade(**{**arguments, **changed})([images, *others] if others else images)
