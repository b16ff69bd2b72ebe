"""Argument checks: one voice for every error.

Each message names the argument, states the rule and ends with what was received. Each check returns the normalised
value, and the code after it uses only that.

Where a number, a flag or a size is asked for, a NumPy scalar, an array or a tensor whose value is known counts as the
Python value that it holds, and a known `TensorShape` as a tuple. An integer is what Python can index with, but no flag
and no float. Variables and masked arrays are refused, because their values may change and their masks would be ignored.
"""

import contextlib
import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union

import numpy as np
import tensorflow as tf

from tfpyramid._plain import finite, index, path_text, plain, received, tensor

# Bounds of what an argument can make the package allocate, however small the image is.
LARGEST = 2**10  # Of factors, strides and kernels.
MOST_LEVELS = 2**6  # And steps down, each of which is hundreds of operations of a graph.
MOST_CHANNELS = 2**16
MOST_CLASSES = 2**20  # And words, and answers.
LONGEST = 2**24  # Of the sides of an image that is to be made: float32 counts as far.
MOST_PIXELS = 2**30
MOST_WEIGHTS = 2**28  # Of one weight: a gigabyte in float32.

# Bounds of the numbers that values are multiplied or divided by: float32 and bfloat16 hold them and their quotients.
SMALLEST, GREATEST = 1e-30, 1e30

LARGEST_SEED = 2**63 - 1  # TensorFlow holds seeds in int64.

Number = TypeVar("Number", int, float)
ImageShape = tuple[Union[int, None], Union[int, None], Union[int, None], int]


def integer(name: str, value: object, minimum: int | None, meaning: str = "", *, maximum: int | None = None) -> int:
    """Return `value` as an int between `minimum` and `maximum`, if those are not None; `meaning` completes the rule."""
    bound = "" if minimum is None else f" of at least {minimum}"
    rule = f"`{name}` must be an integer{bound}{meaning and ', ' + meaning}."
    result = index(plain(value))
    if result is None or (minimum is not None and result < minimum):
        raise ValueError(f"{rule} {received(name, value)}")
    return at_most(name, result, maximum, meaning)


def at_most(name: str, value: Number, maximum: float | None, meaning: str = "") -> Number:
    """Return a number that is not above `maximum`, if that is not None."""
    if maximum is not None and value > maximum:
        raise ValueError(f"`{name}` must be at most {maximum}{meaning and ', ' + meaning}. {received(name, value)}")
    return value


def pair(name: str, value: object, minimum: int, meaning: str = "", *, maximum: int | None = None) -> tuple[int, int]:
    """Return one or two ints between `minimum` and `maximum` as two."""
    return both(value, lambda each: integer(name, each, minimum, meaning, maximum=maximum))


def output_size(value: object, name: str = "output_size") -> tuple[int, int]:
    """Return the height and the width of an image that is to be made, of one number or two."""
    return area(pair(name, value, 1, "(height, width)", maximum=LONGEST), name)


def area(size: tuple[Any, Any], name: str, meaning: str = "") -> tuple[Any, Any]:
    """Return the sides that an argument asks for, which must be of few enough pixels, as far as they are known."""
    if all(isinstance(side, int) for side in size) and size[0] * size[1] > MOST_PIXELS:
        rule = f"`{name}` must ask for at most {MOST_PIXELS} pixels{meaning and ' ' + meaning}"
        raise ValueError(f"{rule}. Received: {name} for {size[0]} by {size[1]} pixels")
    return size


def number(name: str, value: object, *, above: float, meaning: str = "", maximum: float = GREATEST) -> float:
    """Return `value` as a finite float greater than `above`, at least `SMALLEST` above 0, and at most `maximum`."""
    result = finite(value)
    if not result > above:
        rule = f"`{name}` must be a finite number greater than {above:g}{meaning and ', ' + meaning}."
        raise ValueError(f"{rule} {received(name, value)}")
    if above == 0 and result < SMALLEST:
        rule = f"`{name}` must be at least {SMALLEST:g}{meaning and ', ' + meaning}."
        raise ValueError(f"{rule} {received(name, value)}")
    return at_most(name, result, maximum, meaning)


