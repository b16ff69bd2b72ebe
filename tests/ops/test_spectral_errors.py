"""Spectral pooling: what it refuses, and how it says so."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import ops


@pytest.mark.parametrize(
    "strides, message",
    [
        (
            (0, 2),
            "must be a finite number of at least 1, the ratio of the sides of input and output, or two .* strides=0",
        ),
        ((2, 0.99), "must be a finite number of at least 1, .* Received: strides=0.99"),
        ((2, np.nan), "must be a finite number of at least 1, .* Received: strides=nan"),
        ((np.inf, 2), "must be a finite number of at least 1, .* Received: strides=inf"),
        (("2", 2), "must be a finite number of at least 1, .* Received: strides='2'"),
        ((True, 2), "must be a finite number of at least 1, .* Received: strides=True"),
        (np.array([2.0, np.nan]), "must be a finite number of at least 1, .* Received: strides=.*nan"),
        (tf.constant([2.0, np.nan]), "must be a finite number of at least 1, .* Received: strides=nan"),
        (tf.constant([0.5, 2.0]), "must be a finite number of at least 1, .* Received: strides=0.5"),
        (0.5, r"must be a finite number of at least 1, .*, or two of them, \(s_y, s_x\). Received: strides=0.5"),
        ("22", r"must be a finite number of at least 1, .*, or two of them, \(s_y, s_x\). Received: strides='22'"),
        ((2, 2, 2), r"must be a finite number of at least 1, .*, or two of them, .* strides=\(2, 2, 2\)"),
        (None, r"must be a finite number of at least 1, .*, or two of them, \(s_y, s_x\). Received: strides=None"),
        (tf.constant(2.0), r"or a floating tensor \[2\]. Received: strides of shape \(\), float32"),
        (tf.ones([2, 1]), r"or a floating tensor \[2\]. Received: strides of shape \(2, 1\), float32"),
        (tf.constant([2, 2]), r"or a floating tensor \[2\]. Received: strides of shape \(2,\), int32"),
    ],
)
def test_strides_that_are_none_are_an_error(strides, message):
    with pytest.raises(ValueError, match=f"`strides` {'.*' if 'or a floating' in message else ''}{message}"):
        ops.spectral_pool(tf.ones([1, 8, 8, 1]), strides)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"output_size": "4"}, r"`output_size` must be an integer of at least 1, \(height, width\). .*size='4'"),
        ({"output_size": (4, 0)}, "`output_size` must be an integer of at least 1, .* Received: output_size=0"),
        ({"output_size": (4.5, 4)}, "`output_size` must be an integer of at least 1, .* Received: output_size=4.5"),
        ({"smoothness": 0}, "`smoothness` must be a finite number greater than 0, .* Received: smoothness=0"),
        ({"smoothness": np.nan}, "`smoothness` must be a finite number greater than 0, .* Received: smoothness=nan"),
        ({"hard": None}, "`hard` must be True or False. Received: hard=None"),
        ({"images": tf.ones([8, 8, 1])}, "`images` must have 4 axes"),
        ({"images": tf.ones([1, 8, 8, 1], tf.int32)}, "`images` must be floating point"),
        ({"images": tf.ones([1, 0, 8, 1])}, "`images` must have a height and a width of at least 1"),
    ],
)
def test_other_arguments_that_break_a_rule_are_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        ops.spectral_pool(**{"images": tf.ones([1, 8, 8, 1]), "strides": (2, 2), **arguments})
