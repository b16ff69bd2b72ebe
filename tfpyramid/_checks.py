"""Argument checks: one voice for every error.

Each message names the argument, states the rule and ends with what was received. Each check returns the normalised
value, so that the code behind the door sees only that.
"""

import itertools
import math
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar, Union

import numpy as np
import tensorflow as tf

from tfpyramid import _sizes

# Bounds of what an argument can make the package allocate, however small the image is.
LARGEST = 2**10  # Of factors, strides, kernels and numbers of levels.
MOST_CHANNELS = 2**16
MOST_CLASSES = 2**20  # And words, and answers.
LONGEST = 2**24  # Of the sides of an image that is to be made: float32 counts as far.
MOST_PIXELS = 2**30

Number = TypeVar("Number", int, float)
ImageShape = tuple[Union[int, None], Union[int, None], Union[int, None], int]


def integer(name: str, value: object, minimum: int | None, meaning: str = "", *, maximum: int | None = None) -> int:
    """Return `value` as an int between `minimum` and `maximum`, if those are not None; `meaning` completes the rule."""
    bound = "" if minimum is None else f" of at least {minimum}"
    rule = f"`{name}` must be an integer{bound}{meaning and ', ' + meaning}."
    try:
        result = operator.index(value)  # type: ignore[arg-type]
    except (TypeError, AttributeError):  # The latter from tensors of other dtypes.
        result = None
    if result is None or isinstance(value, bool) or (minimum is not None and result < minimum):
        raise ValueError(f"{rule} Received: {name}={value!r}")
    return at_most(name, result, maximum, meaning)


def at_most(name: str, value: Number, maximum: int | None, meaning: str = "") -> Number:
    """Return a number that is not above `maximum`, if that is not None."""
    if maximum is not None and value > maximum:
        raise ValueError(f"`{name}` must be at most {maximum}{meaning and ', ' + meaning}. Received: {name}={value!r}")
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


def number(name: str, value: object, *, above: float, meaning: str = "", maximum: int | None = None) -> float:
    """Return `value` as a finite float greater than `above`, and not above `maximum`, if that is not None."""
    result = _finite(value)
    if not result > above:
        rule = f"`{name}` must be a finite number greater than {above:g}{meaning and ', ' + meaning}."
        raise ValueError(f"{rule} Received: {name}={value!r}")
    return at_most(name, result, maximum, meaning)


def at_least(name: str, value: object, minimum: float, meaning: str = "") -> float:
    """Return `value` as a finite float of at least `minimum`; `meaning` completes the rule."""
    result = _finite(value)
    if not result >= minimum:
        rule = f"`{name}` must be a finite number of at least {minimum:g}{meaning and ', ' + meaning}."
        raise ValueError(f"{rule} Received: {name}={value!r}")
    return result


def _finite(value: object) -> float:
    """Return `value` as a float, NaN where it is not one finite number."""
    try:
        result = math.nan if isinstance(value, (bool, str)) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    return result if math.isfinite(result) else math.nan


def both(value: object, check: Callable[[object], Number]) -> tuple[Number, Number]:
    """Return one thing or two, each checked, as two: for the rows and for the columns."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    values = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value, value)
    rows, columns = map(check, values)
    return rows, columns


def is_tensor(value: object) -> bool:
    """Tell a tensor or a variable, TensorFlow's or Keras's, whose value may change, from a value that is known now."""
    return hasattr(value, "dtype") and not isinstance(value, (np.generic, np.ndarray))


def flag(name: str, value: object) -> bool:
    """Return `value`, which must be True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}")
    return value


def one_of(name: str, value: object, options: Collection[str | None]) -> str:
    """Return `value`, which must be one of the names in `options`."""
    if not isinstance(value, str) or value not in options:
        listed = ", ".join(repr(option) for option in options)
        raise ValueError(f"`{name}` must be one of {listed}. Received: {name}={value!r}")
    return value


def num_levels(value: object, name: str = "num_levels", meaning: str = "") -> int:
    """Return the length of a pyramid."""
    return integer(name, value, 1, meaning or "the length of the list that is returned", maximum=LARGEST)


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