def at_least(name: str, value: object, minimum: float, meaning: str = "", *, maximum: float = GREATEST) -> float:
    """Return `value` as a finite float between `minimum` and `maximum`; `meaning` completes the rule."""
    result = finite(value)
    if not result >= minimum:
        rule = f"`{name}` must be a finite number of at least {minimum:g}{meaning and ', ' + meaning}."
        raise ValueError(f"{rule} {received(name, value)}")
    return at_most(name, result, maximum, meaning)


def both(value: object, check: Callable[[object], Number]) -> tuple[Number, Number]:
    """Return one thing or two, each checked, as two: for the rows and for the columns."""
    value = plain(value)
    values = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value, value)
    rows, columns = map(check, values)
    return rows, columns


def is_tensor(value: object) -> bool:
    """Tell a tensor or a variable, TensorFlow's or Keras's, whose value may change, from a value that is known now."""
    return hasattr(value, "dtype") and not isinstance(value, (np.generic, np.ndarray))


def flag(name: str, value: object) -> bool:
    """Return `value`, which must be True or False."""
    result = plain(value)
    if not isinstance(result, bool):
        raise ValueError(f"`{name}` must be True or False. {received(name, value)}")
    return result


def one_of(name: str, value: object, options: Collection[str | None]) -> str:
    """Return `value`, which must be one of the names in `options`."""
    if not isinstance(value, str) or value not in options:
        listed = ", ".join(repr(option) for option in options)
        raise ValueError(f"`{name}` must be one of {listed}. {received(name, value)}")
    return value


