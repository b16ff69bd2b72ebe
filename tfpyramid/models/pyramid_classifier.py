"""pyramid_classifier."""

from __future__ import annotations

from collections.abc import Sequence

from tfpyramid import _checks
from tfpyramid._compat import keras, shape_tuple
from tfpyramid.layers import GaussianPyramid, LogitFusion
from tfpyramid.layers._base import check_layer
from tfpyramid.models._batches import AsManyAsImages, AtLeastOneSample
from tfpyramid.ops.logits import METHODS


def pyramid_classifier(
    num_classes: int | None = None,
    *,
    network: keras.layers.Layer | None = None,
    filters: Sequence[int] = (16, 32, 64),
    input_shape: Sequence[int | None] | None = None,
    num_levels: int = 5,
    scale_factor: float = 2**0.5,
    upsampled_levels: int = 2,
    fusion: str = "logsumexp",
    name: str = "pyramid_classifier",
) -> keras.Model:
    """Return a classifier that applies one network to every level of a pyramid and fuses what it says.

    Equation:
        `y = fuse_k(network(level[k]))`, `level = gaussian_pyramid(images)`.

    Convention:
        The model and its network share their weights, and the network alone is a model too: the one of level
        `upsampled_levels`, the images as they are. Train that one, on objects of the sizes that you have, then ask the
        whole, which needs no training of its own and knows objects up to scale_factor^upsampled_levels times smaller
        and scale_factor^(num_levels - 1 - upsampled_levels) times larger: by default an octave each way in half
        octaves. What is upsampled is soft, so soften some of the images to train on. (The whole can be trained as well,
        and has to be for "attention", whose query is learned.) It costs as much as the network on all levels: by
        default nearly 8 times as much.

    Args:
        num_classes: length of the vector of logits; None for that of `network`.
        network: a model or layer from images of any size to logits [batch, num_classes]. It should look at an object
            where it finds it, as global *max* pooling does: the share of the image that an object covers, and with it a
            mean over all positions, differs from level to level. None for the one that `filters` describes.
        filters: of the network that is made where none is given: convolutions of 3 by 3, each with batch norm and ReLU,
            max pooling by 2 between them, global max pooling and `keras.layers.Dense`. It is the model's layer
            "network".
        input_shape: (height, width, channels) of an image, sides known or None; by default (None, None, 3), or that of
            `network` where it has one.
        num_levels: levels of the pyramid, from 1 to 64.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        upsampled_levels: how many of the levels are finer than the images, less than `num_levels`.
        fusion: "logsumexp", "max", "mean" or "attention", as in `tfpyramid.layers.LogitFusion`.
        name: of the model.

    Returns:
        A functional `keras.Model` from "image", [batch, height, width, channels], to "logits", [batch, num_classes],
        which are float32 under mixed precision too.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> model = models.pyramid_classifier(10, input_shape=(64, 64, 1))
        >>> network = model.get_layer("network")
        >>> network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> history = network.fit(tf.ones([4, 64, 64, 1]), tf.range(4), verbose=0)
        >>> tuple(model(tf.ones([1, 64, 64, 1])).shape)
        (1, 10)

    References:
        Jansson and Lindeberg, Scale-invariant scale-channel networks: Deep networks that generalise to previously
        unseen scales, 2021.
    """
    name = _checks.text("name", name)
    fusion = _checks.one_of("fusion", fusion, METHODS)
    if num_classes is not None:
        meaning = "the length of the vector of logits"
        num_classes = _checks.integer("num_classes", num_classes, 1, meaning, maximum=_checks.MOST_CLASSES)
    if network is not None:
        check_layer("network", network)
        _check_any_size(network)
    if input_shape is None:  # Layers and unbuilt models do not know theirs.
        input_shape = shape_tuple(getattr(network, "input_shape", (None, None, None, 3)))[1:]
    shape = _checks.input_shape(input_shape)
    # Made before the network, so that what is wrong with an argument is said of the argument.
    pyramid = GaussianPyramid(
        num_levels=_checks.num_levels(num_levels),
        scale_factor=scale_factor,
        upsampled_levels=upsampled_levels,
        name="pyramid",
    )
    fuse = LogitFusion(fusion, dtype=keras.mixed_precision.global_policy().variable_dtype, name="logits")
    if network is None:
        network = _network(num_classes, filters, shape[2])
    image = keras.Input(shape, name="image")
    if not network.built:  # A Sequential would take the size of the first level for that of all.
        network.build((None, None, None, shape[2]))
    logits = [network(level) for level in pyramid(AtLeastOneSample(name="at_least_one")(image))]
    _check_logits(network, shape_tuple(logits[0].shape), num_classes)
    logits = AsManyAsImages(name="as_many_as_images")([*logits, image])
    return keras.Model(image, fuse(logits), name=name)


def _network(num_classes: int | None, filters: Sequence[int], channels: int) -> keras.Model:
    if num_classes is None:
        raise ValueError("`num_classes` must be given unless a `network` is. Received: num_classes=None, network=None")
    counts = _checks.plain(filters)
    if not isinstance(counts, (list, tuple)) or not counts:
        rule = "`filters` must be a list of at least one number of channels."
        raise ValueError(f"{rule} {_checks.received('filters', filters)}")
    x = image = keras.Input((None, None, channels), name="image")
    for k, count in enumerate(counts):
        if k:
            x = keras.layers.MaxPooling2D(2, padding="same")(x)
        count = _checks.channels(f"filters[{k}]", count, "the channels of a convolution")
        x = keras.layers.Conv2D(count, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
        # Averages that are quick enough for a few hundred steps.
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
    logits = keras.layers.Dense(num_classes)(keras.layers.GlobalMaxPooling2D()(x))
    return keras.Model(image, logits, name="network")


def _check_any_size(network: keras.layers.Layer) -> None:
    shape = getattr(network, "input_shape", None)
    if isinstance(shape, tuple) and len(shape) == 4 and (shape[1], shape[2]) != (None, None):
        raise ValueError(
            "`network` must take images of any size, since levels differ in theirs: make it of "
            f"keras.Input((None, None, {shape[3]})). Received: network with input_shape={shape}"
        )


def _check_logits(network: keras.layers.Layer, shape: tuple[int | None, ...], num_classes: int | None) -> None:
    if len(shape) != 2 or shape[1] is None or num_classes not in (None, shape[1]):
        classes = "`num_classes`" if num_classes is None else f"`num_classes` = {num_classes}"
        raise ValueError(
            f"`network` must turn images into logits [batch, {classes}]. "
            f"Received: network {network.name!r}, whose output is of shape {shape}"
        )
