"""Pixels."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import tensorflow as tf

from tfpyramid import _checks, _plain

_LARGEST = float(np.finfo(np.float32).max) / 255


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels:
    """How the bytes 0 to 255 of an image become what a model was trained on: an option of `export_saved_model`.

    A model cannot know the range of its images: `model.predict` on uint8 computes with 0 to 255, and so does the
    signature "serving_default" if a client sends such numbers. The signatures of bytes map them to `value_range`.

    Equation:
        `x = low + byte (high - low) / 255`, in float32, then of the input's dtype.

    Args:
        input: the name of the model's image input; None where it has but one.
        image_size: (height, width) that files are resized to, by `tf.image.resize(..., antialias=True)`, which is what
            `ops.bilinear_down(..., antialias=True)` computes. None for the sides that the input has where both are
            known, since the model takes no others and a client's photograph has any; where one is not known, None
            resizes nothing, and the files of a batch must have one size.
        value_range: (low, high), what the bytes 0 and 255 become: (0, 1), (-1, 1), or (0, 255) for a model that has its
            own `Rescaling` layer.
        max_pixels: the most pixels that files may have, by their headers. An image that compresses well has millions of
            pixels in a few kilobytes; a request with more is answered with an error, before any pixels are decoded. The
            limit is for each file where files are resized, by default 2**27, or about 400 MB; otherwise for all files
            of a request together, by default 2**25, since the model gets all of them at once. A request may be resized
            to 2**25 pixels in total, or to `max_pixels` if that is more.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> pixels = Pixels(image_size=(64, 96), value_range=(-1, 1))
        >>> pixels.image_size, pixels.value_range
        ((64, 96), (-1.0, 1.0))
    """

    input: str | None = None
    image_size: tuple[int, int] | None = None
    value_range: tuple[float, float] = (0.0, 1.0)
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        if self.input is not None and not isinstance(self.input, str):
            rule = "`input` must be the name of one of the model's, or None."
            raise ValueError(f"{rule} {_checks.received('input', self.input)}")
        if self.image_size is not None:
            size = _checks.output_size(self.image_size, "image_size")
            object.__setattr__(self, "image_size", size)
        given = _plain.real_array(self.value_range)
        low, high = given.tolist() if given is not None and given.shape == (2,) else (math.nan, math.nan)
        # Values are computed in float32.
        if not -_LARGEST <= low < high <= _LARGEST or high - low > _LARGEST or np.float32(high - low) == 0:
            raise ValueError(
                "`value_range` must be two finite numbers, what the bytes 0 and 255 become, the smaller first. "
                f"{_checks.received('value_range', self.value_range)}"
            )
        object.__setattr__(self, "value_range", (low, high))
        if self.max_pixels is not None:
            most = _checks.integer("max_pixels", self.max_pixels, 1, "or None", maximum=_checks.MOST_PIXELS)
            object.__setattr__(self, "max_pixels", most)

    def values(self, images: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Return bytes, or means of bytes, as the model takes them."""
        low, high = self.value_range
        x = tf.cast(images, tf.float64 if dtype == tf.float64 else tf.float32)
        return tf.cast(x * (high - low) / 255.0 + low, dtype)

    def quantized(self, values: tf.Tensor) -> tf.Tensor:
        """Return the bytes nearest to what `values` are."""
        low, high = self.value_range
        bytes_ = (tf.cast(values, tf.float64) - low) * 255.0 / (high - low)
        return tf.cast(tf.clip_by_value(tf.round(bytes_), 0, 255), tf.uint8)
