"""Checks of sizes that are given as one number for both axes, or as two."""

from __future__ import annotations

from tfpyramid._checks import LARGEST, pair, received

_RATIO = "the ratio of the sides of input and output"


def size_or_pair(
    name: str, value: object, minimum: int, meaning: str, *, maximum: int = LARGEST
) -> int | tuple[int, int]:
    """Return an int from `minimum` to `maximum`, or (rows, columns) if two were given that differ."""
    rows, columns = pair(name, value, minimum, f"{meaning}, or (rows, columns)", maximum=maximum)
    return rows if rows == columns else (rows, columns)


def strides(value: object, minimum: int = 1) -> int | tuple[int, int]:
    """Return the ratio of the sides of input and output, of at least `minimum` on one of the axes."""
    result = size_or_pair("strides", value, 1, _RATIO)
    if result == 1 < minimum:
        rule = f"`strides` must be an integer of at least {minimum}, {_RATIO}, on at least one axis."
        raise ValueError(f"{rule} {received('strides', value)}")
    return result
