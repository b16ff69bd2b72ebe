"""`flow_colors` has the colours of the published wheel, and `show_flow` draws them."""

import numpy as np
import pytest
import tensorflow as tf

from tests.visualize.drawing import assert_texts_fit, title
from tfpyramid.visualize import flow_colors, show_flow

# Of the 55 colours, these are pure, or the first after a pure one: by hand, from the published numbers of colours
# between red, yellow, green, cyan, blue, magenta and red.
WHEEL = {
    0: (255, 0, 0),
    1: (255, 17, 0),
    15: (255, 255, 0),
    16: (213, 255, 0),
    21: (0, 255, 0),
    22: (0, 255, 63),
    25: (0, 255, 255),
    26: (0, 232, 255),
    36: (0, 0, 255),
    37: (19, 0, 255),
    49: (255, 0, 255),
    50: (255, 0, 213),
    53: (255, 0, 85),
}


@pytest.mark.parametrize("k", WHEEL)
def test_the_colours_of_the_wheel_are_the_published_ones(k):
    angle = 2 * np.pi * k / 54
    color = flow_colors([[[np.cos(angle), np.sin(angle)]]], max_length=1 + 1e-12)[0, 0]
    np.testing.assert_allclose(color, WHEEL[k], atol=1)  # The sine of 2 pi / 54 is not exact.


def test_directions():
    arrows = {"right": (1, 0), "down": (0, 1), "left": (-1, 0), "up": (0, -1)}
    colors = {name: tuple(flow_colors(np.float32([[arrow]]))[0, 0]) for name, arrow in arrows.items()}
    # 13.5, 27 and 40.5 colours after red.
    assert colors == {"right": (255, 0, 0), "down": (255, 229, 0), "left": (0, 209, 255), "up": (88, 0, 255)}


def test_a_short_flow_is_pale_and_one_that_is_too_long_is_dark():
    colors = flow_colors([[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [4.0, 0.0], [8.0, 0.0]]], max_length=4.0)
    assert colors.dtype == np.uint8
    assert colors[0].tolist() == [[255, 255, 255], [255, 191, 191], [255, 127, 127], [255, 0, 0], [191, 0, 0]]


def test_the_largest_known_flow_is_saturated_and_unknown_flow_is_black():
    flow = np.array([[[3.0, 0.0], [1.5, 0.0], [np.nan, 0.0], [0.0, np.inf], [1e10, 1e10]]])
    expected = [[255, 0, 0], [255, 127, 127]] + 3 * [[0, 0, 0]]
    assert flow_colors(flow)[0].tolist() == expected
    assert flow_colors(tf.constant(flow, tf.float32))[0].tolist() == expected
    assert flow_colors(np.stack([flow, 2 * flow]))[0, 0].tolist() == [[255, 127, 127], [255, 191, 191]] + expected[2:]


def test_negative_zero_is_zero_and_no_flow_is_white():
    assert flow_colors([[[1.0, -0.0]]]).tolist() == flow_colors([[[1.0, 0.0]]]).tolist() == [[[255, 0, 0]]]
    assert np.all(flow_colors(np.zeros([2, 3, 2])) == 255)
    assert flow_colors(np.zeros([0, 3, 2])).shape == (0, 3, 3)


def test_the_figure_has_the_colours_and_a_key():
    flow = np.random.default_rng(0).standard_normal([2, 12, 20, 2])
    flow[1, 0, :2] = np.nan
    figure = show_flow(flow, index=1, max_length=2.0)
    image, key = figure.axes
    np.testing.assert_array_equal(image.images[0].get_array(), flow_colors(flow[1], max_length=2.0))
    longest = np.nanmax(np.hypot(*np.moveaxis(flow[1], -1, 0)))
    assert title(figure) == f"Flow, {longest:.3g} pixels at most, 1 of a batch of 2\n2 pixels unknown"
    wheel = np.array(key.images[0].get_array())
    middle = len(wheel) // 2
    np.testing.assert_allclose(wheel[middle, -1], [255, 0, 0, 255], atol=6)
    assert wheel[0, 0, 3] == 0 and wheel[middle, middle, :3].min() > 245
    assert key.get_title(loc="left") == "radius 2 pixels"


@pytest.mark.parametrize("size", [(12, 20), (60, 4), (3, 90), (1, 1)])
def test_no_text_is_cut_and_none_lies_on_another(size):
    assert_texts_fit(show_flow(np.full([3, *size, 2], 0.001)))
    assert_texts_fit(show_flow(np.full([*size, 2], np.nan)))


@pytest.mark.parametrize("draw", [flow_colors, show_flow])
@pytest.mark.parametrize(
    "flow, options, message",
    [
        (np.zeros([4, 4, 3]), {}, r"`flow` must be .* Received: flow of shape \(4, 4, 3\)"),
        (np.zeros([4, 2]), {}, r"`flow` must be .* Received: flow of shape \(4, 2\)"),
        ("flow.flo", {}, "`flow` must be .* Received: flow of type str"),
        (np.zeros([4, 4, 2]), {"max_length": 0}, "`max_length` must be a finite number greater than 0, .*max_length=0"),
    ],
)
def test_bad_arguments_are_errors(draw, flow, options, message):
    with pytest.raises(ValueError, match=message):
        draw(flow, **options)


def test_a_batch_has_so_many_flows():
    with pytest.raises(ValueError, match="`index` must be at most 0, which flow .* Received: index=1"):
        show_flow(np.zeros([1, 4, 4, 2]), index=1)
    with pytest.raises(ValueError, match=r"`flow` must be a flow .* Received: flow of shape \(1, 1, 4, 4, 2\)"):
        show_flow(np.zeros([1, 1, 4, 4, 2]))
