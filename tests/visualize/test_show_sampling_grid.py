"""`show_sampling_grid` draws the image, its outline, and the points with their lines."""

import numpy as np
import pytest
import tensorflow as tf

from tests.visualize.drawing import assert_texts_fit, title
from tfpyramid import ops
from tfpyramid.visualize import show_sampling_grid

IMAGE = np.random.default_rng(0).random([12, 20, 3])


def grid(rows, columns, size=(12, 20)):
    return ops.affine_grid(np.eye(2, 3)[None], size, (rows, columns))[0].numpy()


def test_the_image_lies_where_its_pixels_are_with_an_outline():
    (axes,) = show_sampling_grid(IMAGE, grid(3, 4)).axes
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), IMAGE)
    assert tuple(image.get_extent()) == (-0.5, 19.5, 11.5, -0.5)
    (outline,) = axes.patches
    assert outline.get_bbox().bounds == (-0.5, -0.5, 20, 12)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < -0.5 and right > 19.5 and bottom > 11.5 and top < -0.5  # The first row is above.


def test_pixels_are_square():
    figure = show_sampling_grid(IMAGE, grid(3, 4))
    (axes,) = figure.axes
    box = axes.get_window_extent()
    across, down = np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())
    assert box.width / across == pytest.approx(box.height / down, rel=1e-3)


def test_rows_and_columns_of_points_are_lines_of_x_and_y():
    points = grid(3, 4) + np.random.default_rng(1).uniform(-0.5, 0.5, [3, 4, 2])
    (axes,) = show_sampling_grid(IMAGE, tf.constant(points)).axes
    *lines, inside, outside = axes.lines
    assert len(lines) == 3 + 4
    for line, expected in zip(lines, [*points, *points.transpose(1, 0, 2)]):
        np.testing.assert_array_equal(line.get_xydata(), expected[:, ::-1])
    assert inside.get_label() == "inside" and outside.get_label() == "outside"
    np.testing.assert_array_equal(inside.get_xydata(), points.reshape(-1, 2)[:, ::-1])
    assert not len(outside.get_xydata())


def test_points_outside_are_seen_and_counted():
    points = grid(3, 4)
    points[0, 0] = [-7.0, 3.0]
    points[2, 3] = [5.0, 31.0]
    points[1, 1] = [-0.5, 19.5]  # On the outline: inside.
    figure = show_sampling_grid(IMAGE, points)
    (axes,) = figure.axes
    np.testing.assert_array_equal(axes.lines[-1].get_xydata(), [[3.0, -7.0], [31.0, 5.0]])
    assert axes.get_xlim()[1] > 31 and axes.get_ylim()[1] < -7
    assert title(figure) == "3 × 4 points, 2 outside the image"
    assert title(show_sampling_grid(IMAGE, grid(3, 4))) == "3 × 4 points, none outside the image"


def test_lines_too_near_to_be_told_apart_are_left_out_and_the_title_says_so():
    points = grid(5, 300)
    figure = show_sampling_grid(IMAGE, points)
    (axes,) = figure.axes
    rows, columns = axes.lines[:5], axes.lines[5:-2]
    # 20 pixels of the image are at most 620 of the picture: 300 points are about 2 apart.
    step = int(title(figure).split("one column in ")[1])
    assert title(figure) == f"5 × 300 points, none outside the image\ndrawn: every row, one column in {step}"
    assert 5 <= step <= 8
    kept = [*range(0, 300, step)] + [299] * (299 % step > 0)
    assert len(columns) == len(kept)
    np.testing.assert_array_equal(rows[2].get_xydata(), points[2, kept][:, ::-1])
    np.testing.assert_array_equal(columns[-1].get_xydata(), points[:, 299][:, ::-1])


def test_a_grid_that_has_collapsed_is_drawn():
    (axes,) = show_sampling_grid(IMAGE, np.full([6, 7, 2], 3.0)).axes
    assert len(axes.lines) == 2 + 2 + 2
    (axes,) = show_sampling_grid(IMAGE, np.full([1, 1, 2], 3.0)).axes
    np.testing.assert_array_equal(axes.lines[-2].get_xydata(), [[3, 3]])


@pytest.mark.parametrize(
    "image, drawn",
    [
        (np.linspace(0.2, 0.6, 6).reshape(2, 3, 1), np.linspace(0.2, 0.6, 6).reshape(2, 3)),
        (np.arange(6, dtype=np.uint8).reshape(2, 3), np.linspace(0, 1, 6).reshape(2, 3)),
        (tf.reshape(tf.linspace(-1.0, 1.0, 6), [1, 2, 3]), np.linspace(0, 1, 6).reshape(1, 2, 3)),
        (np.full([2, 3], 7.0), np.zeros([2, 3])),
    ],
)
def test_values_of_0_to_1_are_drawn_as_they_are_and_others_stretched(image, drawn):
    (axes,) = show_sampling_grid(image, grid(2, 2)).axes
    np.testing.assert_allclose(axes.images[0].get_array(), drawn, atol=1e-7)
    assert axes.images[0].get_clim() == (0, 1)


@pytest.mark.parametrize("size", [(12, 20), (60, 4), (3, 90)])
def test_no_text_is_cut_and_none_lies_on_another(size):
    assert_texts_fit(show_sampling_grid(np.zeros(size), grid(70, 80, size)))


@pytest.mark.parametrize(
    "image, points, message",
    [
        (np.zeros([1, 4, 4, 3]), grid(2, 2), r"`image` must be an image .* Received: image of shape \(1, 4, 4, 3\)"),
        (np.zeros([4, 4, 2]), grid(2, 2), r"`image` must be .* 1 or 3 channels. Received: image of shape \(4, 4, 2\)"),
        (np.zeros([0, 4]), grid(2, 2), r"`image` must be an image .* Received: image of shape \(0, 4\)"),
        (np.full([2, 2], np.inf), grid(2, 2), r"`image` must be .*, all finite numbers. .* 4 of them not finite"),
        ("image.png", grid(2, 2), "`image` must be an image .* Received: image of type str"),
        (IMAGE, np.zeros([4, 2]), r"`points` must be points \[rows, columns, 2\].* Received: points of shape \(4, 2\)"),
        (IMAGE, np.zeros([4, 4, 3]), r"`points` must be points .* Received: points of shape \(4, 4, 3\)"),
        (IMAGE, np.zeros([1, 4, 4, 2]), r"`points` must be points .* Received: points of shape \(1, 4, 4, 2\)"),
        (IMAGE, np.zeros([0, 4, 2]), r"`points` must be points .* Received: points of shape \(0, 4, 2\)"),
        (IMAGE, np.full([1, 2, 2], np.nan), r"`points` must be .*, all finite numbers. .* 4 of them not finite"),
    ],
)
def test_what_is_no_image_or_no_grid_is_an_error(image, points, message):
    with pytest.raises(ValueError, match=message):
        show_sampling_grid(image, points)
