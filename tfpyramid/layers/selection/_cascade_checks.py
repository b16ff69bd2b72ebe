"""Checks of the arguments and the inputs of `LevelCascade`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

from tfpyramid import _checks, _level_checks, _plain
from tfpyramid._compat import keras
from tfpyramid.layers._base import check_layer, output_shape
from tfpyramid.layers._inputs import one_or_several
from tfpyramid.layers.selection import _parts

Shape = tuple[Union[int, None], ...]


def one_or_each(name: str, layers: Any, count: int, meaning: str) -> list[keras.layers.Layer]:
    """Return a list of `count` different layers, or a list of the one layer that is given."""
    if not isinstance(layers, (list, tuple)):
        return [check_layer(name, layers)]
    if len(layers) != count:
        raise ValueError(
            f"`{name}` must be one layer for all levels, or a list of {count} layers, {meaning}. "
            f"Received: {len(layers)} layers"
        )
    return _parts.check_different(name, layers)


def threshold(value: Any, count: int) -> float | tuple[float, ...]:
    """Return a threshold: a number from 0 to 1, or `count` of them."""
    meaning = "the probability at which a sample stops"
    given = _checks.plain(value)
    if not isinstance(given, (list, tuple)):
        return _checks.at_least("threshold", value, 0, meaning, maximum=1)
    if len(given) != count:
        raise ValueError(
            f"`threshold` must be one number, or {count} numbers, one for each level but the finest. "
            f"{_checks.received('threshold', value)}"
        )
    return tuple(_checks.at_least(f"threshold[{k}]", each, 0, meaning, maximum=1) for k, each in enumerate(given))


def split_shapes(input_shape: Any, names: Sequence[str]) -> list[Shape]:
    """Return the shapes of images, and of the query and start if given."""
    shapes = one_or_several(input_shape)
    if len(shapes) > len(names):
        raise ValueError(
            f"`inputs` must be images, [images, query] or [images, query, start]. Received: {len(shapes)} inputs"
        )
    _checks.image_shape("images", shapes[0])
    _level_checks.one_batch(dict(zip(names, shapes)))
    return shapes


def parts_fit(
    confidences: Sequence[keras.layers.Layer], merge: keras.layers.Layer | None, features: Shape, query: list[Shape]
) -> None:
    """Raise `ValueError` unless confidences return [batch, 1] and `merge` features of the same shape."""
    for k, confidence in enumerate(confidences):
        shape = _shape_of(f"confidences[{k}]", confidence, [features, *query] if query else features)
        if len(shape) != 2 or shape[1] != 1:
            raise ValueError(
                "`confidences` must return the log-odds of each sample, [batch, 1]. "
                f"Received: confidences[{k}] with output shape {shape}"
            )
    if merge is None:
        return
    shape = _shape_of("merge", merge, [features, features])
    if shape[1:] != features[1:]:
        raise ValueError(
            f"`merge` must return features of the shape that it gets, {features}. "
            f"Received: merge with output shape {shape}"
        )


def _shape_of(name: str, layer: keras.layers.Layer, shape: Any) -> Shape:
    """Return the output shape of a layer of the user's, and name the argument in its error."""
    try:
        return output_shape(layer, shape)
    except Exception as error:  # The type of the error depends on the layer.
        raise ValueError(
            f"`{name}` must be a layer that accepts inputs of shape {shape}. Received: {name}={layer.name!r}, which "
            f"says: {_plain.first_line(error)}"
        ) from error
