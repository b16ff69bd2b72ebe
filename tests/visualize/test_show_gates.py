"""`show_gates` draws gates from 0 to 1, the threshold, and how many are open."""

import numpy as np
import pytest
import tensorflow as tf

from tests.visualize.drawing import assert_texts_fit, title
from tfpyramid import layers
from tfpyramid.visualize import show_gates

GATES = np.array([[1.0, 0.4, 0.2], [1.0, 0.7, 0.1]])


def test_gates_are_bars_with_a_threshold():
    figure = show_gates([1.0, 0.5, 0.25])
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [1, 0.5, 0.25]
    threshold = axes.lines[-1]
    assert set(threshold.get_ydata()) == {0.5} and threshold.get_linestyle() == "--"
    assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("gate", "gate, 0 to 1")
    assert title(figure) == "2 of 3 gates open"  # A gate of exactly 0.5 is open.


def test_a_batch_is_drawn_as_its_mean_and_as_a_heat_map():
    figure = show_gates(GATES)
    np.testing.assert_allclose([bar.get_height() for bar in figure.axes[0].patches], [1, 0.55, 0.15])
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), GATES)
    assert title(figure) == "2 of 3 gates open on average, 2 samples"


def test_gates_that_are_equal_for_all_samples_are_drawn_once():
    pyramid = layers.AdaptiveDepthPyramid(3, hard=True)
    pyramid.build((None, 8, 8, 1))
    pyramid.gate_logits.assign([1.0, -1.0])
    _, gates = pyramid(tf.ones([4, 8, 8, 1]))
    figure = show_gates(gates, names=["level 0", "level 1", "level 2"])
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [1, 1, 0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["level 0", "level 1", "level 2"]
    assert title(figure) == "2 of 3 gates open"


@pytest.mark.slow
def test_gates_of_channels_are_drawn():
    layer = layers.ChannelAdaptiveDownsample2D()
    images = tf.random.stateless_uniform([4, 8, 8, 3], [0, 1])
    layer(images)
    layer.excite_kernel.assign(np.ones([1, 3]))
    layer.squeeze_bias.assign([1.0])
    figure = show_gates(layer.gates(images))
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), layer.gates(images))


def test_many_gates_are_drawn_in_part_and_the_title_says_so():
    figure = show_gates(np.ones([2, 300]) * [[1.0], [0.0]])
    assert len(figure.axes[0].patches) == 256
    assert title(figure) == "300 of 300 gates open on average, 2 samples; drawn: the first 256"


@pytest.mark.parametrize("shape", [(1,), (6,), (2, 64), (100, 300)])
def test_no_text_is_cut_and_none_lies_on_another(shape):
    assert_texts_fit(show_gates(np.random.default_rng(0).random(shape)))


@pytest.mark.parametrize(
    "gates, message",
    [
        ([1.5, 0.0], "Received: gates from 0 to 1.5"),
        ([-0.5], "Received: gates from -0.5 to -0.5"),
        (np.ones([1, 2, 3]), r"Received: gates of shape \(1, 2, 3\)"),
        ([np.inf], "all finite numbers. Received: gates of shape"),
        (None, "Received: gates of type NoneType"),
    ],
)
def test_other_gates_are_refused(gates, message):
    with pytest.raises(
        ValueError, match=rf"`gates` must be gates \[gates\] or \[samples, gates\], from 0 to 1.*{message}"
    ):
        show_gates(gates)


def test_names_that_are_not_as_many_are_refused():
    with pytest.raises(
        ValueError, match="`names` must be a list of 3, one for each of the gates in `gates`. Received: names="
    ):
        show_gates(GATES, names=["one"])
