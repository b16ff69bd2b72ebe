"""`show_kernels` draws kernels, their frequency responses, and titles."""

import numpy as np
import pytest
import tensorflow as tf

from tests.visualize.drawing import assert_texts_fit, title
from tfpyramid import layers, ops
from tfpyramid._compat import keras
from tfpyramid.visualize import show_kernels

BINOMIAL = np.outer(ops.binomial(5), ops.binomial(5))
SHARP = np.array([[0.0, -0.5, 0.0], [-0.5, 3.0, -0.5], [0.0, -0.5, 0.0]])


def parts(figure):
    """Return the axes of the kernels, those under them, and that of the colour bar."""
    *pairs, bar = figure.axes
    assert len(pairs) % 2 == 0
    return pairs[::2], pairs[1::2], bar


def built(layer, channels=3):
    layer.build((None, 32, 32, channels))
    return layer


def test_kernels_by_name_are_drawn_on_one_scale_that_is_symmetric_about_zero():
    figure = show_kernels({"binomial": tf.constant(BINOMIAL), "sharp": SHARP})
    tiles, _, bar = parts(figure)
    assert [tile.get_title() for tile in tiles] == ["binomial", "sharp"]
    for tile, kernel in zip(tiles, (BINOMIAL, SHARP)):
        (image,) = tile.images
        np.testing.assert_array_equal(image.get_array(), kernel)
        assert image.get_clim() == (-3.0, 3.0) and image.get_cmap().name == "RdBu_r"
    assert bar.get_ylim() == (-3.0, 3.0)
    assert title(figure) == "2 kernels"


def test_the_gain_under_a_kernel_is_its_transform_along_the_row_and_the_diagonal():
    _, (under, _), _ = parts(show_kernels({"binomial": BINOMIAL, "sharp": SHARP}))
    horizontal, diagonal, nyquist = under.lines
    assert [line.get_label() for line in (horizontal, diagonal)] == ["horizontal", "diagonal"]
    f = horizontal.get_xdata()
    assert f[0] == 0 and f[-1] == 0.5
    # The binomial of 5 taps is cos^4.
    np.testing.assert_allclose(horizontal.get_ydata(), np.cos(np.pi * f) ** 4, atol=1e-12)
    np.testing.assert_allclose(diagonal.get_ydata(), np.cos(np.pi * f) ** 8, atol=1e-12)
    np.testing.assert_array_equal(nyquist.get_xdata(), [0.25, 0.25])
    assert under.get_xlim() == (0, 0.5)


def test_a_kernel_that_is_no_square_has_the_gain_of_its_rows_horizontally():
    _, (under,), _ = parts(show_kernels({"row": [[0.5, 0.5]]}))
    np.testing.assert_allclose(under.lines[0].get_ydata(), np.cos(np.pi * under.lines[0].get_xdata()), atol=1e-12)


def test_all_gains_share_their_scale():
    _, under, _ = parts(show_kernels({"binomial": BINOMIAL, "sharp": SHARP, "none": np.zeros([3, 3])}))
    limits = {axes.get_ylim() for axes in under}
    assert len(limits) == 1 and limits.pop()[1] > 5  # 3 + 2 at the highest frequency, diagonally.


@pytest.mark.parametrize("strides, expected", [(3, 0.5 / 3), (1, 0.5)])
def test_strides_move_the_nyquist_frequency(strides, expected):
    figure = show_kernels({"box": np.ones([2, 2]) / 4}, strides=strides)
    _, (under,), _ = parts(figure)
    assert under.lines[2].get_xdata()[0] == pytest.approx(expected)
    (legend,) = figure.legends
    assert f"decimation by {strides}: {expected:.3g}" in legend.get_texts()[2].get_text()