def phase(value: object, scale_factor: float | None = 1.0) -> float:
    """Return where sample 0 of a level sits, in samples of the level before it; 0 where `scale_factor` is None."""
    result = _finite(value)
    if math.isnan(result):
        raise ValueError(
            "`phase` must be a finite number, where sample 0 of a level sits in samples of the level before it. "
            f"Received: phase={value!r}"
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


def temperature(value: object) -> float:
    """Return how soft a choice is."""
    return number("temperature", value, above=0, meaning="the smaller, the harder")


def data_format(value: object) -> str:
    """Return "channels_last", the only order of axes the package works in."""
    if value != "channels_last":
        raise ValueError(
            "`data_format` must be 'channels_last': images are [batch, height, width, channels]. For images of shape "
            "[batch, channels, height, width] put keras.layers.Permute((2, 3, 1)), or tf.transpose(images, "
            f"[0, 2, 3, 1]), in front. Received: data_format={value!r}"
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
    shape = tf.TensorShape(value)
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
    shape = tuple(value) if isinstance(value, (list, tuple)) else ()
    known = [side for side in (shape if len(shape) == 3 and shape[2] is not None else [0]) if side is not None]
    if not all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in known):
        raise ValueError(
            "`input_shape` must be (height, width, channels), of at least 1 each; sides that vary are None. "
            f"Received: input_shape={value!r}"
        )
    return shape


def images(value: Any, name: str = "images") -> tf.Tensor:
    """Return `value` as a floating tensor [batch, height, width, channels]."""
    tensor = tf.convert_to_tensor(value)
    floating(name, tensor.dtype)
    image_shape(name, tensor.shape)
    return tensor


def levels(values: object, scale_factor: float | None, *, exact: bool = False) -> list[tf.Tensor]:
    """Return levels as tensors; raise unless their dtypes are one and, for a `scale_factor`, their sizes follow it.

    With `exact`, sides are rounded up, as those of `pyr_down`.
    """
    tensors = [images(level, f"levels[{k}]") for k, level in enumerate(level_list(values))]
    dtypes = [level.dtype.name for level in tensors]
    if len(set(dtypes)) > 1:
        raise ValueError(f"`levels` must be of one dtype. Received: dtypes {dtypes}, finest first")
    if scale_factor is not None:
        level_sizes([level.shape for level in tensors], scale_factor, exact=exact)
    return tensors


def level_list(value: object, name: str = "levels") -> list:
    """Return `value`, a list or dict of at least one thing (tensors, shapes), finest first, as a list."""
    if isinstance(value, Mapping):
        _finest_first(value, name)
        value = list(value.values())
    if not isinstance(value, (list, tuple)) or not value:
        got = f"{name}=[]" if isinstance(value, (list, tuple)) else f"{name} of type {type(value).__name__}"
        raise ValueError(f"`{name}` must be a list of at least one level, finest first. Received: {got}")
    return list(value)


def _finest_first(levels: Mapping, name: str) -> None:
    """Raise if a level of a dict is larger than the one before it: its keys may have been sorted."""
    shapes = {key: tuple(tf.TensorShape(getattr(level, "shape", level))) for key, level in levels.items()}
    sides = {key: shape[1:3] for key, shape in shapes.items() if len(shape) == 4}
    for (finer, n), (coarser, m) in itertools.pairwise(sides.items()):
        if any(k is not None and j is not None and j > k for k, j in zip(n, m)):
            raise ValueError(
                f"`{name}` must be finest first, and a dict is read in its own order. TensorFlow and Keras sort the "
                f"keys of some dicts, 'P10' before 'P3': pass a list instead. Received: {finer!r} of sides {n}, then "
                f"{coarser!r} of sides {m}"
            )


def level_shapes(shapes: Any, name: str = "levels") -> list[ImageShape]:
    """Return the shapes of a list or dict of batches of images, finest first, as tuples."""
    shapes = level_list(shapes, name) if isinstance(shapes, Mapping) else shapes
    if isinstance(shapes, tf.TensorShape) or not all(isinstance(s, (list, tuple, tf.TensorShape)) for s in shapes):
        raise ValueError(
            f"`{name}` must be a list of levels, finest first. Received: one tensor of shape {tuple(shapes)}"
        )
    return [image_shape(f"{name}[{k}]", shape) for k, shape in enumerate(level_list(shapes, name))]


def same_channels(shapes: Sequence[Sequence[int | None]], name: str = "levels", because: str = "") -> None:
    """Raise unless all levels have as many channels as the first; `because` names the argument that asks for it."""
    channels = [shape[3] for shape in shapes]
    if len(set(channels)) > 1:
        rule = f"`{name}` must have equal numbers of channels{because and ', since ' + because}."
        raise ValueError(f"{rule} Received: channels {channels}, finest first")


def level_sizes(
    shapes: Sequence[Sequence[int | None]], factor: float | None, *, exact: bool = False, cure: str = ""
) -> None:
    """Raise unless each known side is ceil(n / factor) or, unless `exact`, floor(n / factor) of the side n before it.

    Where the factor is None, no side may be larger than the one before. `cure` says what takes levels of other sizes.
    """
    for k, (finer, coarser) in enumerate(zip(shapes[:-1], shapes[1:])):
        for n, m in zip(finer[1:3], coarser[1:3]):
            if n is None or m is None or _follows(n, m, factor, exact):
                continue
            sides = [tuple(shape[1:3]) for shape in shapes]
            raise ValueError(
                f"{level_rule(factor, exact)}: levels[{k + 1}] does not follow levels[{k}]."
                f"{cure if m <= n and factor is not None else ''} "
                f"Received: sides {sides}, scale_factor={factor if factor is None else f'{factor:g}'}"
            )


def level_rule(factor: float | None, exact: bool = False) -> str:
    """Return what `level_sizes` asks for, as an error says it."""
    rounded = "ceil(n / scale_factor)" if exact else "n / scale_factor, rounded up or down"
    if factor is None:
        return "`levels` must be finest first, no side larger than that of the level before it"
    return f"`levels` must be finest first, each side {rounded}, for the side n of the level before it"


def _follows(n: int, m: int, factor: float | None, exact: bool) -> bool:
    if factor is None:
        return m <= n
    return m == _sizes.level_size(n, factor) or (not exact and m == _sizes.rounded_down(n, factor))
