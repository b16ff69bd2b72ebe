"""Pixels, an option of export_saved_model and PredictImages."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import tensorflow as tf

from tfpyramid import _checks, _plain

_LARGEST = float(np.finfo(np.float32).max) / 255


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels:
    """How signatures map the bytes 0 to 255 of an image to the values a model was trained on.

    A model does not store the range of its images. The signature "serving_default" uses the numbers that a client
    sends: uint8 images are values from 0 to 255, as in `model.predict`. The signatures that take bytes map them to
    `value_range`.

    Equation:
        `x = low + byte (high - low) / 255`, in float32, then converted to the input's dtype.

    Args:
        input: the name of the model's image input; None if the model has only one.
        image_size: (height, width) to which files are resized, by `tf.image.resize(..., antialias=True)`, which
            computes the same as `ops.bilinear_down(..., antialias=True)`. None means the height and width of the input
            if both are known. If one is unknown, None means that files are not resized, and all files of a batch must
            have one size.
        value_range: (low, high), the values of the bytes 0 and 255: (0, 1), (-1, 1), or (0, 255) for a model with its
            own `Rescaling` layer.
        max_pixels: the most pixels that files may have, by their headers. An image that compresses well has millions of
            pixels in a few kilobytes; a request with more is refused with an error before any pixels are decoded. If
            files are resized, the limit is for each file, by default 2**27, or about 400 MB. Otherwise it is for all
            files of a request together, by default 2**25, because the model gets all of them at once. A request may be
            resized to 2**25 pixels in total, or to `max_pixels` if that is more.

    Raises:
        ValueError: an argument breaks a rule above.

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
            rule = "`input` must be the name of an input of the model, or None."
            raise ValueError(f"{rule} {_checks.received('input', self.input)}")
        if self.image_size is not None:
            size = _checks.output_size(self.image_size, "image_size")
            object.__setattr__(self, "image_size", size)
        given = _plain.real_array(self.value_range)
        low, high = given.tolist() if given is not None and given.shape == (2,) else (math.nan, math.nan)
        # The range must be finite and not empty in float32, in which values are computed.
        if not -_LARGEST <= low < high <= _LARGEST or high - low > _LARGEST or np.float32(high - low) == 0:
            raise ValueError(
                "`value_range` must be two finite numbers, low < high, the values of the bytes 0 and 255. "
                f"{_checks.received('value_range', self.value_range)}"
            )
        object.__setattr__(self, "value_range", (low, high))
        if self.max_pixels is not None:
            most = _checks.integer("max_pixels", self.max_pixels, 1, "or None", maximum=_checks.MOST_PIXELS)
            object.__setattr__(self, "max_pixels", most)

    def values(self, images: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Map bytes, or averages of bytes, to the values that the model takes."""
        low, high = self.value_range
        x = tf.cast(images, tf.float64 if dtype == tf.float64 else tf.float32)
        return tf.cast(x * (high - low) / 255.0 + low, dtype)

    def quantized(self, values: tf.Tensor) -> tf.Tensor:
        """Return the bytes that are nearest to `values`, the inverse of `Pixels.values`."""
        low, high = self.value_range
        bytes_ = (tf.cast(values, tf.float64) - low) * 255.0 / (high - low)
        return tf.cast(tf.clip_by_value(tf.round(bytes_), 0, 255), tf.uint8)
