"""Checks of lists and dicts of levels, and of batches whose samples belong together, in the voice of `_checks`."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _sizes


def levels(values: object, scale_factor: float | None, *, exact: bool = False) -> list[tf.Tensor]:
    """Return levels as tensors; raise unless their dtypes are one and, for a `scale_factor`, their sizes follow it.

    With `exact`, sides are rounded up, as those of `pyr_down`.
    """
    tensors = [_checks.images(level, f"levels[{k}]") for k, level in enumerate(level_list(values))]
    one_dtype(tensors, "levels")
    if scale_factor is not None:
        sizes_follow([level.shape for level in tensors], scale_factor, exact=exact)
    return tensors


def one_dtype(tensors: Sequence[tf.Tensor], name: str) -> None:
    """Raise unless all tensors of a list have the dtype of the first."""
    dtypes = [level.dtype.name for level in tensors]
    if len(set(dtypes)) > 1:
        raise ValueError(f"`{name}` must be of one dtype. Received: {name} of dtypes {dtypes}, finest first")


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
    """Raise unless the known batch sizes among shapes [batch, ...], by the name of the argument, are equal."""
    sizes = {name: tuple(shape)[0] for name, shape in shapes.items()}
    if len({size for size in sizes.values() if size is not None}) > 1:
        raise ValueError(f"{batch_rule(sizes)} Received: batch sizes {list(sizes.values())} of {', '.join(sizes)}")


def batch_rule(names: Iterable[str]) -> str:
    """Return what `one_batch` requires, as an error says it."""
    arguments = dict.fromkeys(f"`{name.split('[')[0]}`" for name in names)
    return f"{' and '.join(arguments)} must have one batch size: samples are paired by index, and none is repeated."


def same_channels(shapes: Sequence[Sequence[int | None]], name: str = "levels", because: str = "") -> None:
    """Raise unless all levels have as many channels as the first; `because` names the argument that asks for it."""
    channels = [shape[3] for shape in shapes]
    if len(set(channels)) > 1:
        rule = f"`{name}` must have equal numbers of channels{because and ', since ' + because}."
        raise ValueError(f"{rule} Received: channels {channels}, finest first")


def sizes_follow(
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
    """Return what `sizes_follow` asks for, as an error says it."""
    rounded = "ceil(n / scale_factor)" if exact else "n / scale_factor, rounded up or down"
    if factor is None:
        return "`levels` must be finest first, no side larger than that of the level before it"
    return f"`levels` must be finest first, each side {rounded}, for the side n of the level before it"


def _follows(n: int, m: int, factor: float | None, exact: bool) -> bool:
    if factor is None:
        return m <= n
    return m == _sizes.level_size(n, factor) or (not exact and m == _sizes.rounded_down(n, factor))
