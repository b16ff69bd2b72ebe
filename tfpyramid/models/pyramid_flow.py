"""pyramid_flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tfpyramid import _checks, layers
from tfpyramid._compat import keras
from tfpyramid.layers._base import output_shape
from tfpyramid.models._batch_layers import AsManyAsImages, AtLeastOneSample
from tfpyramid.models._flow_layers import BothImages, EachImage, FinerFlow, LocalContrast, NoFlow, SoftMatch, StoppedGradient, UnitFeatures
from tfpyramid.models._pyramid_model import PyramidModel

SAMPLING = ("warp", "lookup")


def pyramid_flow(
    num_levels: int = 5,
    *,
    finest_level: int = 1,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    filters: int = 16,
    num_convolutions: int = 2,
    decoder_filters: Sequence[int] = (48, 32, 24),
    max_displacement: int = 4,
    sampling: str = "warp",
    stop_gradient: bool = False,
    normalize_gradients: bool = False,
    refinements: int = 0,
    downsample: keras.layers.Layer | None = None,
    name: str = "pyramid_flow",
    match: float = 10.0,
    center: int = 5,
    useflow: bool = True,
    kernel: int = 1,
) -> keras.Model:
    """Return a model that estimates the optical flow between two images, from coarse to fine.

    The flow tells for each pixel of the first image where it is in the second one. A coarse level finds large motions
    with a small search window, and each finer level corrects them.

    `LearnablePyramid` makes the levels of both images, and convolutions compute their features. At each level, from the
    coarsest, `Warp2D` moves the features of the second image by the flow so far, `CostVolume` compares them with those
    of the first, and a decoder predicts what to add to the flow. All levels share the convolutions and the decoder.

    Equation:
        `u[k] = 2 resize(v[k + 1])`, 0 at the coarsest level, and
        `v[k] = u[k] + decoder(cost(f1[k], warp(f2[k], u[k])), f1[k], u[k])`; f1[k] and f2[k] are the features of level
        k, divided by their root mean square at each pixel. The outputs are `2^k v[k]`.

    Convention:
        A flow is (dx, dy) and is added to the position: `ops.warp(second, flow)` aligns the second image with the
        first, where no pixel is hidden. All outputs are in pixels *of the images*, at every level, so that a loss can
        compare each of them with the true flow reduced to its size: `losses.MultiScaleLoss` does, from one true flow at
        full size.
        Images may have any size from 1 by 1, and the two of a pair must have one size. Convert them to about 0 to 1 as
        in training. Outputs are float32, under mixed precision too.
        The weights depend on none of `num_levels`, `finest_level`, `sampling`, `stop_gradient`, `normalize_gradients`
        and `refinements`. So train with few levels on small images, and pass the weights to a model with more levels,
        for larger motions: `larger.set_weights(model.get_weights())`.
        An untrained model returns a flow of 0.
        `keras.Model(model.input, {"flow": model.output["flow"]})` has one output and shares the weights: export that.

    Args:
        num_levels: number of levels of the pyramid, from 1 to 64. Level 0 has the size of the images. The largest
            motion that the model can find is about `max_displacement` 2^num_levels pixels.
        finest_level: index of the finest level with a decoder, below `num_levels`. Its flow is magnified to the size of
            the images. Each finer level costs four times as much as the one before it.
        input_shape: (height, width, channels) of the images; height and width may be None, for any size.
        filters: channels of the features, from 1 to 65536.
        num_convolutions: number of convolutions of the features, from 1 to 64.
        decoder_filters: channels of the convolutions of the decoder before the last, which has 2.
        max_displacement: largest displacement that is compared, in pixels of a level, from 0 to 32.
        sampling: "warp" compares with the moved features, which are interpolated and have no features twice as far
            apart as in the second image. "lookup" compares with the features around the position that the flow points
            to: `CostVolume(sampling="lookup")`.
        stop_gradient: the flow that a level gets from the one before it has no gradient, so that the loss of a level
            trains that level only.
        normalize_gradients: scale the gradient of what the decoder adds to a fixed length at each level, by
            `GradientNormalization`. The scale of the loss then has no effect.
        refinements: number of further corrections at the finest level, from 0 to 64.
        downsample: the layer that halves the sides and makes the next level from a level, as in `LearnablePyramid`. All
            levels share it, so it must keep the number of channels.
        name: name of the model.

    Returns:
        A `keras.Model` from {"first": images, "second": images}, each [batch, height, width, channels], to a dict of
        flows, each [batch, ..., ..., 2] and float32: "flow", of the size of the images, and those of the levels from
        fine to coarse, such as "level_1", "level_2", ...; the corrections of the finest level are "level_1_step_1",
        ..., and the last of them is "flow" magnified. With `finest_level=0` the last flow of level 0 is "flow" itself.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> model = models.pyramid_flow(3, filters=8, decoder_filters=(16,))
        >>> model.compile("adam", losses.MultiScaleLoss("mse", decay=1.0))
        >>> pair = {"first": tf.random.uniform([2, 24, 33, 3]), "second": tf.random.uniform([2, 24, 33, 3])}
        >>> history = model.fit(pair, dict.fromkeys(model.output, tf.ones([2, 24, 33, 2])), verbose=0)
        >>> {key: tuple(flow.shape) for key, flow in sorted(model(pair).items())}
        {'flow': (2, 24, 33, 2), 'level_1': (2, 12, 17, 2), 'level_2': (2, 6, 9, 2)}

    References:
        Sun, Yang, Liu and Kautz, PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume, 2018, section
        3; Hofinger, Bulo, Porzi, Knapitsch, Pock and Kontschieder, Improving Optical Flow on a Pyramid Level, 2020,
        section 3 (lookup, stopped gradients); Jonschkowski et al., What Matters in Unsupervised Optical Flow, 2020
        (normalised features); Hur and Roth, Iterative Residual Refinement for Joint Optical Flow and Occlusion
        Estimation, 2019, section 3 (one decoder for all levels).
    """
    name = _checks.text("name", name)
    num_levels = _checks.num_levels(num_levels)
    finest_level = _checks.integer(
        "finest_level", finest_level, 0, "below `num_levels`", maximum=min(num_levels, _MOST_FINEST) - 1
    )
    shape = _checks.input_shape(input_shape)
    filters = _checks.channels("filters", filters, "the channels of the features")
    num_convolutions = _checks.integer("num_convolutions", num_convolutions, 1, maximum=_checks.MOST_LEVELS)
    decoder_filters = _decoder_filters(decoder_filters)
    sampling = _checks.one_of("sampling", sampling, SAMPLING)
    stop_gradient = _checks.flag("stop_gradient", stop_gradient)
    normalize_gradients = _checks.flag("normalize_gradients", normalize_gradients)
    refinements = _checks.integer("refinements", refinements, 0, maximum=_checks.MOST_LEVELS)
    pyramid = _pyramid(num_levels, downsample, shape[2])
    phase = _checks.phase(pyramid.phase)
    first, second = keras.Input(shape, name="first"), keras.Input(shape, name="second")
    x = [AtLeastOneSample(name=f"at_least_one_{key}")(y) for key, y in (("first", first), ("second", second))]
    features = _features(BothImages(name="both_images")(x), pyramid, finest_level, filters, num_convolutions, center)
    cost_volume = layers.CostVolume(max_displacement, kernel_size=kernel, name="cost_volume")
    soft = SoftMatch(max_displacement, match, name="match") if match else None
    warp, decode = layers.Warp2D(name="warp"), _decoder(decoder_filters)
    flows: dict[str, Any] = {}
    flow = None
    for k, (one, two) in reversed(list(enumerate(features, finest_level))):
        flow = (
            NoFlow(name="no_flow")(one) if flow is None else FinerFlow(2, phase, name=f"level_{k}_start")([flow, one])
        )
        for step in range(1 + (refinements if k == finest_level else 0)):
            label = f"level_{k}" + (f"_step_{step}" if step else "")
            if stop_gradient and flows:
                flow = StoppedGradient(name=f"{label}_stop")(flow)
            costs = cost_volume([one, warp([two, flow])])
            inputs = [costs, one]
            if soft is not None:
                found = soft(costs)
                inputs.append(found)
            if useflow:
                inputs.append(flow)
            change = decode(inputs)
            if soft is not None:
                change = keras.layers.Add(name=f"{label}_change", dtype="float32")([change, found])
            if normalize_gradients:
                change = layers.GradientNormalization(name=f"{label}_gradient", dtype="float32")(change)
            flow = keras.layers.Add(name=f"{label}_sum", dtype="float32")([flow, change])
            flows[label] = keras.layers.Rescaling(2.0**k, name=f"{label}_flow", dtype="float32")(flow)
    shift = phase * (2**finest_level - 1)
    if finest_level:
        flows["flow"] = FinerFlow(2**finest_level, shift, name="full_size")([flow, x[0]])
    else:
        flows["flow"] = flows.pop(label)
    keys = list(reversed(flows))
    outputs = AsManyAsImages(name="as_many_as_images")([*(flows[key] for key in keys), first])
    return PyramidModel({"first": first, "second": second}, dict(zip(keys, outputs)), name=name)


_MOST_FINEST = 11  # A flow is magnified by at most 1024.


def _pyramid(num_levels: int, downsample: Any, channels: int) -> layers.LearnablePyramid:
    """Return the pyramid; each level must have half the sides of the level before it."""
    pyramid = layers.LearnablePyramid(num_levels, downsample, share_weights=True, name="pyramid")
    for layer in pyramid.downsamplers:
        found = output_shape(layer, (None, 64, 64, channels))
        if tuple(found) != (None, 32, 32, channels):
            raise ValueError(
                "`downsample` must halve the sides of the images and keep the number of channels. "
                f"Received: a layer from [batch, 64, 64, {channels}] to {list(found)}"
            )
    return pyramid


def _features(
    images: Any, pyramid: layers.LearnablePyramid, finest_level: int, filters: int, num_convolutions: int, center: int
) -> list[list[Any]]:
    """Return the features of both images at each level from the finest."""
    levels = pyramid(images)[finest_level:]
    for k in range(num_convolutions):
        levels = layers.PyramidConv2D(
            filters, share_weights=True, kernel_initializer="he_normal", name=f"features_{k}"
        )(levels)
        if k < num_convolutions - 1:  # Features of both signs make a better correlation.
            levels = layers.PerLevel(keras.layers.LeakyReLU(0.1), name=f"features_relu_{k}")(levels)
    unit, each = UnitFeatures(name="unit_features"), EachImage(name="each_image")
    if center:
        local = LocalContrast(center, name="local")
        levels = [local(level) for level in levels]
    return [each(unit(level)) for level in levels]


def _decoder(filters: Sequence[int]) -> Callable[[list[Any]], Any]:
    """Return a function from [costs, features, flow] to what to add to the flow."""
    shape: dict[str, Any] = {"kernel_size": 3, "padding": "same"}
    parts = [
        keras.layers.Conv2D(n, **shape, kernel_initializer="he_normal", name=f"decoder_{k}")
        for k, n in enumerate(filters)
    ]
    last = keras.layers.Conv2D(2, **shape, kernel_initializer="zeros", dtype="float32", name="decoder_flow")
    activate, join = keras.layers.LeakyReLU(0.1, name="decoder_relu"), keras.layers.Concatenate(name="decoder_input")

    def decode(inputs: list[Any]) -> Any:
        x = join(inputs)
        for part in parts:
            x = activate(part(x))
        return last(x)

    return decode


def _decoder_filters(value: Any) -> tuple[int, ...]:
    given = _checks.plain(value)
    if not isinstance(given, (list, tuple)) or not given:
        rule = "`decoder_filters` must be a list of integers, one for each convolution."
        raise ValueError(f"{rule} {_checks.received('decoder_filters', value)}")
    meaning = "the channels of a convolution"
    return tuple(_checks.channels(f"decoder_filters[{k}]", each, meaning) for k, each in enumerate(given))
