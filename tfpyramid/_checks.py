"""Argument checks.

Each message names the argument, states the rule and ends with the value received. Each check returns the normalised
value, and the code after it uses only that value.

For a number, a flag or a size, a NumPy scalar, an array or a tensor with a known value counts as the Python value that
it holds, and a known `TensorShape` as a tuple. An integer is a value that Python can use as an index, except for flags;
a float is not an integer. Variables are refused because their values may change, and masked arrays because their masks
would be ignored.
"""

import contextlib
import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union

import numpy as np
import tensorflow as tf

from tfpyramid._plain import finite, index, path_text, plain, received, tensor

# Bounds that limit how much memory an argument can make the package allocate, even for a small image.
LARGEST = 2**10  # For factors, strides and kernel sizes.
LARGEST_WINDOW = 2**16  # For a pool, which has no kernel, and its strides.
MOST_LEVELS = 2**6  # Each level adds hundreds of operations to a graph.
MOST_CHANNELS = 2**16
MOST_CLASSES = 2**20  # Also for words and answers.
LONGEST = 2**24  # For sides of images to be made: float32 holds every integer up to this one.
MOST_PIXELS = 2**30
MOST_WEIGHTS = 2**28  # For the elements of one weight: a gigabyte in float32.

# Bounds of factors and divisors: float32 and bfloat16 can hold them and their quotients.
SMALLEST, GREATEST = 1e-30, 1e30

LARGEST_SEED = 2**63 - 1  # TensorFlow holds seeds in int64.

Number = TypeVar("Number", int, float)
ImageShape = tuple[Union[int, None], Union[int, None], Union[int, None], int]


def integer(name: str, value: object, minimum: int | None, meaning: str = "", *, maximum: int | None = None) -> int:
    """Return `value` as an int between `minimum` and `maximum`, if they are given; `meaning` completes the rule."""
    bound = "" if minimum is None else f" of at least {minimum}"
    rule = f"`{name}` must be an integer{bound}{meaning and ', ' + meaning}."
    result = index(plain(value))
    if result is None or (minimum is not None and result < minimum):
        raise ValueError(f"{rule} {received(name, value)}")
    return at_most(name, result, maximum, meaning)


def at_most(name: str, value: Number, maximum: float | None, meaning: str = "") -> Number:
    """Return `value`, which must be at most `maximum`, if that is given."""
    if maximum is not None and value > maximum:
        raise ValueError(f"`{name}` must be at most {maximum}{meaning and ', ' + meaning}. {received(name, value)}")
    return value


def pair(name: str, value: object, minimum: int, meaning: str = "", *, maximum: int | None = None) -> tuple[int, int]:
    """Return two ints between `minimum` and `maximum`, given as one number or a pair."""
    return both(value, lambda each: integer(name, each, minimum, meaning, maximum=maximum))


def output_size(value: object, name: str = "output_size") -> tuple[int, int]:
    """Return the height and the width of an image to be made, given as one number or a pair."""
    return area(pair(name, value, 1, "(height, width)", maximum=LONGEST), name)


def area(size: tuple[Any, Any], name: str, meaning: str = "") -> tuple[Any, Any]:
    """Return the sides of an image to be made, which must not have too many pixels, if both are known."""
    if all(isinstance(side, int) for side in size) and size[0] * size[1] > MOST_PIXELS:
        rule = f"`{name}` must give {meaning or 'images'} of at most {MOST_PIXELS} pixels."
        raise ValueError(f"{rule} Received: {name} for {size[0]} by {size[1]} pixels")
    return size


def number(name: str, value: object, *, above: float, meaning: str = "", maximum: float = GREATEST) -> float:
    """Return `value` as a finite float greater than `above` (at least `SMALLEST`, if that is 0), at most `maximum`."""
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
    """Return a checked value for the rows and one for the columns, given as one value or a pair."""
    value = plain(value)
    values = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value, value)
    rows, columns = map(check, values)
    return rows, columns


