"""`show_level_weights` draws a bar for each level, and for a batch a heat map of its samples."""

import numpy as np
import pytest
import tensorflow as tf

from tests.visualize.drawing import assert_texts_fit, title
from tfpyramid import layers
from tfpyramid.visualize import show_level_weights

WEIGHTS = np.array([[0.1, 0.2, 0.7], [0.0, 0.6, 0.4]])


def heights(axes):
    return [bar.get_height() for bar in axes.patches]


def tick_labels(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def test_weights_of_levels_are_bars_with_their_values():
    figure = show_level_weights(tf.constant(WEIGHTS[0]))
    (axes,) = figure.axes
    assert heights(axes) == [0.1, 0.2, 0.7]
    assert [text.get_text() for text in axes.texts] == ["0.10", "0.20", "0.70"]
    assert tick_labels(axes) == ["level 0", "level 1", "level 2"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("level of the pyramid", "weight")
    assert title(figure) == "Weights of 3 levels"


def test_a_batch_is_drawn_as_its_mean_and_as_a_heat_map():
    figure = show_level_weights(WEIGHTS)
    bars, heat, bar = figure.axes
    np.testing.assert_allclose(heights(bars), WEIGHTS.mean(axis=0))
    np.testing.assert_array_equal(heat.images[0].get_array(), WEIGHTS)
    assert heat.images[0].get_clim() == (0, 1) == bar.get_ylim()
    assert (bars.get_ylabel(), heat.get_ylabel()) == ("mean weight", "sample")
    assert title(figure) == "Weights of 3 levels, 2 samples\nlargest weight: 0, 1, 1"


def test_negative_weights_have_a_signed_colour_map():
    figure = show_level_weights([[-2.0, 1.0], [0.5, 1.5]])
    image = figure.axes[1].images[0]
    assert image.get_cmap().name == "RdBu_r" and image.get_clim() == (-2, 2)
    assert heights(figure.axes[0]) == [-0.75, 1.25]


def test_weights_of_a_fusion_and_of_a_selector_are_drawn():
    levels = [tf.ones([1, 4, 4, 2]), tf.ones([1, 2, 2, 2])]
    fusion = layers.WeightedFusion(per_channel=True)
    fusion(levels)
    figure = show_level_weights(tf.transpose(fusion.weigh()))
    np.testing.assert_allclose(heights(figure.axes[0]), [0.5, 0.5], atol=1e-3)
    weights = layers.QueryLevelSelector(3)(tf.ones([4, 2]))
    assert heights(show_level_weights(weights).axes[0]) == [1, 0, 0]


def test_names_are_under_the_bars():
    figure = show_level_weights(WEIGHTS, names=["P3", "P4", "P5"])
    assert tick_labels(figure.axes[0]) == tick_labels(figure.axes[1]) == ["P3", "P4", "P5"]


@pytest.mark.parametrize("shape", [(1,), (3,), (64,), (2, 1), (1, 4), (30, 4), (500, 64), (2, 300)])
def test_no_text_is_cut_and_none_lies_on_another(shape):
    weights = np.random.default_rng(0).random(shape)
    assert_texts_fit(show_level_weights(weights))
    assert_texts_fit(show_level_weights(-weights, names=[f"a name that is long {k}" for k in range(shape[-1])]))


def test_at_most_256_levels_are_drawn_and_the_title_says_how_many_there_are():
    figure = show_level_weights(np.ones([257]))
    assert len(figure.axes[0].patches) == 256
    assert title(figure) == "Weights of the first 256 of 257 levels"


@pytest.mark.parametrize(
    "weights, message",
    [
        (0.5, r"Received: weights of shape \(\)"),
        ([], r"Received: weights of shape \(0,\)"),
        (np.ones([2, 2, 2]), r"Received: weights of shape \(2, 2, 2\)"),
        ([np.nan, 1.0], r"all finite numbers. Received: weights of shape \(2,\), 1 of them not finite"),
        ("abc", "Received: weights of type str"),
    ],
)
def test_other_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=rf"`weights` must be weights \[levels\] or \[samples, levels\].*{message}"):
        show_level_weights(weights)


@pytest.mark.parametrize("names", [["one"], "abc", 3])
def test_names_that_are_not_as_many_are_refused(names):
    with pytest.raises(
        ValueError, match="`names` must be a list of 3, one for each of the levels in `weights`. Received: names="
    ):
        show_level_weights(WEIGHTS, names=names)
