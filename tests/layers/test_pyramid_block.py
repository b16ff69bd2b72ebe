"""PyramidBlock, beyond the conformance table: the original network, with copied weights."""

import numpy as np
import pytest

from tests import references
from tfpyramid import layers


def photograph(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def randomise(layer):
    rng = np.random.default_rng(1)
    layer.set_weights([rng.standard_normal(w.shape).astype(np.float32) / 4 for w in layer.get_weights()])


def seed_block(x, layer):
    """The block of the original notebook, which maps 32 by 32 images to 16 by 16."""
    weights = [np.float64(w.numpy()) for pair in zip(layer.kernels, layer.biases) for w in pair]
    (w0, b0), (w1, b1), (w2, b2), (w3, b3) = zip(weights[::2], weights[1::2])

    def conv(x, w, b, stride):
        return np.tanh(references.correlate(np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect"), w) + b)[
            :, ::stride, ::stride
        ]

    def upsample(x):
        return x.repeat(2, axis=1).repeat(2, axis=2)

    half = conv(x, w0, b0, 2)
    inner = np.concatenate([half, upsample(conv(conv(half, w1, b1, 2), w2, b2, 1))], -1)
    middle = np.concatenate([x, upsample(inner)], -1)
    return conv(middle, w3, b3, 2)


@pytest.mark.parametrize("sides", [(32, 32), (8, 12)])
def test_the_block_equals_the_original_on_the_sides_that_it_supports(sides):
    x = photograph(2, *sides, 3)
    layer = layers.PyramidBlock(4, strides=2)
    layer(x)
    randomise(layer)
    np.testing.assert_allclose(layer(x), seed_block(x, layer), atol=1e-5)


@pytest.mark.parametrize("sides", [(4, 4), (1, 1), (1, 9), (5, 2), (33, 47)])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_block_keeps_the_size_of_any_image(sides, depth):
    assert layers.PyramidBlock(2, depth)(photograph(1, *sides, 3)).shape == (1, *sides, 2)


def test_a_block_of_depth_d_has_d_plus_two_convolutions():
    layer = layers.PyramidBlock(4, depth=3)
    layer.build((None, None, None, 2))
    assert [tuple(w.shape) for w in layer.kernels] == [(3, 3, c, 4) for c in (2, 4, 4, 4, 2 + 3 * 4)]
    assert len({w.numpy().flat[0] for w in layer.kernels}) == 5


# Bad input.


@pytest.mark.parametrize("filters", [0, 1.5, None])
def test_filters_are_checked_when_the_layer_is_made(filters):
    with pytest.raises(ValueError, match="`filters` must be an integer of at least 1, .* Received: filters="):
        layers.PyramidBlock(filters)


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"depth": 0}, "`depth` must be an integer of at least 1, the number of downsampling steps"),
        ({"kernel_size": 0}, "`kernel_size` must be an integer of at least 1"),
        ({"strides": 0}, "`strides` must be an integer of at least 1"),
        ({"border": "mirror"}, "`border` must be one of 'reflect'"),
        ({"interpolation": "cubic"}, "`interpolation` must be one of 'bilinear', 'nearest'"),
        ({"use_bias": 1}, "`use_bias` must be True or False"),
    ],
)
def test_arguments_of_a_block_are_checked_when_it_is_made(arguments, rule):
    with pytest.raises(ValueError, match=f"{rule}.* Received: {next(iter(arguments))}="):
        layers.PyramidBlock(4, **arguments)


def test_inputs_other_than_images_are_refused():
    with pytest.raises(ValueError, match="`images` must have 4 axes"):
        layers.PyramidBlock(4)(photograph(8, 8, 3))