def is_tensor(value: object) -> bool:
    """Return whether a value is a tensor or variable, of TensorFlow or Keras, instead of a constant."""
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
    """Return `value`, which must be a non-empty string."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"`{name}` must be a non-empty string{meaning and ', ' + meaning}. {received(name, value)}")
    return value


def path(name: str, value: Any) -> str:
    """Return `value`, a string or path object, as a path that TensorFlow can open, local or remote."""
    text = path_text(value)
    with contextlib.suppress(UnicodeEncodeError):
        if text:
            text.encode()  # TensorFlow accepts only UTF-8.
            return text
    raise ValueError(f"`{name}` must be a path: a str or a pathlib.Path. {received(name, value)}")


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
    """Return the ratio of the sides of input and output, an integer."""
    return integer("strides", value, minimum, "the ratio of the sides of input and output", maximum=LARGEST)


def kernel_size(value: object, meaning: str = "the rows and columns of the kernel") -> int:
    """Return the side of a square kernel."""
    return integer("kernel_size", value, 1, meaning, maximum=LARGEST)


def channels(name: str, value: object, meaning: str) -> int:
    """Return a number of channels or of other units of a layer."""
    return integer(name, value, 1, meaning, maximum=MOST_CHANNELS)


def weight_shape(name: str, shape: Sequence[int]) -> None:
    """Raise `ValueError` if a weight of a layer is too large; the bounds of single arguments would allow it."""
    if math.prod(shape) > MOST_WEIGHTS:
        raise ValueError(
            f"`{name}`, a weight of the layer, must have at most {MOST_WEIGHTS} elements. Choose fewer `filters` or "
            f"channels, or a smaller kernel. Received: {name} of shape {tuple(shape)}"
        )


def phase(value: object, scale_factor: float | None = 1.0) -> float:
    """Return the position of sample 0 of a level, in samples of the level before it; 0 if `scale_factor` is None."""
    result = finite(value)
    if math.isnan(result):
        raise ValueError(
            "`phase` must be a finite number: the position of sample 0 of a level, in samples of the level before it. "
            f"{received('phase', value)}"
        )
    if scale_factor is None and result:
        raise ValueError(
            "`phase` must be 0 if `scale_factor` is None, because samples then lie at the centres of equal cells. "
            f"Received: phase={value!r}, scale_factor=None"
        )
    return result


def filters(value: object) -> int | None:
    """Return the number of output channels; None means that of the input."""
    return None if value is None else channels("filters", value, "the channels of the output")


def seed(value: object) -> int | None:
    """Return the seed of random numbers; None means a random seed."""
    return None if value is None else integer("seed", value, 0, "or None", maximum=LARGEST_SEED)


def temperature(value: object) -> float:
    """Return the temperature of a choice."""
    return number("temperature", value, above=0, meaning="and a smaller one makes harder choices")


def data_format(value: object) -> str:
    """Return "channels_last", the only supported order of axes, given in lower or upper case."""
    if not isinstance(value, str) or value.lower() != "channels_last":
        raise ValueError(
            "`data_format` must be 'channels_last': images are [batch, height, width, channels]. Convert images of "
            "shape [batch, channels, height, width] with keras.layers.Permute((2, 3, 1)) or "
            f"tf.transpose(images, [0, 2, 3, 1]). {received('data_format', value)}"
        )
    return "channels_last"


def floating(name: str, value: Any) -> tf.DType:
    """Return the dtype of the argument `name`, which must be float16, bfloat16, float32 or float64."""
    dtype = tf.as_dtype(value)
    if not dtype.is_floating:
        raise ValueError(
            f"`{name}` must be floating point. Convert integers first, for example with "
            f"tf.image.convert_image_dtype({name}, tf.float32), which also maps 0..255 to 0..1. "
            f"Received: {name} of dtype {dtype.name}"
        )
    return dtype


def image_shape(name: str, value: Any, *, any_size: bool = False) -> ImageShape:
    """Return the shape of a batch of images as a tuple. Sides may be unknown; with `any_size`, channels too, or 0."""
    try:
        shape = tf.TensorShape(value)
    except (TypeError, ValueError):
        shape = None
    if shape is None:
        raise ValueError(f"`{name}` must be one tensor, a batch of images. {received(name, value)}")
    if shape.rank != 4:
        raise ValueError(
            f"`{name}` must have 4 axes, [batch, height, width, channels]. Add the batch axis of a single image "
            f"with tf.expand_dims({name}, 0), and the channel axis of grey images with tf.expand_dims({name}, -1). "
            f"Received: {name} of shape {shape}"
        )
    if shape[3] is None and not any_size:
        raise ValueError(f"`{name}` must have a known number of channels. Received: {name} of shape {shape}")
    if 0 in (shape[1], shape[2]) and not any_size:
        raise ValueError(f"`{name}` must have a height and a width of at least 1. Received: {name} of shape {shape}")
    batch, height, width, channels = shape.as_list()
    return batch, height, width, channels


def input_shape(value: Any) -> tuple[int | None, int | None, int]:
    """Return the shape of one image, a model's input. Sides may be None; the number of channels must be known."""
    shape = plain(value)
    sides = shape if isinstance(shape, (list, tuple)) and len(shape) == 3 and shape[2] is not None else [0]
    known: list[Any] = [None if side is None else index(plain(side)) or 0 for side in sides]
    if any(side is not None and side < 1 for side in known):
        raise ValueError(
            "`input_shape` must be (height, width, channels), each at least 1. Use None for a side that varies. "
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
    """Return a number, given as a tensor or a variable, as a scalar tensor of a dtype."""
    result = tensor(name, value)
    if result.shape.rank not in (0, None) or not (result.dtype.is_floating or result.dtype.is_integer):
        rule = f"`{name}` must be one number, or a scalar tensor."
        raise ValueError(f"{rule} Received: {name} of shape {result.shape}, {result.dtype.name}")
    return tf.cast(result, dtype)
