"""`show_strides` draws a line for each stride, with a label at its end."""

import numpy as np
import pytest
import tensorflow as tf

from tests.visualize.drawing import assert_texts_fit, title
from tfpyramid.visualize import show_strides

HISTORY = np.stack([np.linspace(2, 2.6, 7), np.linspace(3, 1.7, 7)], 1)


def read(figure):
    """Return the lines (not the dots at their ends) and the labels."""
    (axes,) = figure.axes
    return [line for line in axes.lines if line.get_marker() == "None"], axes.texts


def test_each_stride_is_a_line_over_the_steps():
    figure = show_strides(tf.constant(HISTORY))
    rows, columns = read(figure)[0]
    for line, values in ((rows, HISTORY[:, 0]), (columns, HISTORY[:, 1])):
        np.testing.assert_array_equal(line.get_xydata(), np.stack([np.arange(7), values], 1))
    assert rows.get_linestyle() == "-" and columns.get_linestyle() == "--"
    assert rows.get_color() != columns.get_color()
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training step", "stride, pixels of the input")
    assert axes.get_xlim() == (0, 6)
    assert title(figure) == "Learned strides, 7 steps"


def test_each_line_is_labelled_at_its_end_with_the_value_there():
    lines, labels = read(show_strides(HISTORY))
    assert [label.get_text() for label in labels] == ["s_y  2.60", "s_x  1.70"]
    for line, label in zip(lines, labels):
        assert label.xy == tuple(line.get_xydata()[-1])
        assert label.get_color() == line.get_color()
        x, y = label.get_position()
        assert x > 6 and y == pytest.approx(line.get_ydata()[-1], abs=1e-9)  # Far apart: neither is moved.


def test_layers_by_name_have_a_colour_each_and_as_many_steps_as_they_have():
    figure = show_strides({"first": HISTORY, "second": 2 * HISTORY[:4]})
    lines, labels = read(figure)
    assert [len(line.get_xdata()) for line in lines] == [7, 7, 4, 4]
    assert [label.get_text() for label in labels] == [
        "first s_y  2.60",
        "first s_x  1.70",
        "second s_y  4.60",
        "second s_x  4.70",
    ]
    assert len({line.get_color() for line in lines}) == 2
    assert labels[2].xy == (3, lines[2].get_ydata()[-1])
    assert title(figure) == "Learned strides, 7 steps"


@pytest.mark.parametrize(
    "history",
    [
        HISTORY,
        np.full([3, 2], 2.0),
        np.full([1, 2], 2.0),
        {f"a layer of a long name {k}": HISTORY + 1e-3 * k for k in range(8)},
    ],
)
def test_no_text_is_cut_and_none_lies_on_another_where_lines_end_together(history):
    assert_texts_fit(show_strides(history))


def test_labels_that_are_moved_apart_keep_the_order_of_their_lines():
    _, labels = read(show_strides({name: HISTORY + 0.001 * k for k, name in enumerate("abc")}))
    heights = {label.get_text()[:5]: label.get_position()[1] for label in labels}
    assert (
        heights["a s_x"] < heights["b s_x"] < heights["c s_x"] < heights["a s_y"] < heights["b s_y"] < heights["c s_y"]
    )


def test_one_step_and_constant_strides_are_drawn():
    figure = show_strides([[2.0, 3.0]])
    assert title(figure) == "Learned strides, 1 step"
    assert figure.axes[0].get_xticks().tolist() == [0]
    low, high = show_strides(np.full([5, 2], 2.0)).axes[0].get_ylim()
    assert low < 1.8 and high > 2.2  # Rounding errors would else fill the axes.


@pytest.mark.parametrize(
    "history, message",
    [
        (np.zeros([4]), r"Received: history of shape \(4,\)"),
        (np.zeros([4, 3]), r"Received: history of shape \(4, 3\)"),
        (np.zeros([0, 2]), r"Received: history of shape \(0, 2\)"),
        ({"down": np.zeros([2, 4, 2])}, r"Received: history\['down'\] of shape \(2, 4, 2\)"),
        ([[2.0, np.nan]], r"all finite numbers. Received: history of shape \(1, 2\), 1 of them not finite"),
        ("2, 2", "Received: history of type str"),
        ([[1.0, 2.0], [1.0]], "Received: history of type list"),
    ],
)
def test_what_is_no_history_is_an_error(history, message):
    with pytest.raises(ValueError, match=rf"`history` must be strides \[steps, 2\], .*{message}"):
        show_strides(history)


def test_no_history_is_an_error():
    with pytest.raises(ValueError, match=r"`history` must hold at least one array of strides. Received: history=\{\}"):
        show_strides({})
