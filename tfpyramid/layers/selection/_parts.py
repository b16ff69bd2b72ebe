"""Checks and calls of the layers inside a router or a cascade: encoders and the pyramid."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras
from tfpyramid.layers._base import check_layer
from tfpyramid.ops import partition


def check_different(name: str, layers: Any) -> list[keras.layers.Layer]:
    """Return a list of layers, which must all be different."""
    found = [check_layer(f"{name}[{k}]", layer) for k, layer in enumerate(layers)]
    if len({id(layer) for layer in found}) < len(found):
        raise ValueError(
            f"`{name}` must be different layers, one for each level: clone a layer to use it again. "
            f"Received: layers {[layer.name for layer in found]}"
        )
    return found


def one_shape(features: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
    """Return the shape of the features of all encoders. The sides of maps may be unknown until the graph runs."""
    known = [{shape[axis] for shape in features} - {None} for axis in range(len(features[0]))]
    unknown = [axis for axis, sizes in enumerate(known) if axis and not sizes]
    is_map = len(features[0]) == 4 and not {3}.intersection(unknown)
    same_rank = len({len(shape) for shape in features}) == 1
    if not same_rank or any(len(sizes) > 1 for sizes in known[1:]) or (unknown and not is_map):
        raise ValueError(
            "`encoders` must all return the same shape with known sizes, except the batch and the sides of maps: end "
            "each encoder with a global pooling layer, or with an upsampling to the size of the finest level. "
            f"Received: output shapes {features}"
        )
    return (features[0][0], *(next(iter(sizes), None) for sizes in known[1:]))


def check_pyramid(pyramid: Any) -> keras.layers.Layer:
    """Return a layer that computes each level from the one before it."""
    pyramid = check_layer("pyramid", pyramid)
    if not hasattr(pyramid, "next_level"):
        raise ValueError(
            "`pyramid` must be a layer that computes each level from the one before it, such as LearnablePyramid or "
            f"GaussianPyramid. Received: pyramid of type {type(pyramid).__name__}"
        )
    return pyramid


def steps_down(pyramid: keras.layers.Layer, shapes: Sequence[_checks.ImageShape], first: int = 0) -> list:
    """Return the steps of a pyramid from level `first`, the images, to the next level, and on to the last."""
    steps = [functools.partial(pyramid.next_level, k=k) for k in range(first, len(shapes) - 1)]
    return [partition.Stage(step, shape[1:]) for step, shape in zip(steps, shapes[first + 1 :])]


def on_demand(pyramid: keras.layers.Layer) -> list[Callable[[tf.Tensor], tf.Tensor] | None]:
    """Return functions from images to the levels to compute only for the samples that visit them, finest first.

    These are the levels that are finer than the images, the images themselves, as None, and the next level if the
    pyramid can skip it.
    """
    finer = getattr(pyramid, "upsampled_levels", 0)
    functions: list[Callable[[tf.Tensor], tf.Tensor] | None] = [
        *(functools.partial(pyramid.upsampled_level, k=k) for k in range(finer)),
        None,
    ]
    if getattr(pyramid, "skips_levels", False) and pyramid.num_levels > finer + 2:
        functions.append(functools.partial(pyramid.next_level, k=finer))
    return functions


def steps_of_all(pyramid: keras.layers.Layer, shapes: Sequence[_checks.ImageShape]) -> list:
    """Return the steps from the images to the first level that is not computed on demand, and on to the last."""
    images, first = getattr(pyramid, "upsampled_levels", 0), len(on_demand(pyramid))
    if first == images + 1:
        return steps_down(pyramid, shapes, images)
    skip = functools.partial(pyramid.level_after_next, k=images)
    return [partition.Stage(skip, shapes[first][1:]), *steps_down(pyramid, shapes, first)]


def as_called_by_keras(pyramid: keras.layers.Layer, images: tf.Tensor) -> tf.Tensor:
    """Return images in the dtype that Keras would cast them to if it called the pyramid."""
    return tf.cast(images, pyramid.compute_dtype)
