"""pyramid_classifier."""

from __future__ import annotations

from collections.abc import Sequence

from tfpyramid import _checks
from tfpyramid._compat import keras, shape_tuple
from tfpyramid.layers import GaussianPyramid, LogitFusion
from tfpyramid.layers._base import check_layer
from tfpyramid.models._batch_layers import AsManyAsImages, AtLeastOneSample
from tfpyramid.models._early_exit import early_exit_classifier
from tfpyramid.models._pyramid_model import PyramidModel
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
    early_exit: bool = False,
    discount: float = 0.25,
    name: str = "pyramid_classifier",
) -> keras.Model:
    """Return a classifier that applies one network to every level of a pyramid and fuses the logits.

    The network is trained on objects of the sizes in your data. The classifier then also recognizes smaller and larger
    objects, without further training.

    Equation:
        `y = fuse_k(network(level[k]))`, `level = gaussian_pyramid(images)`.
        With `early_exit`: `y[k] = fuse(y[k + 1] - discount, network(level[k]))`, without the first for the coarsest
        level. The model returns y[k] for the coarsest k with `P(y[k] is right) >= threshold[k]`, or y[0].

    Convention:
        The model and its network share their weights. Level `upsampled_levels` is the original image, so the network
        alone is the classifier of that level. Train the network, then call the whole model. It recognizes objects up to
        scale_factor^upsampled_levels times smaller and scale_factor^(num_levels - 1 - upsampled_levels) times larger:
        by default one octave each way, in half octaves. Upsampled levels are blurred, so blur some of the training
        images too. The whole model can also be trained; the fusion "attention" requires it, because its query is
        learned. The model costs as much as the network on all levels, by default nearly 8 times the network.
        With `early_exit` a sample visits the levels from coarse to fine in a `LevelCascade`. It stops when a confidence
        layer is sure that the logits, fused from all levels so far, are right. Each level but the finest has such a
        layer, which reads these logits. Before it is trained, no sample stops early. Train the network, freeze it, and
        fit the whole model: this trains the confidence layers by the binary cross-entropy between P and whether the
        logits of each level were right, which adds to the compiled loss, averaged over the levels. Use images with
        objects of all sizes that the model is for; the images of the network, resized, will do. If the network is not
        frozen, `fit` trains it too, on all levels. Then `models.calibrate_confidence` fits P to other images, and
        `models.cost_curve` returns thresholds, with the accuracy and the pixels of each.

    Args:
        num_classes: number of logits. None means as many as `network` returns.
        network: a model or layer from images of any size to logits [batch, num_classes]. Global *max* pooling suits it:
            the fraction of the image that an object covers differs between levels, and so does a mean over positions.
            If it returns feature maps, such as a model of `keras.applications` with `include_top=False`, then global
            max pooling and a `Dense` layer of `num_classes` logits are added; `get_layer("network")` is the whole.
            None builds the network that `filters` describes.
        filters: channels of the convolutions in the network that is built if `network` is None: 3 by 3 convolutions,
            each with batch normalization and ReLU, max pooling by 2 between them, global max pooling and
            `keras.layers.Dense`. It is the model's layer "network".
        input_shape: (height, width, channels) of an image; height and width may be None. The default is the input shape
            of `network` if it has one, else (None, None, 3).
        num_levels: number of levels of the pyramid, from 1 to 64.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        upsampled_levels: number of levels that are finer than the images, less than `num_levels`.
        fusion: "logsumexp", "max", "mean" or "attention", as in `tfpyramid.layers.LogitFusion`. "logsumexp" or "max"
            with `early_exit`: these need only the fused logits of the coarser levels.
        early_exit: stop at the first level, coarse to fine, whose answer is likely right. Requires 2 levels or more.
        discount: number that the fused logits of the coarser levels lose when a sample goes on to the next level,
            because these levels were not sure; from 0 to 1e30. Only used with `early_exit`. At 0, a sample that visits
            all levels gets the logits of the model without `early_exit`.
        name: name of the model.

    Returns:
        A functional `keras.Model` from "image" [batch, height, width, channels] to "logits" [batch, num_classes]. The
        logits are float32, under mixed precision too.
        With `early_exit` to {"logits": [batch, num_classes], "level_weights": [batch, num_levels], one-hot at the level
        where each sample stopped}. Compile it with a single loss, which is that of "logits", and fit it to the labels.
        Its metric cascade_cost is the mean number of pixels of all levels visited, divided by those of the image. It
        has the attributes `cascade`, with the weight `cascade.threshold`, and `network`.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> model = models.pyramid_classifier(10, input_shape=(64, 64, 1))
        >>> network = model.get_layer("network")
        >>> network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> history = network.fit(tf.ones([4, 64, 64, 1]), tf.range(4), verbose=0)
        >>> tuple(model(tf.ones([1, 64, 64, 1])).shape)
        (1, 10)
        >>> images, labels = tf.ones([4, 64, 64, 1]), tf.range(4)
        >>> model = models.pyramid_classifier(network=network, early_exit=True)
        >>> network.trainable = False
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> history = model.fit(images, labels, verbose=0)  # Trains the confidence layers.
        >>> scale_and_bias = models.calibrate_confidence(model, (images, labels))  # Use images held out from training.
        >>> curve = models.cost_curve(model, (images, labels))
        >>> _ = model.cascade.threshold.assign(curve.thresholds[curve.within(pixels=2.5)])
        >>> tuple(model(images)["logits"].shape)
        (4, 10)

    References:
        Jansson and Lindeberg, Scale-invariant scale-channel networks: Deep networks that generalise to previously
        unseen scales, 2021. Early exit: see `tfpyramid.layers.LevelCascade`.
    """
    name = _checks.text("name", name)
    fusion = _checks.one_of("fusion", fusion, METHODS)
    if num_classes is not None:
        meaning = "the number of logits"
        num_classes = _checks.integer("num_classes", num_classes, 1, meaning, maximum=_checks.MOST_CLASSES)
    if network is not None:
        check_layer("network", network)
        _check_any_size(network)
    if input_shape is None:  # Plain layers and unbuilt models have no `input_shape`.
        input_shape = shape_tuple(getattr(network, "input_shape", (None, None, None, 3)))[1:]
    shape = _checks.input_shape(input_shape)
    # Build the pyramid before the network, so that a wrong argument is reported under its own name.
    num_levels = _checks.num_levels(num_levels)
    pyramid = GaussianPyramid(
        num_levels=num_levels,
        scale_factor=scale_factor,
        upsampled_levels=upsampled_levels,
        name="pyramid",
    )
    discount = _checks.at_least("discount", discount, 0, "what the logits of coarser levels lose at each level")
    if _checks.flag("early_exit", early_exit):
        _check_early_exit(num_levels, fusion)
    if network is None:
        network = _network(num_classes, filters, shape[2])
    if not network.built:  # A Sequential would otherwise fix its input size to that of the first level.
        network.build((None, None, None, shape[2]))
    network, num_classes = _to_logits(network, num_classes, shape[2])
    if early_exit:
        return early_exit_classifier(network, num_classes, pyramid, fusion, discount, shape, name)
    image = keras.Input(shape, name="image")
    levels = pyramid(AtLeastOneSample(name="at_least_one")(image))
    logits = AsManyAsImages(name="as_many_as_images")([*(network(level) for level in levels), image])
    fuse = LogitFusion(fusion, dtype=keras.mixed_precision.global_policy().variable_dtype, name="logits")
    return PyramidModel(image, fuse(logits), name=name)


