"""`show_fixations` draws images with their fixations and the squares of the crops."""

import numpy as np
import pytest
import tensorflow as tf

from tests.visualize.drawing import assert_texts_fit, title
from tfpyramid.visualize import show_fixations

IMAGES = np.random.default_rng(0).random([2, 40, 60, 3])


def squares(axes):
    return [patch.get_bbox().bounds for patch in axes.patches]


def test_squares_are_what_the_crops_cover_around_each_fixation():
    fixations = tf.constant([[[0.5, 0.25], [0.1, 0.9]], [[0.2, 0.2], [0.7, 0.6]]])
    figure = show_fixations(IMAGES, fixations, 4, 3)
    assert title(figure) == "2 fixations, 3 crops of 4 by 4, 2 images"
    first, second = figure.axes
    np.testing.assert_array_equal(first.images[0].get_array(), IMAGES[0])
    np.testing.assert_array_equal(second.images[0].get_array(), IMAGES[1])
    # The center is at row 0.5 * 40 - 0.5 and column 0.25 * 60 - 0.5; a crop of 4 samples, 2^k pixels apart.
    np.testing.assert_allclose(
        squares(first)[:3], [(14.5 - side / 2, 19.5 - side / 2, side, side) for side in (4, 8, 16)], atol=1e-5
    )
    assert len(squares(first)) == 6
    points = np.concatenate([line.get_xydata() for line in first.lines])
    np.testing.assert_allclose(points, [[14.5, 19.5], [53.5, 3.5]], atol=1e-5)
    assert [text.get_text() for text in first.texts] == ["1", "2"]
    assert len({line.get_color() for line in first.lines}) == 2


def test_the_scale_factor_is_that_of_the_pyramid():
    (axes, _) = show_fixations(IMAGES, [[0.5, 0.5]] * 2, 2, 2, scale_factor=3).axes
    assert [bounds[2] for bounds in squares(axes)] == [2, 6]


def test_a_fixation_outside_is_a_cross_at_the_border_and_nan_is_not_drawn():
    axes, other = show_fixations(IMAGES, [[1.5, -0.5], [np.nan, 0.5]], 4, 1).axes
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xydata(), [[-0.5, 39.5]])
    assert line.get_marker() == "X"
    assert not other.lines and not other.patches and not other.texts


def test_maps_are_drawn_below_their_images():
    maps = np.random.default_rng(1).random([2, 3, 5, 6])
    figure = show_fixations(IMAGES, maps[:, :, :2, 0] * [1, 0.9], 4, 1, maps=maps)
    assert len(figure.axes) == 2 * (1 + 3)
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), maps[0, 1])
    assert [axes.get_title(loc="left") for axes in figure.axes[:4]] == ["", "map 1", "map 2", "map 3"]
    assert_texts_fit(figure)


def test_no_more_than_eight_images_are_drawn():
    figure = show_fixations(np.zeros([9, 8, 8, 1]), np.full([9, 2], 0.5), 2, 2)
    assert len(figure.axes) == 8 and title(figure) == "1 fixation, 2 crops of 2 by 2, the first 8 of 9 images"
    assert_texts_fit(figure)


@pytest.mark.parametrize("sides", [(8, 8), (200, 10), (3, 300)])
def test_no_text_is_cut(sides):
    fixations = np.array([[[0.02, 0.02], [0.98, 0.98], [0.5, 0.1]]])
    assert_texts_fit(show_fixations(np.zeros([1, *sides, 1]), fixations, 2, 2))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"images": IMAGES[0]}, r"`images` must be images .* Received: images of shape \(40, 60, 3\)"),
        ({"images": IMAGES[..., :2]}, "`images` must be images .* 1 or 3 channels"),
        ({"fixations": [[0.5, 0.5]]}, r"`fixations` must be .* each of 2 images, .* of shape \(1, 2\)"),
        ({"fixations": np.zeros([2, 3])}, r"`fixations` must be .* Received: fixations of shape \(2, 3\)"),
        ({"size": 0}, "`size` must be an integer of at least 1"),
        ({"num_levels": 0}, "`num_levels` must be an integer of at least 1"),
        ({"scale_factor": 1}, "`scale_factor` must be a finite number greater than 1"),
        ({"maps": np.zeros([2, 2, 3, 3])}, r"`maps` must be .* Received: maps of shape \(2, 2, 3, 3\)"),
    ],
)
def test_a_bad_argument_is_named(change, message):
    arguments = {"images": IMAGES, "fixations": np.full([2, 2], 0.5), "size": 4, "num_levels": 2, **change}
    with pytest.raises(ValueError, match=message):
        show_fixations(**arguments)
