"""feature_levels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, producer, shape_tuple
from tfpyramid.models._feature_maps import feature_maps


def feature_levels(
    model: keras.Model, strides: Sequence[int] = (4, 8, 16, 32), *, name: str | None = None
) -> keras.Model:
    """Return a model whose outputs are the feature maps of a backbone at several strides, finest first.

    The backbone is any functional or sequential Keras model of images, such as those of `keras.applications`. Pass the
    outputs to `tfpyramid.layers.FeaturePyramid`, `UpsampleConcat` or another layer of levels.

    Convention:
        A map has stride s if images that are s pixels larger give a map that is one sample larger. The stride follows
        from shapes alone, so padding and the sizes of kernels do not matter. The two models share their layers: loaded
        weights, training and `trainable = False` apply to both. Pass a backbone with `include_top=False`, or the
        levels ignore its last layers.

        The level of a stride is the last map of that stride that every path from the images to the outputs passes: it
        has all that the coarser maps are computed from. Branches within a block and maps that only pad their input do
        not count. Some networks have no such map, because layers skip each other everywhere: NASNet, U-Net. Their
        level is the last map of the stride that adds or concatenates two others, followed by the layers that are its
        only reader. A model with an attribute `pyramid_outputs`, such as the backbones of KerasHub, chooses its levels
        itself: "P3" is that of stride 8.

        Sides of maps are rounded up or down, or are up to three samples smaller where convolutions have no padding. The
        fusion layers accept all three; `FeaturePyramid` says where it assumes the samples of a map.

    Args:
        model: a functional or sequential model, built, with one input: images [batch, height, width, channels]. Sides
            may be unknown, for images of any size. A model inside it counts as one layer.
        strides: the strides of the maps to return, increasing, each at least 1 and at most 1024.
        name: name of the returned model. None means the name of `model`, followed by "_levels".

    Returns:
        A functional `keras.Model` with the input of `model`, whose outputs are a list of maps
        [batch, height, width, channels], one for each stride. Their names are "stride_4", "stride_8" and so on.

    Raises:
        ValueError: if an argument breaks a rule above, or the model has no map of one of the strides. The error lists
            the strides that it has.

    Example:
        >>> backbone = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3))
        >>> levels = models.feature_levels(backbone, strides=(8, 16, 32))
        >>> [tuple(level.shape) for level in levels(tf.ones([1, 97, 131, 3]))]
        [(1, 12, 16, 192), (1, 6, 8, 576), (1, 3, 4, 1280)]
        >>> [tuple(level.shape) for level in FeaturePyramid(64)(levels(tf.ones([1, 97, 131, 3])))]
        [(1, 12, 16, 64), (1, 6, 8, 64), (1, 3, 4, 64)]
    """
    return levels_of(model, strides, name=name)


def levels_of(
    model: keras.Model, strides: Sequence[int], *, name: str | None = None, argument: str = "model"
) -> keras.Model:
    """Return `feature_levels`; `argument` is the name of `model` in errors."""
    found = check_strides(strides)
    image = _check_image(model, argument)
    name = f"{model.name}_levels" if name is None else _checks.text("name", name)
    given = getattr(model, "pyramid_outputs", None)
    maps, problem = (_named_levels(given), "") if given else feature_maps(image, model.outputs)
    _check_found(model, found, maps, problem, argument)
    _check_size(model, found, shape_tuple(image.shape), argument)
    inputs = image if isinstance(model, keras.Sequential) else model.input
    return keras.Model(inputs, _outputs(model, {stride: maps[stride] for stride in found}), name=name)


def check_strides(strides: Any) -> list[int]:
    """Return strides as increasing ints."""
    values = _checks.plain(strides)
    if not isinstance(values, (list, tuple)) or not values:
        rule = "`strides` must be a list of integers, at least one."
        raise ValueError(f"{rule} {_checks.received('strides', strides)}")
    meaning = "the pixels between two samples of a map"
    found = [
        _checks.integer(f"strides[{k}]", value, 1, meaning, maximum=_checks.LARGEST) for k, value in enumerate(values)
    ]
    if any(a >= b for a, b in zip(found, found[1:])):
        raise ValueError(f"`strides` must increase, because levels are finest first. Received: strides={found}")
    return found


def _check_image(model: Any, argument: str) -> Any:
    """Return the symbolic image of a model with a graph."""
    if not isinstance(model, keras.Model):
        rule = f"`{argument}` must be a functional or sequential keras.Model."
        raise ValueError(f"{rule} {_checks.received(argument, model)}")
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        what = "a Sequential that is not built" if isinstance(model, keras.Sequential) else "a subclassed model"
        raise ValueError(
            f"`{argument}` must be a functional or sequential keras.Model with a graph of layers, because the levels "
            "are found in the graph. Start a Sequential with keras.Input; for a subclassed model, return the levels "
            f"from its `call`. Received: {argument} {model.name!r}, {what} of type {type(model).__name__}"
        )
    shapes = [shape_tuple(x.shape) for x in inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] is None:
        raise ValueError(
            f"`{argument}` must have one input, images [batch, height, width, channels] with a known number of "
            f"channels. Received: {argument} {model.name!r} with inputs of shapes {shapes}"
        )
    return inputs[0]


def _named_levels(levels: Mapping[str, Any]) -> dict[Any, Any]:
    """Return the levels by their stride, from a dict with the keys "P2", "P3" and so on, for strides of 4 and 8."""
    return {2 ** int(key[1:]): level for key, level in levels.items() if re.fullmatch(r"P\d+", str(key))}


def _check_found(model: keras.Model, strides: list[int], maps: Mapping[Any, Any], problem: str, argument: str) -> None:
    missing = [stride for stride in strides if stride not in maps]
    if not missing:
        return
    nested = [layer.name for layer in model.layers if isinstance(layer, keras.Model) and getattr(layer, "inputs", None)]
    hints = f" A model inside it counts as one layer: pass {nested[0]!r} itself." if nested else ""
    hints += f" Its {problem}. Build it for images of known sides if it requires them." if problem else ""
    raise ValueError(
        f"`strides` must be strides of the feature maps of the {argument} {model.name!r}, which has maps of the "
        f"strides {list(maps)}, and none of {missing}.{hints} Received: strides={strides}"
    )


def _check_size(model: keras.Model, strides: list[int], shape: tuple[int | None, ...], argument: str) -> None:
    sides = shape[1:3]
    if any(side is not None and side < strides[-1] for side in sides):
        raise ValueError(
            f"`{argument}` must take images of at least {strides[-1]} by {strides[-1]} pixels, the coarsest of "
            "`strides`. Build it with a larger `input_shape`, or with (None, None, channels) for images of any size. "
            f"Received: {argument} {model.name!r} with images of {sides[0]} by {sides[1]}"
        )


def _outputs(model: keras.Model, levels: Mapping[int, Any]) -> list:
    """Return levels as outputs of layers with the name of their stride, which names an output in Keras and in exports.

    A level that has its name already is returned unchanged.
    """
    taken = {layer.name for layer in model.layers}
    outputs = []
    for stride, level in levels.items():
        name = f"stride_{stride}"
        if producer(level).name != name:
            while name in taken:
                name += "_level"
            # Mixed precision would change the dtype of a level.
            level = keras.layers.Identity(name=name, dtype=tf.as_dtype(level.dtype).name)(level)
        outputs.append(level)
    return outputs
