"""The signatures of an export: their inputs, and how these are converted to the inputs of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.export._decode import decode_images, within_limits
from tfpyramid.export._endpoint import is_image
from tfpyramid.export._names import argument_name
from tfpyramid.export.pixels import Pixels

Inputs = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Signature:
    """The inputs of a signature in the model's order; `decode` converts them to the model's inputs, `encode` back."""

    specs: dict[str, tf.TensorSpec]
    decode: Callable[[Inputs], Inputs] = lambda inputs: inputs
    encode: Callable[[Inputs], Inputs] = lambda inputs: inputs


def signatures(
    specs: dict[str, tf.TensorSpec], pixels: Pixels, *, image_bytes: bool, uint8: bool
) -> dict[str, Signature]:
    """Return the signatures by name, "serving_default" first, for a model with the inputs `specs`."""
    if not isinstance(pixels, Pixels):
        raise ValueError(f"`pixels` must be a tfpyramid.export.Pixels. {_checks.received('pixels', pixels)}")
    if pixels != Pixels() and not image_bytes and not uint8:
        raise ValueError(
            "`pixels` requires `image_bytes=True` or `uint8=True`, the signatures that take bytes. "
            f"{_checks.received('pixels', pixels)}"
        )
    result = {"serving_default": Signature(specs)}
    images = _images(specs, pixels) if image_bytes or uint8 else []
    for name in images:
        _check_range(pixels, specs[name])
    if image_bytes:
        result["image_bytes"] = _image_bytes_signature(specs, pixels, images)
    if uint8:
        result["uint8"] = _uint8_signature(specs, pixels, images)
    return result


def _images(specs: dict[str, tf.TensorSpec], pixels: Pixels) -> list[str]:
    """Return the names of the inputs that take images: the one that `pixels` names, or all of them."""
    kinds = {name: f"{spec.dtype.name} {spec.shape}" for name, spec in specs.items()}
    names = [name for name, spec in specs.items() if is_image(spec)]
    if not names:
        raise ValueError(
            "`image_bytes` and `uint8` require a model with an input of images: floating point, "
            f"[batch, height, width, channels] with 1, 3 or 4 channels. Received: a model with the inputs {kinds}"
        )
    if pixels.input is None:
        return names
    name = argument_name(pixels.input)
    if name not in names:
        raise ValueError(
            f"`pixels` must name an input of images, one of {names}. Received: "
            f"input={pixels.input!r}, for a model with the inputs {kinds}"
        )
    return [name]


def _check_range(pixels: Pixels, spec: tf.TensorSpec) -> None:
    low, high = np.asarray(tf.cast(tf.constant(pixels.value_range, tf.float64), spec.dtype), np.float64)
    if not np.isfinite([low, high]).all() or low == high:
        raise ValueError(
            f"`value_range` must be two different numbers in {spec.dtype.name}, the dtype of the input {spec.name!r}. "
            f"Received: value_range={pixels.value_range}"
        )


def _uint8_signature(specs: dict[str, tf.TensorSpec], pixels: Pixels, images: list[str]) -> Signature:
    def decode(inputs: Inputs) -> Inputs:
        return {k: pixels.values(x, specs[k].dtype) if k in images else x for k, x in inputs.items()}

    def encode(inputs: Inputs) -> Inputs:
        return {k: pixels.quantized(x) if k in images else x for k, x in inputs.items()}

    input_specs = {k: tf.TensorSpec(s.shape, tf.uint8, name=k) if k in images else s for k, s in specs.items()}
    return Signature(input_specs, decode, encode)


def _image_bytes_signature(specs: dict[str, tf.TensorSpec], pixels: Pixels, images: list[str]) -> Signature:
    if len(images) > 1:
        raise ValueError(
            "`pixels` must name the input for `image_bytes`, because several inputs take images: "
            f"pixels=Pixels(input={images[0]!r}), or another of {images}. {_checks.received('pixels', pixels)}"
        )
    (image,) = images
    if "image_bytes" in specs:
        raise ValueError(
            "`model` must not have an input named 'image_bytes', because the signature uses this name for its files. "
            f"Rename the input. Received: a model with the inputs {list(specs)}"
        )
    batch, *sides, channels = specs[image].shape.as_list()
    size = pixels.image_size or (None if None in sides else (sides[0], sides[1]))
    if size and any(n not in (None, side) for n, side in zip(sides, size)):
        raise ValueError(f"`image_size` must match the input {image!r}, {tuple(sides)}. Received: image_size={size}")

    def decode(inputs: Inputs) -> Inputs:
        decoded = decode_images(inputs["image_bytes"], channels, sides, size, pixels.max_pixels)
        return {k: pixels.values(decoded, specs[k].dtype) if k == image else inputs[k] for k in specs}

    def encode(inputs: Inputs) -> Inputs:
        if not within_limits(inputs[image].shape, size, pixels.max_pixels):
            raise ValueError(
                "`max_pixels` must allow the batch of the check, which is `sample` or random. Increase it, or pass a "
                f"smaller `sample`. Received: max_pixels={pixels.max_pixels}, for a batch of shape "
                f"{tuple(inputs[image].shape)}"
            )
        files = tf.stack([tf.io.encode_png(each) for each in pixels.quantized(inputs[image])])
        return {"image_bytes" if k == image else k: files if k == image else x for k, x in inputs.items()}

    files = tf.TensorSpec([batch], tf.string, name="image_bytes")
    input_specs = {"image_bytes" if k == image else k: files if k == image else s for k, s in specs.items()}
    return Signature(input_specs, decode, encode)