def _network(num_classes: int | None, filters: Sequence[int], channels: int) -> keras.Model:
    if num_classes is None:
        raise ValueError("`num_classes` is required if `network` is None. Received: num_classes=None, network=None")
    counts = _checks.plain(filters)
    if not isinstance(counts, (list, tuple)) or not counts:
        rule = "`filters` must be a list of numbers of channels, with at least one number."
        raise ValueError(f"{rule} {_checks.received('filters', filters)}")
    x = image = keras.Input((None, None, channels), name="image")
    for k, count in enumerate(counts):
        if k:
            x = keras.layers.MaxPooling2D(2, padding="same")(x)
        count = _checks.channels(f"filters[{k}]", count, "the output channels of a convolution")
        x = keras.layers.Conv2D(count, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
        # Keras's momentum of 0.99 adapts too slowly for a few hundred steps.
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
    logits = keras.layers.Dense(num_classes)(keras.layers.GlobalMaxPooling2D()(x))
    return keras.Model(image, logits, name="network")


def _to_logits(network: keras.layers.Layer, num_classes: int | None, channels: int) -> tuple[keras.layers.Layer, int]:
    """Return a network from images to logits, with a head if it returns feature maps, and the number of logits."""
    image = keras.Input((None, None, channels), name="image")
    output = network(image)
    if num_classes is not None and len(output.shape) == 4:
        output = keras.layers.Dense(num_classes)(keras.layers.GlobalMaxPooling2D()(output))
        network = keras.Model(image, output, name="network")
    shape = shape_tuple(output.shape)
    if len(shape) != 2 or shape[1] is None or num_classes not in (None, shape[1]):
        value = "" if num_classes is None else f", with `num_classes` = {num_classes}"
        raise ValueError(
            f"`network` must return logits of shape [batch, `num_classes`]{value}. "
            f"Received: network {network.name!r} with output shape {shape}"
        )
    return network, shape[1]


def _check_early_exit(num_levels: int, fusion: str) -> None:
    if num_levels < 2:
        raise ValueError(
            "`num_levels` must be at least 2 with `early_exit`: a sample stops at a level or goes on to a finer one. "
            f"Received: num_levels={num_levels}"
        )
    if fusion not in ("logsumexp", "max"):
        raise ValueError(
            "`fusion` must be 'logsumexp' or 'max' with `early_exit`, because each level is fused with the fused "
            f"logits of the coarser ones. Received: fusion={fusion!r}"
        )


def _check_any_size(network: keras.layers.Layer) -> None:
    shape = getattr(network, "input_shape", None)
    if isinstance(shape, tuple) and len(shape) == 4 and (shape[1], shape[2]) != (None, None):
        raise ValueError(
            "`network` must accept images of any size, because levels differ in size. Build it with "
            f"keras.Input((None, None, {shape[3]})), or a model of keras.applications with include_top=False and "
            f"input_shape=(None, None, {shape[3]}). Received: network with input_shape={shape}"
        )