def text(name: str, value: object, meaning: str = "") -> str:
    """Return `value`, which must be a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"`{name}` must be a text{meaning and ', ' + meaning}. {received(name, value)}")
    return value


def path(name: str, value: Any) -> str:
    """Return `value`, a string or what stands for one, as a path that TensorFlow can open, of this machine or not."""
    text = path_text(value)
    with contextlib.suppress(UnicodeEncodeError):
        if text:
            text.encode()  # TensorFlow takes UTF-8 alone.
            return text
    raise ValueError(f"`{name}` must be a path, as a str or a pathlib.Path. {received(name, value)}")


def local_path(name: str, value: Any, *, named: bool = True) -> Path:
    """Return `value` as a path on a disk of this machine; if `named`, it must end in the name of a folder to make."""
    found = path(name, value)
    if "://" in found:
        rule = f"`{name}` must be on a disk of this machine: write there, and copy the folder."
        raise ValueError(f"{rule} {received(name, found)}")
    if named and Path(found).name in ("", ".."):
        raise ValueError(f"`{name}` must end in the name of the folder to make. {received(name, found)}")
    return Path(found)


def num_levels(value: object, name: str = "num_levels", meaning: str = "") -> int:
    """Return the length of a pyramid."""
    return integer(name, value, 1, meaning or "the length of the list that is returned", maximum=MOST_LEVELS)


def scale_factor(value: object) -> float:
    """Return the ratio of the sizes of two neighbouring levels."""
    meaning = "the ratio of a level's sides to those of the next"
    return number("scale_factor", value, above=1, meaning=meaning, maximum=LARGEST)


def strides(value: object, minimum: int = 1) -> int:
    """Return the whole ratio of the sides of input and output."""
    return integer("strides", value, minimum, "the ratio of the sides of input and output", maximum=LARGEST)


def kernel_size(value: object, meaning: str = "the rows and columns of the kernel") -> int:
    """Return the side of a square kernel."""
    return integer("kernel_size", value, 1, meaning, maximum=LARGEST)


def channels(name: str, value: object, meaning: str) -> int:
    """Return a number of channels, or of other units that a layer has weights for."""
    return integer(name, value, 1, meaning, maximum=MOST_CHANNELS)


def weight_shape(name: str, shape: Sequence[int]) -> None:
    """Raise unless a weight of a layer is small enough to be made: the bounds of single arguments allow more."""
    if math.prod(shape) > MOST_WEIGHTS:
        raise ValueError(
            f"`{name}`, a weight of the layer, must have at most {MOST_WEIGHTS} numbers: choose fewer `filters` or "
            f"channels, or a smaller kernel. Received: {name} of shape {tuple(shape)}"
        )


def phase(value: object, scale_factor: float | None = 1.0) -> float:
    """Return where sample 0 of a level sits, in samples of the level before it; 0 where `scale_factor` is None."""
    result = finite(value)
    if math.isnan(result):
        raise ValueError(
            "`phase` must be a finite number, where sample 0 of a level sits in samples of the level before it. "
            f"{received('phase', value)}"
        )
    if scale_factor is None and result:
        raise ValueError(
            "`phase` must be 0 where `scale_factor` is None: samples then lie mid-cell, where the sizes put them. "
            f"Received: phase={value!r}, scale_factor=None"
        )
    return result


def filters(value: object) -> int | None:
    """Return the channels of an output; None means as many as the input has."""
    return None if value is None else channels("filters", value, "the channels of the output")


def seed(value: object) -> int | None:
    """Return what makes random numbers reproducible; None chooses it at random."""
    return None if value is None else integer("seed", value, 0, "or None", maximum=LARGEST_SEED)


def temperature(value: object) -> float:
    """Return how soft a choice is."""
    return number("temperature", value, above=0, meaning="the smaller, the harder")


def data_format(value: object) -> str:
    """Return "channels_last", the only order of axes the package works in."""
    if not isinstance(value, str) or value != "channels_last":
        raise ValueError(
            "`data_format` must be 'channels_last': images are [batch, height, width, channels]. For images of shape "
            "[batch, channels, height, width] put keras.layers.Permute((2, 3, 1)), or tf.transpose(images, "
            f"[0, 2, 3, 1]), in front. {received('data_format', value)}"
        )
    return value


def floating(name: str, value: Any) -> tf.DType:
    """Return a dtype, that of argument `name`, which must be float16, bfloat16, float32 or float64."""
    dtype = tf.as_dtype(value)
    if not dtype.is_floating:
        raise ValueError(
            f"`{name}` must be floating point: cast first, for example tf.image.convert_image_dtype({name}, "
            f"tf.float32), which also maps 0..255 to 0..1. Received: {name} of dtype {dtype.name}"
        )
    return dtype


def image_shape(name: str, value: Any) -> ImageShape:
    """Return the shape of a batch of images as a tuple; sides may be unknown, the number of channels may not."""
    try:
        shape = tf.TensorShape(value)
    except (TypeError, ValueError):
        shape = None
    if shape is None:
        raise ValueError(f"`{name}` must be a batch of images, one tensor. {received(name, value)}")
    if shape.rank != 4:
        raise ValueError(
            f"`{name}` must have 4 axes, [batch, height, width, channels]: a single image needs "
            f"tf.expand_dims({name}, 0), grey images without a channel axis need tf.expand_dims({name}, -1). "
            f"Received: {name} of shape {shape}"
        )
    if shape[3] is None:
        raise ValueError(f"`{name}` must have a known number of channels. Received: {name} of shape {shape}")
    if 0 in (shape[1], shape[2]):
        raise ValueError(f"`{name}` must have sides of at least 1. Received: {name} of shape {shape}")
    batch, height, width, channels = shape.as_list()
    return batch, height, width, channels


def input_shape(value: Any) -> tuple[int | None, int | None, int]:
    """Return the shape of one image, for a model's input: sides may be None, the channels may not."""
    shape = plain(value)
    sides = shape if isinstance(shape, (list, tuple)) and len(shape) == 3 and shape[2] is not None else [0]
    known: list[Any] = [None if side is None else index(plain(side)) or 0 for side in sides]
    if any(side is not None and side < 1 for side in known):
        raise ValueError(
            "`input_shape` must be (height, width, channels), of at least 1 each; sides that vary are None. "
            f"{received('input_shape', value)}"
        )
    height, width, channels = known
    return height, width, channels


def images(value: Any, name: str = "images") -> tf.Tensor:
    """Return `value` as a floating tensor [batch, height, width, channels]."""
    result = floating_tensor(name, value)
    image_shape(name, result.shape)
    return result


def floating_tensor(name: str, value: Any) -> tf.Tensor:
    """Return `value` as a floating tensor."""
    result = tensor(name, value)
    floating(name, result.dtype)
    return result


def scalar(name: str, value: Any, dtype: tf.DType) -> tf.Tensor:
    """Return one real number, given as a tensor or a variable, in a dtype."""
    result = tensor(name, value)
    if result.shape.rank not in (0, None) or not (result.dtype.is_floating or result.dtype.is_integer):
        rule = f"`{name}` must be one number, or a tensor of shape () that holds one."
        raise ValueError(f"{rule} Received: {name} of shape {result.shape}, {result.dtype.name}")
    return tf.cast(result, dtype)
