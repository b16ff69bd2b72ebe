"""Checks of lists and dicts of levels, and of equal batch sizes. They complete `_checks`."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _sizes


def levels(values: object, scale_factor: float | None, *, exact: bool = False) -> list[tf.Tensor]:
    """Return levels as tensors, checked to have the same dtype and, if given, to follow a `scale_factor`.

    With `exact`, sides must be rounded up, as in `pyr_down`.
    """
    tensors = [_checks.images(level, f"levels[{k}]") for k, level in enumerate(level_list(values))]
    one_dtype(tensors, "levels")
    if scale_factor is not None:
        sizes_follow([level.shape for level in tensors], scale_factor, exact=exact)
    return tensors


def one_dtype(tensors: Sequence[tf.Tensor], name: str) -> None:
    """Raise `ValueError` unless all tensors of a list have the same dtype."""
    dtypes = [level.dtype.name for level in tensors]
    if len(set(dtypes)) > 1:
        raise ValueError(f"`{name}` must all have the same dtype. Received: {name} of dtypes {dtypes}, finest first")


def level_list(value: object, name: str = "levels") -> list:
    """Return a list or dict of at least one tensor or shape, finest first, as a list."""
    if isinstance(value, Mapping):
        _finest_first(value, name)
        value = list(value.values())
    if not isinstance(value, (list, tuple)) or not value:
        got = f"{name}=[]" if isinstance(value, (list, tuple)) else f"{name} of type {type(value).__name__}"
        raise ValueError(f"`{name}` must be a list of at least one level, finest first. Received: {got}")
    return list(value)


def _finest_first(levels: Mapping, name: str) -> None:
    """Raise `ValueError` if a level of a dict is larger than the one before it: the keys may have been sorted."""
    shapes = {key: tuple(tf.TensorShape(getattr(level, "shape", level))) for key, level in levels.items()}
    sides = {key: shape[1:3] for key, shape in shapes.items() if len(shape) == 4}
    for (finer, n), (coarser, m) in itertools.pairwise(sides.items()):
        if any(k is not None and j is not None and j > k for k, j in zip(n, m)):
            raise ValueError(
                f"`{name}` must be finest first. A dict is read in its own order, and TensorFlow and Keras sort the "
                f"keys of some dicts: 'P10' comes before 'P3'. Pass a list instead. "
                f"Received: {finer!r} with sides {n}, then {coarser!r} with sides {m}"
            )


def numbers(name: str, value: object, meaning: str, *, count: int | None = None) -> tuple[float, ...]:
    """Return a list of numbers from 0 to `GREATEST`: `count` of them, or 1 to `MOST_LEVELS`."""
    given = _checks.plain(value)
    lengths = range(1, _checks.MOST_LEVELS + 1) if count is None else [count]
    if not isinstance(given, (list, tuple)) or len(given) not in lengths:
        wanted = f"1 to {_checks.MOST_LEVELS}" if count is None else count
        raise ValueError(f"`{name}` must be a list of {wanted} numbers, {meaning}. {_checks.received(name, value)}")
    return tuple(_checks.at_least(name, each, 0, meaning) for each in given)


def level_shapes(shapes: Any, name: str = "levels") -> list[_checks.ImageShape]:
    """Return the shapes of a list or dict of batches of images, finest first, as tuples."""
    shapes = level_list(shapes, name) if isinstance(shapes, Mapping) else shapes
    if isinstance(shapes, tf.TensorShape) or not all(isinstance(s, (list, tuple, tf.TensorShape)) for s in shapes):
        raise ValueError(
            f"`{name}` must be a list of levels, finest first. Received: one tensor of shape {tuple(shapes)}"
        )
    checked = {f"{name}[{k}]": shape for k, shape in enumerate(level_list(shapes, name))}
    checked = {each: _checks.image_shape(each, shape) for each, shape in checked.items()}
    one_batch(checked)
    return list(checked.values())


def one_batch(shapes: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless known batch sizes are equal, for shapes [batch, ...] by the name of the argument."""
    sizes = {name: tuple(shape)[0] for name, shape in shapes.items()}
    if len({size for size in sizes.values() if size is not None}) > 1:
        raise ValueError(f"{batch_rule(sizes)} Received: batch sizes {list(sizes.values())} of {', '.join(sizes)}")


def batch_rule(names: Iterable[str]) -> str:
    """Return the rule of `one_batch`, as the text of an error."""
    arguments = dict.fromkeys(f"`{name.split('[')[0]}`" for name in names)
    return (
        f"{' and '.join(arguments)} must have the same batch size: samples are paired by index, without broadcasting."
    )


def same_channels(shapes: Sequence[Sequence[int | None]], name: str = "levels", because: str = "") -> None:
    """Raise `ValueError` unless all levels have the same number of channels; `because` completes the rule."""
    channels = [shape[3] for shape in shapes]
    if len(set(channels)) > 1:
        rule = f"`{name}` must all have the same number of channels{because and ', because ' + because}."
        raise ValueError(f"{rule} Received: channels {channels}, finest first")


def sizes_follow(
    shapes: Sequence[Sequence[int | None]],
    factor: float | None,
    *,
    exact: bool = False,
    unpadded: bool = True,
    advice: str = "",
) -> None:
    """Raise `ValueError` unless each known side is ceil(n / factor), for the side n of the level before it.

    Unless `exact`, floor(n / factor) is accepted too, and with `unpadded` any side down to `smallest_next`. If the
    factor is None, no side may be larger than the one before.
    `advice` tells the user what to do with levels of other sizes.
    """
    for k, (finer, coarser) in enumerate(zip(shapes[:-1], shapes[1:])):
        for n, m in zip(finer[1:3], coarser[1:3]):
            if n is None or m is None or _follows(n, m, factor, exact, unpadded):
                continue
            sides = [tuple(shape[1:3]) for shape in shapes]
            raise ValueError(
                f"{level_rule(factor, exact, unpadded)} levels[{k + 1}] breaks this rule."
                f"{advice if m <= n and factor is not None else ''} "
                f"Received: sides {sides}, scale_factor={factor if factor is None else f'{factor:g}'}"
            )


def level_rule(factor: float | None, exact: bool = False, unpadded: bool = True) -> str:
    """Return the rule of `sizes_follow`, as the text of an error."""
    if factor is None:
        return "`levels` must be finest first. No side may be larger than that of the level before it."
    rounded = "ceil(n / scale_factor)" if exact else "n / scale_factor, rounded up or down"
    less = (
        f", or up to {_sizes.UNPADDED} less (1, or at most a fifth),"
        if unpadded and not exact and _sizes.ratio(factor)[1] == 1
        else ","
    )
    return f"`levels` must be finest first. Each side must be {rounded}{less} for the side n of the level before it."


def _follows(n: int, m: int, factor: float | None, exact: bool, unpadded: bool) -> bool:
    if factor is None:
        return m <= n
    most = _sizes.level_size(n, factor)
    least = _sizes.smallest_next(n, factor) if unpadded else _sizes.rounded_down(n, factor)
    return (most if exact else least) <= m <= most
