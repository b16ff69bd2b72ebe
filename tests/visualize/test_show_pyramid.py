"""`show_pyramid` draws each level of one image, on one scale of sizes, and residuals in a signed colour map."""

import numpy as np
import pytest
import tensorflow as tf

from tests.visualize.drawing import assert_texts_fit, title
from tfpyramid import ops
from tfpyramid.visualize import show_pyramid

PHOTOS = np.random.default_rng(0).random([2, 24, 36, 3])
GRAY = "gray"


def drawn(figure):
    """Return the drawn levels, without the colour bar, each as (axes, image)."""
    return [(axes, axes.images[0]) for axes in figure.axes if axes.images]


def test_levels_are_drawn_unchanged_and_finest_first():
    levels = ops.gaussian_pyramid(tf.constant(PHOTOS), 3)
    figure = show_pyramid(levels)
    assert title(figure) == "Pyramid, 3 levels, image 0 of a batch of 2"
    for (axes, image), level in zip(drawn(figure), levels, strict=True):
        np.testing.assert_array_equal(image.get_array(), level[0])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["0: 24 × 36 px", "1: 12 × 18 px", "2: 6 × 9 px"]


def test_sizes_have_one_scale_and_levels_do_not_overlap():
    levels = ops.gaussian_pyramid(tf.constant(PHOTOS), 5, scale_factor=1.4)
    boxes = [axes.get_window_extent() for axes, _ in drawn(show_pyramid(levels))]
    for box, level in zip(boxes, levels):
        assert box.height / level.shape[1] == pytest.approx(420 / 36, rel=0.01)
        assert box.width / level.shape[2] == pytest.approx(420 / 36, rel=0.01)
    for k, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:k])


def test_index_chooses_the_image_of_the_batch():
    figure = show_pyramid([PHOTOS], index=1)
    np.testing.assert_array_equal(drawn(figure)[0][1].get_array(), PHOTOS[1])
    assert title(figure) == "Pyramid, 1 level, image 1 of a batch of 2"


def test_residuals_are_signed_and_the_low_pass_is_not():
    levels = ops.laplacian_pyramid(tf.constant(PHOTOS), 3)
    figure = show_pyramid(levels, index=1)
    *residuals, (_, lowpass) = drawn(figure)
    limits = {image.get_clim() for _, image in residuals}
    (low, high) = limits.pop()
    assert not limits and low == -high  # One symmetric range for both.
    expected = max(np.percentile(np.abs(level[1]), 99) for level in levels[:2])
    assert high == pytest.approx(expected)
    for (_, image), level in zip(residuals, levels):
        assert image.get_cmap().name == "RdBu_r"
        np.testing.assert_allclose(image.get_array(), np.mean(level[1], axis=2), atol=1e-12)
    np.testing.assert_array_equal(lowpass.get_array(), levels[2][1])
    bar = figure.axes[-1]
    assert bar.get_title(loc="left") == "residual" and bar.get_ylim() == (low, high)


@pytest.mark.parametrize(
    "signed, expected", [(None, [True, False]), (True, [True, True]), (False, [False, False]), ([False, True], [0, 1])]
)
def test_signed_may_be_chosen_for_each_level(signed, expected):
    levels = [PHOTOS[..., :1] - PHOTOS[..., :1].mean(), PHOTOS[:, ::2, ::2, :1]]
    maps = [image.get_cmap().name for _, image in drawn(show_pyramid(levels, signed=signed))]
    assert maps == ["RdBu_r" if each else GRAY for each in expected]


def test_a_level_with_negative_values_and_a_mean_far_from_zero_is_not_a_residual():
    (_, image), *_ = drawn(show_pyramid([PHOTOS[..., :1] - 0.1]))
    assert image.get_cmap().name == GRAY


def test_other_ranges_are_mapped_to_0_to_1_for_all_levels_together():
    fine, coarse = np.array([[0.0, 50.0]]), np.array([[100.0]])
    (_, first), (_, second) = drawn(show_pyramid([fine, coarse]))
    np.testing.assert_array_equal(first.get_array(), [[0.0, 0.5]])
    np.testing.assert_array_equal(second.get_array(), [[1.0]])


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 3), (1, 6, 8, 3), (6, 8, 5)])
def test_ranks_and_channels(shape):
    level = np.random.default_rng(1).random(shape)
    ((_, image),) = drawn(show_pyramid([level]))
    expected = level.reshape(6, 8, -1)
    expected = expected if expected.shape[2] == 3 else expected.mean(axis=2)
    np.testing.assert_allclose(image.get_array(), expected)


def test_titles():
    levels = [PHOTOS, PHOTOS[:, ::2, ::2]]
    assert not any(axes.get_title(loc="left") for axes in show_pyramid(levels, titles=False).axes)
    figure = show_pyramid(levels, titles=["fine", "coarse"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["fine", "coarse"]


def test_at_most_16_levels_are_drawn_and_the_title_says_how_many_there_are():
    figure = show_pyramid([np.ones([4, 4])] * 17)
    assert len(figure.axes) == 16 and title(figure) == "Pyramid, the first 16 of 17 levels"


@pytest.mark.parametrize("shape, factor", [((512, 300), 2), ((24, 36), 1.2), ((1, 90), 2), ((90, 1), 2), ((1, 1), 2)])
def test_no_text_is_cut_and_none_lies_on_another(shape, factor):
    image = tf.random.stateless_uniform([3, *shape, 3], [0, 1])
    assert_texts_fit(show_pyramid(ops.gaussian_pyramid(image, 6, scale_factor=factor)))
    assert_texts_fit(show_pyramid(ops.laplacian_pyramid(image, 6, scale_factor=factor), signed=True))


@pytest.mark.parametrize(
    "levels, message",
    [
        ([], "must be a list of at least one level, finest first. Received: levels="),
        (PHOTOS, "must be a list of at least one level, finest first. Received: levels of type ndarray"),
        (["a"], "must be levels .* Received: levels of type str"),
        ([np.zeros(3)], r"must be levels .* of one rank. Received: levels of shapes \[\(3,\)\]"),
        ([PHOTOS, PHOTOS[0]], r"of one rank. Received: levels of shapes \[\(2, 24, 36, 3\), \(24, 36, 3\)\]"),
        ([PHOTOS, PHOTOS[:1]], "must have one batch size. Received: levels of shapes"),
        ([PHOTOS[:0]], r"must be levels .* Received: levels of shapes \[\(0, 24, 36, 3\)\]"),
        ([PHOTOS * np.nan], "all finite numbers. Received: levels of shape"),
    ],
)
def test_other_levels_are_refused(levels, message):
    with pytest.raises(ValueError, match=f"`levels` .*{message}"):
        show_pyramid(levels)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"index": 2}, "`index` must be at most 1, which image of the batch is drawn. Received: index=2"),
        ({"index": -1}, "`index` must be an integer of at least 0.* Received: index=-1"),
        ({"signed": [True]}, r"`signed` must be None, True, False, or a list of 2.* Received: signed=\[True\]"),
        ({"signed": "yes"}, "`signed` must be True or False. Received: signed='yes'"),
        (
            {"titles": ["one"]},
            r"`titles` must be a list of 2, one for each of the `levels`. Received: titles=\['one'\]",
        ),
        ({"titles": "one"}, "`titles` must be True or False. Received: titles='one'"),
    ],
)
def test_other_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        show_pyramid([PHOTOS, PHOTOS], **options)