def test_a_layer_is_drawn_with_its_kernels_and_its_strides():
    layer = built(layers.LearnableDownsample2D(2, strides=3))
    figure = show_kernels(layer)
    tiles, under, _ = parts(figure)
    assert title(figure) == "LearnableDownsample2D: 6 kernels"
    assert [tile.get_title() for tile in tiles] == ["0 → 0", "0 → 1", "1 → 0", "1 → 1", "2 → 0", "2 → 1"]
    kernel = np.array(layer.kernel.numpy())
    for k, tile in enumerate(tiles):
        np.testing.assert_array_equal(tile.images[0].get_array(), np.float64(kernel[:, :, k // 2, k % 2]))
    assert under[0].lines[2].get_xdata()[0] == pytest.approx(0.5 / 3)


def test_an_anti_aliased_layer_is_drawn_with_the_blur_it_uses():
    layer = built(layers.AntiAliasedDownsample2D(4, normalization="softmax"))
    figure = show_kernels(layer)
    tiles, _, _ = parts(figure)
    assert [tile.get_title() for tile in tiles] == ["channel 0", "channel 1", "channel 2"]
    np.testing.assert_allclose(tiles[0].images[0].get_array(), BINOMIAL, atol=1e-6)


def test_learned_strides_are_those_of_the_columns():
    layer = built(layers.LearnableStrideConv2D(1, 3, (2.0, 4.0)), channels=1)
    _, (under,), _ = parts(show_kernels(layer))
    assert under.lines[2].get_xdata()[0] == pytest.approx(0.125)


@pytest.mark.parametrize("count", [16, 17])
def test_at_most_16_kernels_are_drawn_and_the_title_says_how_many_there_are(count):
    figure = show_kernels({f"kernel {k}": np.full([2, 2], k) for k in range(count)})
    tiles, under, _ = parts(figure)
    assert len(tiles) == len(under) == 16
    assert title(figure) == ("16 kernels" if count == 16 else "the first 16 of 17 kernels")
    assert tiles[15].images[0].get_array()[0, 0] == 15
    assert tiles[0].images[0].get_clim() == (-15, 15)


def test_names_are_titles():
    layer = built(layers.LearnableDownsample2D(1), channels=2)
    tiles, _, _ = parts(show_kernels(layer, names=["red", "green"]))
    assert [tile.get_title() for tile in tiles] == ["red", "green"]


@pytest.mark.parametrize("count", [1, 3, 5, 9, 16])
def test_no_text_is_cut_and_none_lies_on_another(count):
    assert_texts_fit(show_kernels({f"a long name, for number {k}": BINOMIAL - 0.01 * k for k in range(count)}))


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, r"must hold at least one kernel. Received: layer_or_kernels=\{\}"),
        (
            {"k": np.zeros(3)},
            r"must be a dict of kernels \[rows, columns\], with 1 to 256 taps.* Received: .*\['k'\] of shape \(3,\)",
        ),
        (
            {"k": np.zeros([2, 2, 1])},
            r"must be a dict of kernels \[rows, columns\].* Received: .*\['k'\] of shape \(2, 2, 1\)",
        ),
        (
            {"k": np.zeros([0, 2])},
            r"must be a dict of kernels \[rows, columns\].* Received: .*\['k'\] of shape \(0, 2\)",
        ),
        ({"k": [[1.0, np.nan]]}, r".*all finite numbers. Received: .* of shape \(1, 2\), 1 of them not finite"),
        ({"k": "box"}, r"must be a dict of kernels \[rows, columns\]. Received: layer_or_kernels of type str"),
        (BINOMIAL, "must be a layer with kernels, or a dict of kernels.* Received: .* of type ndarray"),
        (layers.LearnableDownsample2D(), "must be a built layer.* of type LearnableDownsample2D, not built"),
        (
            layers.AntiAliasedDownsample2D(),
            "must be a built layer.* of type AntiAliasedDownsample2D, not built",
        ),
    ],
)
def test_what_is_no_kernel_is_an_error(given, message):
    with pytest.raises(ValueError, match=f"`layer_or_kernels` {message}"):
        show_kernels(given)


def test_a_layer_without_kernels_is_an_error():
    pool = layers.BlurPool2D()
    pool(np.zeros([1, 4, 4, 1], np.float32))
    with pytest.raises(ValueError, match="`layer_or_kernels` must be a layer that has kernels.* of type BlurPool2D"):
        show_kernels(pool)
    dense = keras.layers.Dense(3)
    dense.build((None, 4))
    with pytest.raises(
        ValueError, match=r"`kernel` of shape \[rows, columns, channels, filters\].* kernel of shape \(4, 3\)"
    ):
        show_kernels(dense)


@pytest.mark.parametrize("names", [["one"], "ab"])
def test_names_that_are_not_as_many_are_an_error(names):
    with pytest.raises(
        ValueError,
        match="`names` must be a list of 2, one for each of the kernels in `layer_or_kernels`. Received: names=",
    ):
        show_kernels({"a": BINOMIAL, "b": SHARP}, names=names)


@pytest.mark.parametrize("strides", [0, np.nan, "two"])
def test_strides_below_one_are_an_error(strides):
    with pytest.raises(ValueError, match="`strides` must be a finite number of at least 1. Received: strides="):
        show_kernels({"a": BINOMIAL}, strides=strides)
