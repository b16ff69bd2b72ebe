"""`show_gradient_norms` draws the norms that `PyramidMonitor` wrote, a line for each level."""

import numpy as np
import pytest
import tensorflow as tf

from tests.visualize.drawing import assert_texts_fit, title
from tfpyramid import layers, training
from tfpyramid._compat import keras
from tfpyramid.visualize import show_gradient_norms

HISTORY = {
    "loss": [3.0, 2.0, 1.0],
    "gradient_norm/pyramid/level_1": [0.9, 0.5, 0.3],
    "gradient_norm/pyramid/level_2": [0.09, 0.05, 0.033],
    "level_usage/selector/level_0": [1.0, 1.0, 1.0],
}


def lines(figure):
    """Return the lines, not the dots at their ends."""
    return [line for line in figure.axes[0].lines if line.get_marker() == "None"]


def test_each_level_is_a_line_over_the_epochs():
    figure = show_gradient_norms(HISTORY)
    (axes,) = figure.axes
    first, second = lines(figure)
    np.testing.assert_array_equal(first.get_xydata(), [[1, 0.9], [2, 0.5], [3, 0.3]])
    np.testing.assert_array_equal(second.get_ydata(), [0.09, 0.05, 0.033])
    assert first.get_color() != second.get_color()
    assert [text.get_text() for text in axes.texts] == ["level 1  0.3", "level 2  0.033"]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("epoch", "gradient norm", "log")
    assert axes.get_xlim() == (1, 3)
    assert title(figure) == "Gradient norms of pyramid, 3 epochs"


def test_labels_stand_at_the_ends_of_their_lines_on_a_logarithmic_axis():
    figure = show_gradient_norms(HISTORY)
    for text, line in zip(figure.axes[0].texts, lines(figure), strict=True):
        assert text.xy == tuple(line.get_xydata()[-1])
        assert text.get_position()[1] == pytest.approx(line.get_ydata()[-1])
        assert text.get_color() == line.get_color()


def test_two_layers_are_named_in_the_labels():
    figure = show_gradient_norms({**HISTORY, "gradient_norm/convs/shared": [1.0, 2.0, 4.0]})
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert labels == ["pyramid, level 1  0.3", "pyramid, level 2  0.033", "convs, shared  4"]
    assert title(figure) == "Gradient norms, 3 epochs"


def test_a_norm_of_zero_makes_the_axis_linear():
    figure = show_gradient_norms({**HISTORY, "gradient_norm/pyramid/level_3": [0.0, 0.0, 0.0]})
    assert figure.axes[0].get_yscale() == "linear"


def test_norms_that_are_not_finite_leave_gaps_and_are_counted():
    figure = show_gradient_norms({"gradient_norm/pyramid/level_1": [1.0, np.nan, np.inf, 2.0, np.nan]})
    np.testing.assert_array_equal(lines(figure)[0].get_ydata(), [1, np.nan, np.nan, 2, np.nan])
    assert title(figure) == "Gradient norms of pyramid, 5 epochs, 3 not finite"
    assert figure.axes[0].texts[0].get_text() == "level 1  nan"
    assert_texts_fit(show_gradient_norms({"gradient_norm/pyramid/level_1": [np.nan]}))


def test_the_history_of_a_training_is_drawn():
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, layers.UpsampleConcat()(layers.LearnablePyramid(3, name="pyramid")(image)))
    model.compile("sgd", "mse")
    x, y = tf.random.stateless_uniform([4, 8, 8, 1], [0, 1]), tf.zeros([4, 8, 8, 3])
    monitor = training.PyramidMonitor(sample=(x, y))
    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[monitor]).history
    drawn = lines(show_gradient_norms(history))
    for line, level in zip(drawn, (1, 2), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), history[f"gradient_norm/pyramid/level_{level}"])


@pytest.mark.parametrize("levels, epochs", [(1, 1), (8, 1), (20, 30), (40, 200)])
def test_no_text_is_cut_and_none_lies_on_another(levels, epochs):
    history = {f"gradient_norm/a_layer_of_a_long_name_{k}/level_{k}": [1.0 + k / 99] * epochs for k in range(levels)}
    figure = show_gradient_norms(history)
    assert_texts_fit(figure)
    assert len(lines(figure)) == min(levels, 24)
    assert ("the first 24 of 40 levels" in title(figure)) == (levels == 40)


@pytest.mark.parametrize(
    "history, message",
    [
        ({"loss": [1.0]}, r"Received: history with the keys \['loss'\]"),
        ([1.0], "Received: history of type list"),
        ({"gradient_norm/p/level_1": [[1.0]]}, r"Received: history\['gradient_norm/p/level_1'\] of shape \(1, 1\)"),
        ({"gradient_norm/p/level_1": []}, r"Received: history\['gradient_norm/p/level_1'\] of shape \(0,\)"),
        ({"gradient_norm/p/level_1": [-1.0]}, r"of shape \(1,\), least -1"),
        ({"gradient_norm/p/level_1": "x"}, "Received: history of type str"),
    ],
)
def test_other_histories_are_refused(history, message):
    with pytest.raises(
        ValueError, match=f"`history` must be a dict with keys 'gradient_norm/LAYER/level_k'.*{message}"
    ):
        show_gradient_norms(history)


def test_the_object_that_fit_returns_is_refused_with_a_hint():
    history = keras.callbacks.History()
    history.history = HISTORY
    with pytest.raises(
        ValueError, match="`history` must be .* Pass its attribute `history`. Received: .* type History"
    ):
        show_gradient_norms(history)
