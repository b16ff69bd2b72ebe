"""pyramid_super_resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfpyramid import _checks, layers
from tfpyramid._compat import keras
from tfpyramid.models._batch_layers import AsManyAsImages, AtLeastOneSample
from tfpyramid.models._pyramid_model import PyramidModel

_SCALES = (2, 4, 8)

# Keys's cubic, stretched to twice its width: as taps of `pyr_up`, bicubic interpolation to twice the size. `pyr_down`
# with them is the antialiased bicubic resize to half the size.
_BICUBIC = (-3.0, -9.0, 29.0, 111.0, 111.0, 29.0, -9.0, -3.0)


def pyramid_super_resolution(
    scale: int = 4,
    *,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    filters: int = 32,
    num_convolutions: int | Sequence[int] = 4,
    share_weights: bool = False,
    name: str = "pyramid_super_resolution",
) -> keras.Model:
    """Return a model that magnifies images by 2, 4 or 8 and adds the detail that interpolation lacks, level by level.

    Each level doubles the sides. Convolutions compute features of the level before it, a transposed convolution
    doubles their sides, and a last convolution predicts a residual. `LaplacianReconstruction` adds it to the image of
    the level before it, magnified by bicubic interpolation. All levels are outputs, so each can have a loss.

    Equation:
        `y[0] = images`, `f[0] = first(images)`, `f[k] = up_k(block_k(f[k - 1]))` and
        `y[k] = pyr_up(y[k - 1]) + residual_k(f[k])`; the outputs are y[1] = "x2", y[2] = "x4", ...

    Convention:
        Pixels are squares, as in `tf.image.resize`: pixel i of the images covers the pixels i * scale to
        (i + 1) * scale - 1 of the output, and an output has exactly `scale` times the size. Make training images by
        `tf.image.resize(photos, (height // scale, width // scale), "bicubic", antialias=True)`, of photographs with
        sides that are multiples of `scale`: crop others, because a resize from 97 to 25 pixels has another ratio.
        Any other blur is possible, too, if it has the same centres; the model learns to invert the one it is shown.
        `losses.MultiScaleLoss` brings the photograph to the size of each output. Pass it the same bicubic, as in the
        example; its default kernel has other centres.
        The model starts as bicubic interpolation, because the residuals start at 0. Images may have any size from 1 by
        1. Outputs are float32, under mixed precision too, and may lie slightly outside of the range of the images.
        `keras.Model(model.input, model.output["x4"])` has a single output and shares the weights: export that one.

    Args:
        scale: 2, 4 or 8.
        input_shape: (height, width, channels) of the images; height and width may be None, for any size.
        filters: channels of the features, from 1 to 65536.
        num_convolutions: number of convolutions of a level, from 1 to 64; or a list with one for each level, coarsest
            first. Each level has four times the pixels of the level before it, so its convolutions cost four times as
            much.
        share_weights: use one block, one transposed convolution and one residual convolution at all levels.
        name: name of the model.

    Returns:
        A `keras.Model` from images [batch, height, width, channels] to a dict of images, {"x2": [batch, 2 height,
        2 width, channels], "x4": ..., ...} up to `scale`.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> model = models.pyramid_super_resolution(4, filters=8)
        >>> bicubic = [-3, -9, 29, 111, 111, 29, -9, -3]
        >>> model.compile("adam", losses.MultiScaleLoss(losses.Charbonnier(), kernel=bicubic, border="edge"))
        >>> photos = tf.random.uniform([2, 24, 32, 3])
        >>> small = tf.image.resize(photos, (6, 8), "bicubic", antialias=True)
        >>> history = model.fit(small, dict.fromkeys(model.output, photos), verbose=0)
        >>> {key: tuple(image.shape) for key, image in sorted(model(small).items())}
        {'x2': (2, 12, 16, 3), 'x4': (2, 24, 32, 3)}

    References:
        Lai, Huang, Ahuja and Yang, Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution, 2017,
        section 3; shared weights: Fast and Accurate Image Super-Resolution with Deep Laplacian Pyramid Networks, 2018,
        section 3.2.
    """
    name = _checks.text("name", name)
    scale = _checks.integer("scale", scale, 2, "2, 4 or 8", maximum=_SCALES[-1])
    if scale not in _SCALES:
        raise ValueError(f"`scale` must be 2, 4 or 8. {_checks.received('scale', scale)}")
    steps = _SCALES[: _SCALES.index(scale) + 1]
    height, width, channels = _checks.input_shape(input_shape)
    filters = _checks.channels("filters", filters, "the channels of the features")
    share_weights = _checks.flag("share_weights", share_weights)
    counts = _counts(num_convolutions, len(steps), share_weights)
    images = keras.Input((height, width, channels), name="image")
    image = AtLeastOneSample(name="at_least_one")(images)
    x = _convolved(image, _convolution(filters, "first"))
    outputs, level = [], None
    for step, count in zip(steps, counts):
        if level is None or not share_weights:
            level = _level_layers(filters, count, channels, "" if share_weights else f"x{step}_")
        *block, up, residual = level
        for layer in [*block, up]:
            x = _convolved(x, layer)
        image = layers.LaplacianReconstruction(kernel=_BICUBIC, border="edge", dtype="float32", name=f"x{step}_sum")(
            [residual(x), image]
        )
        outputs.append(image)
    outputs = AsManyAsImages(name="as_many_as_images")([*outputs, images])
    return PyramidModel(images, {f"x{step}": y for step, y in zip(steps, outputs)}, name=name)


def _counts(value: Any, num_levels: int, share_weights: bool) -> list[int]:
    """Return the number of convolutions of each level."""
    meaning = "the number at each level"
    given = _checks.plain(value)
    if not isinstance(given, (list, tuple)):
        return [_checks.integer("num_convolutions", given, 1, meaning, maximum=_checks.MOST_LEVELS)] * num_levels
    if len(given) != num_levels or share_weights:
        rule = "one integer, because the levels share their weights" if share_weights else f"{num_levels} integers"
        raise ValueError(
            f"`num_convolutions` must be one integer, or one for each level: {rule}. "
            f"{_checks.received('num_convolutions', value)}"
        )
    return [_checks.integer("num_convolutions", each, 1, meaning, maximum=_checks.MOST_LEVELS) for each in given]


def _level_layers(filters: int, count: int, channels: int, prefix: str) -> list[keras.layers.Layer]:
    """Return the convolutions of a level, its transposed convolution, and the one that predicts the residual."""
    # A step of Adam changes a residual in proportion to its features. Larger ones make the first steps too long.
    start = keras.initializers.VarianceScaling(0.3)
    up = keras.layers.Conv2DTranspose(
        filters, 4, strides=2, padding="same", kernel_initializer=start, name=f"{prefix}up"
    )
    residual = keras.layers.Conv2D(channels, 3, padding="same", kernel_initializer="zeros", name=f"{prefix}residual")
    return [*(_convolution(filters, f"{prefix}conv_{k}") for k in range(count)), up, residual]


def _convolution(filters: int, name: str) -> keras.layers.Layer:
    return keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal", name=name)


def _convolved(x: Any, layer: keras.layers.Layer) -> Any:
    return keras.layers.LeakyReLU(0.2)(layer(x))
