"""The signatures of an export: what each takes, and how that becomes what the model takes."""

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
    """The inputs of a signature in the order of the model's, which `decode` makes of them; `encode` goes back."""

    specs: dict[str, tf.TensorSpec]
    decode: Callable[[Inputs], Inputs] = lambda inputs: inputs
    encode: Callable[[Inputs], Inputs] = lambda inputs: inputs


def signatures(
    specs: dict[str, tf.TensorSpec], pixels: Pixels, *, image_bytes: bool, uint8: bool
) -> dict[str, Signature]:
    """Return the signatures by name, "serving_default" first, for a model of the inputs `specs`."""
    if not isinstance(pixels, Pixels):
        raise ValueError(f"`pixels` must be a tfpyramid.export.Pixels. {_checks.received('pixels', pixels)}")
    if pixels != Pixels() and not image_bytes and not uint8:
        raise ValueError(
            "`pixels` must be left out unless `image_bytes` or `uint8` is True: it says what bytes mean to them. "
            f"{_checks.received('pixels', pixels)}"
        )
    found = {"serving_default": Signature(specs)}
    images = _images(specs, pixels) if image_bytes or uint8 else []
    for name in images:
        _check_range(pixels, specs[name])
    if image_bytes:
        found["image_bytes"] = _of_files(specs, pixels, images)
    if uint8:
        found["uint8"] = _of_bytes(specs, pixels, images)
    return found


def _images(specs: dict[str, tf.TensorSpec], pixels: Pixels) -> list[str]:
    """Return the names of the inputs that take images: the one that `pixels` names, or all."""
    kinds = {name: f"{spec.dtype.name} {spec.shape}" for name, spec in specs.items()}
    names = [name for name, spec in specs.items() if is_image(spec)]
    if not names:
        raise ValueError(
            "`image_bytes` and `uint8` must be False for a model without an input of images, which is floating point "
            f"[batch, height, width, channels] with 1, 3 or 4 channels. Received: a model of the inputs {kinds}"
        )
    if pixels.input is None:
        return names
    name = argument_name(pixels.input)
    if name not in names:
        raise ValueError(
            f"`pixels` must name an input of images, one of {names}. Received: "
            f"input={pixels.input!r}, for a model of the inputs {kinds}"
        )
    return [name]


def _check_range(pixels: Pixels, spec: tf.TensorSpec) -> None:
    low, high = np.asarray(tf.cast(tf.constant(pixels.value_range, tf.float64), spec.dtype), np.float64)
    if not np.isfinite([low, high]).all() or low == high:
        raise ValueError(
            f"`value_range` must be two different numbers in {spec.dtype.name}, the dtype of the input {spec.name!r}. "
            f"Received: value_range={pixels.value_range}"
        )


def _of_bytes(specs: dict[str, tf.TensorSpec], pixels: Pixels, images: list[str]) -> Signature:
    def decode(inputs: Inputs) -> Inputs:
        return {k: pixels.values(x, specs[k].dtype) if k in images else x for k, x in inputs.items()}

    def encode(inputs: Inputs) -> Inputs:
        return {k: pixels.quantized(x) if k in images else x for k, x in inputs.items()}

    taken = {k: tf.TensorSpec(s.shape, tf.uint8, name=k) if k in images else s for k, s in specs.items()}
    return Signature(taken, decode, encode)


def _of_files(specs: dict[str, tf.TensorSpec], pixels: Pixels, images: list[str]) -> Signature:
    if len(images) > 1:
        raise ValueError(
            "`pixels` must say which input `image_bytes` is for, where several take images: "
            f"pixels=Pixels(input={images[0]!r}), or another of {images}. {_checks.received('pixels', pixels)}"
        )
    (image,) = images
    if "image_bytes" in specs:
        raise ValueError(
            "`model` must have no input of the name 'image_bytes', which the signature gives to its files: "
            f"rename it. Received: a model of the inputs {list(specs)}"
        )
    batch, *sides, channels = specs[image].shape.as_list()
    size = pixels.image_size or (None if None in sides else (sides[0], sides[1]))
    if size and any(n not in (None, asked) for n, asked in zip(sides, size)):
        raise ValueError(
            f"`image_size` must be one that the input {image!r} takes, {tuple(sides)}. Received: image_size={size}"
        )

    def decode(inputs: Inputs) -> Inputs:
        decoded = decode_images(inputs["image_bytes"], channels, sides, size, pixels.max_pixels)
        return {k: pixels.values(decoded, specs[k].dtype) if k == image else inputs[k] for k in specs}

    def encode(inputs: Inputs) -> Inputs:
        if not within_limits(inputs[image].shape, size, pixels.max_pixels):
            raise ValueError(
                "`max_pixels` must be enough for the batch of the check, which is `sample` or random. Received: "
                f"max_pixels={pixels.max_pixels}, for a batch of shape {tuple(inputs[image].shape)}"
            )
        files = tf.stack([tf.io.encode_png(each) for each in pixels.quantized(inputs[image])])
        return {"image_bytes" if k == image else k: files if k == image else x for k, x in inputs.items()}

    files = tf.TensorSpec([batch], tf.string, name="image_bytes")
    taken = {"image_bytes" if k == image else k: files if k == image else s for k, s in specs.items()}
    return Signature(taken, decode, encode)
