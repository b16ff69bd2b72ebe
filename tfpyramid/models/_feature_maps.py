"""The feature maps of a functional model by their stride, found by following shapes through its graph."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

from tfpyramid._compat import graph_nodes, node_inputs, node_name, node_outputs, node_shapes, shape_tuple

# Images that are larger by a multiple of a stride have maps that are larger by exactly one sample per stride, whatever
# the padding. This is a multiple of every stride up to 10, and of 128. Only shapes are computed.
_GROWTH = 2**7 * 3**2 * 5 * 7


class FeatureMaps(NamedTuple):
    """The last feature map of each stride, finest first, and why a shape is unknown, if one is."""

    last: dict[Any, Any]
    problem: str


class _Map(NamedTuple):
    """A feature map: its tensor, its stride, its sides for the smaller images, and where it is in the graph."""

    tensor: Any
    stride: Any
    sides: tuple[int, int]
    place: int
    inputs: list[int]


def feature_maps(image: Any, outputs: Iterable[Any]) -> FeatureMaps:
    """Return the last feature map of each stride between an image and the outputs of a model.

    The last map of a stride is the last one that every path from the image to the outputs passes. A network whose
    layers skip each other everywhere has none, such as NASNet and U-Net. Then it is the last map of the stride that
    joins two maps, or the first if none does, followed by the layers that are its only reader. Maps that only pad their
    input are ignored.
    """
    nodes = graph_nodes(outputs)
    # A layer may require particular sides, such as even ones, so start from those that the model is made for.
    start = 0 if None not in shape_tuple(image.shape)[1:3] else _GROWTH
    small, problem = _shapes(nodes, image, start)
    large, _ = _shapes(nodes, image, start + _GROWTH)
    maps: dict[int, _Map] = {}
    for place, node in enumerate(nodes):
        for tensor in node_outputs(node):
            stride = _stride(small.get(id(tensor)), large.get(id(tensor)))
            if stride is not None:
                inputs = [id(each) for each in node_inputs(node)]
                maps[id(tensor)] = _Map(tensor, stride, small[id(tensor)][1:3], place, inputs)
    readers: dict[int, set[int]] = {}
    for place, node in enumerate(nodes):
        for tensor in node_inputs(node):
            readers.setdefault(id(tensor), set()).add(place)
    for tensor in outputs:
        readers.setdefault(id(tensor), set()).add(len(nodes))
    return FeatureMaps(_last(nodes, maps, readers), problem)


def _shapes(nodes: list, image: Any, growth: int) -> tuple[dict[int, tuple], str]:
    """Return the shapes of all tensors for larger images, by their `id`, and the first layer that fails."""
    batch, height, width, channels = shape_tuple(image.shape)
    sides = ((height or 0) + growth, (width or 0) + growth)
    shapes: dict[int, tuple] = {id(image): (batch, *sides, channels)}
    problem = ""
    for node in nodes:
        if id(node_outputs(node)[0]) in shapes or not all(id(each) in shapes for each in node_inputs(node)):
            continue
        try:
            found = node_shapes(node, shapes)
        except Exception as error:  # Any layer may refuse a size: a Dense after a Flatten accepts only one.
            reason = " ".join(str(error).split())[:200].rstrip(".")
            problem = problem or f"layer {node_name(node)!r} refuses images of {sides[0]} by {sides[1]}: {reason}"
            continue
        shapes.update({id(tensor): shape for tensor, shape in zip(node_outputs(node), found)})
    return shapes, problem


def _stride(small: tuple | None, large: tuple | None) -> Any:
    """Return the stride of a tensor, its strides if the two axes differ, or None if it is no feature map."""
    if small is None or large is None or len(small) != 4 or None in (*small[1:], *large[1:]):
        return None
    grown = [m - n for n, m in zip(small[1:3], large[1:3])]
    if min(grown) <= 0:
        return None
    rows, columns = (Fraction(_GROWTH, count) for count in grown)
    return _plain(rows) if rows == columns else (_plain(rows), _plain(columns))


def _plain(stride: Fraction) -> int | float:
    return int(stride) if stride.denominator == 1 else float(stride)


def _last(nodes: list, maps: dict[int, _Map], readers: dict[int, set[int]]) -> dict[Any, Any]:
    """Return the last map of each stride."""
    candidates: dict[Any, list[_Map]] = {}
    passed: dict[Any, _Map] = {}
    furthest = 0  # The last node that reads a tensor of the nodes so far.
    for place, node in enumerate(nodes):
        for tensor in node_outputs(node):
            found = maps.get(id(tensor))
            if found is not None and found.inputs and not _pads(found, maps):
                candidates.setdefault(found.stride, []).append(found)
                if furthest <= place:
                    passed[found.stride] = found
            furthest = max(furthest, *readers.get(id(tensor), {place}))
    last = {stride: passed.get(stride) or _last_join(each, maps, readers) for stride, each in candidates.items()}
    order = sorted(last, key=lambda stride: stride if isinstance(stride, tuple) else (stride, stride))
    return {stride: last[stride].tensor for stride in order}


def _pads(found: _Map, maps: dict[int, _Map]) -> bool:
    """Return whether a map is larger than a map of the same stride that it is computed from."""
    same = [maps[key].sides for key in found.inputs if key in maps and maps[key].stride == found.stride]
    return any(n > m for sides in same for n, m in zip(found.sides, sides))


def _last_join(candidates: list[_Map], maps: dict[int, _Map], readers: dict[int, set[int]]) -> _Map:
    """Return the last map of one stride that joins two, or the first map, and what is computed from that map alone."""

    def joins(found: _Map) -> bool:
        return len({key for key in found.inputs if key in maps and maps[key].stride == found.stride}) > 1

    last = next(filter(joins, reversed(candidates)), candidates[0])
    found = last
    following = {each.inputs[0]: each for each in maps.values() if len(set(each.inputs)) == 1}
    while len(readers.get(id(found.tensor), ())) == 1:
        after = following.get(id(found.tensor))
        if after is None or after.stride != last.stride:
            break
        last, found = (last if _pads(after, maps) else after), after
    return last
