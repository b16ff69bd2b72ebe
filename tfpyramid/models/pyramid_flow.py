"""pyramid_flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tfpyramid import _checks, layers
from tfpyramid._compat import keras
from tfpyramid.layers._base import output_shape
from tfpyramid.models._batch_layers import AsManyAsImages, AtLeastOneSample
from tfpyramid.models._flow_layers import BothImages, Contrast, EachImage, FinerFlow, NoFlow, SoftMatch, StoppedGradient
from tfpyramid.models._pyramid_model import PyramidModel
from tfpyramid.ops import correlation

_MOST_DISPLACEMENT, _MOST_PATCH = 32, 31
_MOST_FINEST = 10  # A flow is magnified by at most 1024.


def pyramid_flow(
    num_levels: int = 4,
    *,
    finest_level: int = 1,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    filters: int = 16,
    num_convolutions: int = 2,
    decoder_filters: Sequence[int] = (48, 32, 32, 24),
    max_displacement: int = 3,
    patch_size: int = 5,
    sampling: str = "warp",
    stop_gradient: bool = False,
    normalize_gradients: bool = False,
    refinements: int = 0,
    downsample: keras.layers.Layer | None = None,
    name: str = "pyramid_flow",
) -> keras.Model:
    """Return a model that estimates the optical flow between two images, from coarse to fine.

    The flow tells for each pixel of the first image where it is in the second one. A coarse level finds large motions
    with a small search window, and each finer level corrects them.

    `LearnablePyramid` makes the levels of both images, and convolutions compute their features. At each level, from the
    coarsest to the finest, `CostVolume` compares the features of the first image with those of the second at the flow
    so far. A soft match of these costs and a decoder correct the flow. All levels share the convolutions and the
    decoder.

    Equation:
        `u[k] = 2 resize(v[k + 1])`, 0 at the coarsest level, and `v[k] = u[k] + m[k] + decoder(c[k], f1[k], m[k],
        g[k], u[k])`, where `c[k] = cost(f1[k], f2[k], u[k])`. The features f1 and f2 are convolutions of level k
        without their local mean, divided by their root mean square at each pixel, so that costs are cosines.
        `[w, 1 - g] = softmax(s [c, t])` with learned s and t: a pixel has no match where no cosine is above t.
        `m = mean(sum_d w[d] d) / mean(g)`, means over 9 by 9 pixels. The outputs are `2^k v[k]`.

    Convention:
        A flow is (dx, dy) and is added to the position: `ops.warp(second, flow)` aligns the second image with the
        first, where no pixel is hidden. All outputs are in pixels *of the images*, at every level. So
        `losses.MultiScaleLoss` can compare each of them with the true flow at full size, which it reduces to the size
        of the level.
        Images may have any size from 1 by 1, and the two of a pair must have one size. Outputs are float32, under mixed
        precision too.
        The weights depend on none of `num_levels`, `finest_level`, `patch_size`, `sampling`, `stop_gradient`,
        `normalize_gradients` and `refinements`. So train with few levels on small images, and pass the weights to a
        model with more levels for larger motions: `larger.set_weights(model.get_weights())`.
        An untrained decoder adds 0, and the model then matches patches of random features.
        `keras.Model(model.input, {"flow": model.output["flow"]})` has one output and shares the weights: export that.

    Args:
        num_levels: number of levels of the pyramid, from 1 to 64. Level 0 has the size of the images. The largest
            motion that the model can find is about `max_displacement` 2^num_levels pixels.
        finest_level: index of the finest level with a decoder, below `num_levels` and at most 10. Its flow is magnified
            to the size of the images. Each finer level costs four times as much as the one before it.
        input_shape: (height, width, channels) of the images; height and width may be None, for any size.
        filters: channels of the features, from 1 to 65536.
        num_convolutions: number of convolutions of the features, from 1 to 64.
        decoder_filters: channels of the convolutions of the decoder before the last, which has 2. The first of them
            reads single pixels, the others 3 by 3.
        max_displacement: largest displacement that is compared, in pixels of a level, from 0 to 32.
        patch_size: rows and columns of the patches of features that are compared, as `kernel_size` of `CostVolume`.
        sampling: "warp" compares with features that are moved by the flow, and "lookup" with the features around the
            position that the flow of a pixel points to, as in `CostVolume`.
        stop_gradient: the flow that a level or refinement gets has no gradient, so that a loss of a level only trains
            what that level does.
        normalize_gradients: scale the gradient of what is added to the flow to a fixed length at each level, by
            `GradientNormalization`. The scale of the loss then has no effect.
        refinements: number of further corrections at the finest level, from 0 to 64.
        downsample: the layer that halves the sides and makes the next level from a level, as in `LearnablePyramid`. All
            levels share it, so it must keep the number of channels.
        name: name of the model.

    Returns:
        A `keras.Model` from {"first": images, "second": images}, each [batch, height, width, channels], to a dict of
        flows, each [batch, ..., ..., 2] and float32. "flow" has the size of the images. Those of the levels follow from
        fine to coarse: "level_1", "level_2", ...; refinements of the finest level are "level_1_step_1", ... before
        them. "flow" is the last of these at full size. With `finest_level=0`, it replaces that one.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> model = models.pyramid_flow(3, filters=8, decoder_filters=(16,))
        >>> model.compile("adam", losses.MultiScaleLoss(losses.EndPointError(), decay=1.0))
        >>> pair = {"first": tf.random.uniform([2, 24, 33, 3]), "second": tf.random.uniform([2, 24, 33, 3])}
        >>> history = model.fit(pair, dict.fromkeys(model.output, tf.ones([2, 24, 33, 2])), verbose=0)
        >>> {key: tuple(flow.shape) for key, flow in sorted(model(pair).items())}
        {'flow': (2, 24, 33, 2), 'level_1': (2, 12, 17, 2), 'level_2': (2, 6, 9, 2)}

    References:
        Sun, Yang, Liu and Kautz, PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume, 2018, section
        3; Hur and Roth, Iterative Residual Refinement for Joint Optical Flow and Occlusion Estimation, 2019, section 3
        (one decoder for all levels); Kendall et al., End-to-End Learning of Geometry and Context for Deep Stereo
        Regression, 2017, section 3.4 (the mean over a softmax); Hofinger, Rota Bulo, Porzi, Knapitsch, Pock and
        Kontschieder, Improving Optical Flow on a Pyramid Level, 2020 (sampling, and blocked gradients between levels).
    """
    name = _checks.text("name", name)
    num_levels = _checks.num_levels(num_levels)
    below = min(num_levels - 1, _MOST_FINEST)
    finest_level = _checks.integer("finest_level", finest_level, 0, "below `num_levels`", maximum=below)
    shape = _checks.input_shape(input_shape)
    filters = _checks.channels("filters", filters, "the channels of the features")
    num_convolutions = _checks.integer("num_convolutions", num_convolutions, 1, maximum=_checks.MOST_LEVELS)
    decoder_filters = _decoder_filters(decoder_filters)
    max_displacement = _checks.integer("max_displacement", max_displacement, 0, maximum=_MOST_DISPLACEMENT)
    patch_size = _checks.integer("patch_size", patch_size, 1, "an odd number", maximum=_MOST_PATCH)
    if patch_size % 2 == 0:
        raise ValueError(f"`patch_size` must be odd. {_checks.received('patch_size', patch_size)}")
    sampling = correlation.check_sampling(sampling)
    stop_gradient = _checks.flag("stop_gradient", stop_gradient)
    normalize_gradients = _checks.flag("normalize_gradients", normalize_gradients)
    refinements = _checks.integer("refinements", refinements, 0, maximum=_checks.MOST_LEVELS)
    pyramid = _pyramid(num_levels, downsample, shape[2])
    phase = _checks.phase(pyramid.phase)

    images = {key: keras.Input(shape, name=key) for key in ("first", "second")}
    filled = [AtLeastOneSample(name=f"{key}_filled")(x) for key, x in images.items()]
    features = _features(BothImages(name="both_images")(filled), pyramid, finest_level, filters, num_convolutions)
    search: dict[str, Any] = {"kernel_size": patch_size, "sampling": sampling}
    costs_at = layers.CostVolume(max_displacement, **search, name="cost_volume")
    match, decode = SoftMatch(max_displacement, name="match"), _decoder(decoder_filters)
    coarsest = finest_level + len(features) - 1
    flow = NoFlow(name="no_flow")(features[-1][0])
    outputs: dict[str, Any] = {}
    for k in range(coarsest, finest_level - 1, -1):
        first, second = features[k - finest_level]
        if k < coarsest:
            flow = FinerFlow(2, phase, name=f"level_{k}_start")([flow, first])
        for step in range(1 + (refinements if k == finest_level else 0)):
            label = f"level_{k}" + (f"_step_{step}" if step else "")
            if stop_gradient and outputs:
                flow = StoppedGradient(name=f"{label}_stop")(flow)
            costs = costs_at([first, second, flow] if outputs else [first, second])
            matched, confidence = match(costs)
            change = _sum(f"{label}_change", matched, decode([costs, first, matched, confidence, flow]))
            if normalize_gradients:
                change = layers.GradientNormalization(name=f"{label}_gradient", dtype="float32")(change)
            flow = _sum(f"{label}_sum", flow, change)
            outputs[label] = keras.layers.Rescaling(2.0**k, name=f"{label}_flow", dtype="float32")(flow)
    if finest_level:
        at = phase * (2**finest_level - 1)
        outputs["flow"] = FinerFlow(2**finest_level, at, name="full_size")([flow, filled[0]])
    else:
        outputs["flow"] = outputs.pop(label)
    keys = list(reversed(outputs))
    flows = AsManyAsImages(name="as_many_as_images")([*(outputs[key] for key in keys), images["first"]])
    return PyramidModel(images, dict(zip(keys, flows)), name=name)


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
    images: Any, pyramid: layers.LearnablePyramid, finest_level: int, filters: int, num_convolutions: int
) -> list[list[Any]]:
    """Return the features of both images at each level, from the finest."""
    levels = pyramid(images)[finest_level:]
    for k in range(num_convolutions):
        name = f"features_{k}"
        levels = layers.PyramidConv2D(filters, share_weights=True, kernel_initializer="he_normal", name=name)(levels)
        if k < num_convolutions - 1:
            levels = layers.PerLevel(keras.layers.LeakyReLU(0.1), name=f"{name}_relu")(levels)
    contrast, each = Contrast(name="contrast"), EachImage(name="each_image")
    return [each(contrast(level)) for level in levels]


def _decoder(filters: Sequence[int]) -> Callable[[list[Any]], Any]:
    """Return a function from [costs, features, match, confidence, flow] to a correction of the flow."""
    join, activate = keras.layers.Concatenate(name="decoder_input"), keras.layers.LeakyReLU(0.1, name="decoder_relu")
    parts = [
        # The costs have many channels, so the first kernel is 1 by 1.
        keras.layers.Conv2D(n, 3 if k else 1, padding="same", kernel_initializer="he_normal", name=f"decoder_{k}")
        for k, n in enumerate(filters)
    ]
    last = keras.layers.Conv2D(2, 3, padding="same", kernel_initializer="zeros", dtype="float32", name="decoder_flow")

    def decode(inputs: list[Any]) -> Any:
        x = join(inputs)
        for part in parts:
            x = activate(part(x))
        return last(x)

    return decode


def _sum(name: str, x: Any, y: Any) -> Any:
    return keras.layers.Add(name=name, dtype="float32")([x, y])


def _decoder_filters(value: Any) -> tuple[int, ...]:
    given = _checks.plain(value)
    if not isinstance(given, (list, tuple)) or not given:
        rule = "`decoder_filters` must be a list of integers, one for each convolution."
        raise ValueError(f"{rule} {_checks.received('decoder_filters', value)}")
    meaning = "the channels of a convolution"
    return tuple(_checks.channels(f"decoder_filters[{k}]", each, meaning) for k, each in enumerate(given))
