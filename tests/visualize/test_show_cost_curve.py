"""`show_cost_curve` draws accuracy against pixels."""

import numpy as np
import pytest

from tests.visualize.drawing import assert_texts_fit, title
from tfpyramid.visualize import show_cost_curve

CURVES = {
    "cascade": (np.zeros([3, 2]), [0.86, 0.95, 0.995], [0.02, 0.03, 0.06]),
    "always 16 px": (None, [0.95], [0.0625]),
}


def test_curves_are_lines_and_single_points_are_markers():
    figure = show_cost_curve(CURVES)
    (axes,) = figure.axes
    line, point = axes.lines
    np.testing.assert_array_equal(line.get_xydata().T, [CURVES["cascade"][2], CURVES["cascade"][1]])
    np.testing.assert_array_equal(point.get_xydata(), [[0.0625, 0.95]])
    assert (line.get_marker(), point.get_marker() != "None", point.get_linestyle()) == ("None", True, "None")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(CURVES)
    assert axes.get_xscale() == "log" and title(figure) == "Accuracy against pixels, 2 curves"
    # Each halving of the errors takes about the same height.
    heights = axes.transData.transform([(0.1, a) for a in (0.9, 0.95, 0.975)])[:, 1]
    assert heights[2] - heights[1] == pytest.approx(heights[1] - heights[0], rel=0.05)


@pytest.mark.parametrize("accuracy", [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.861, 0.864], [0.3, 0.9996]])
def test_all_points_lie_inside_and_no_text_on_another(accuracy):
    names = [f"a name that is long {k}" for k in range(12)]
    figure = show_cost_curve({name: (None, accuracy, [0.015625 / (k + 1), 1]) for k, name in enumerate(names)})
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert low <= min(accuracy) and max(accuracy) <= high and len(axes.get_yticks()) >= 2
    assert_texts_fit(figure)


@pytest.mark.parametrize(
    "curves, received",
    [
        ({}, "curves={}"),
        ([1], r"curves=\[1\]"),
        ({str(k): (None, [1], [1]) for k in range(13)}, "curves={"),
        ({"a": ([1], [1])}, r"curves\['a'\] of type tuple"),
        ({"a": "abc"}, r"curves\['a'\] of type str"),
        ({"a": (None, [1, 1], [1])}, r"accuracy of shape \(2,\) and pixels of shape \(1,\)"),
        ({"a": (None, [], [])}, r"accuracy of shape \(0,\)"),
        ({"a": (None, [np.nan], [1])}, "1 of them not finite"),
        ({"a": (None, [1.5], [1])}, "accuracy from 1.5 to 1.5"),
        ({"a": (None, [0.5], [0])}, "pixels from 0"),
    ],
)
def test_other_curves_are_refused(curves, received):
    with pytest.raises(ValueError, match=f"`curves` must be a dict .*Received: .*{received}"):
        show_cost_curve(curves)
