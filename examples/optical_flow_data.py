"""Pairs of images with an exact flow, and the real pair of `optical_flow.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from skimage import data

TRAINING = (
    "immunohistochemistry",
    "hubble_deep_field",
    "brick",
    "gravel",
    "grass",
    "page",
    "text",
    "retina",
    "moon",
    "clock",
)
VALIDATION = ("rocket", "coins")
TEST = ("astronaut", "coffee", "chelsea", "camera")
SIZES = (1.0, 0.7, 0.5, 0.35)  # Patches are cut from smaller copies of the photographs, too.
MARGIN = 40  # Pixels around a patch that its flow can reach.
LONGEST = 14.0  # Longest common motion of a layer, in pixels.


class Pairs(NamedTuple):
    """Pairs of images [count, side, side, 3] from 0 to 1, the flow from the first to the second, and what is hidden."""

    first: np.ndarray
    second: np.ndarray
    flow: np.ndarray
    hidden: np.ndarray


def photograph(name: str) -> np.ndarray:
    """Return a photograph [height, width, 3] from 0 to 1."""
    image = np.asarray(getattr(data, name)())
    image = np.float32(image) / (255 if image.max() > 1 else 1)
    return np.stack([image] * 3, -1) if image.ndim == 2 else np.ascontiguousarray(image[..., :3])


def copies(names: Sequence[str], side: int) -> list[list[np.ndarray]]:
    """Return each photograph in several sizes, all large enough for patches of `side` pixels with their margins."""
    found = []
    for name in names:
        image = photograph(name)
        sizes = [(int(size * image.shape[1]), int(size * image.shape[0])) for size in SIZES]
        smaller = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for size in sizes]
        found.append([each for each in smaller if min(each.shape[:2]) >= side + 2 * MARGIN])
    return [each for each in found if each]


def pairs(photographs: list[list[np.ndarray]], count: int, side: int, rng: np.random.Generator) -> Pairs:
    """Return pairs of a moving photograph with moving cut-outs of other photographs before it.

    The second image is made first: cut-outs on a background. The first image reads each layer at p + flow(p), so the
    flow of the layer that is visible there is exact. A pixel is hidden if p + flow(p) is outside of the second image,
    or if another layer covers it there.
    """
    made = [_pair(photographs, side, rng) for _ in range(count)]
    return Pairs(*(np.stack(each) for each in zip(*made)))


def _pair(photographs: list[list[np.ndarray]], side: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    second, flow = _patch(photographs, side + 2 * MARGIN, rng), _motion(side, rng)
    first = _read(second, flow)
    layer_first, layer_second = np.zeros((side, side)), np.zeros(second.shape[:2], np.float32)
    for layer in range(1, 1 + rng.integers(0, 6)):
        patch, motion, mask = _patch(photographs, side + 2 * MARGIN, rng), _motion(side, rng), _shape(side, rng)
        moved = _read(mask, motion)
        first += moved[..., None] * (_read(patch, motion) - first)
        second += mask[..., None] * (patch - second)
        flow = np.where(moved[..., None] > 0.5, motion, flow)
        layer_first[moved > 0.5] = layer
        layer_second[mask > 0.5] = layer
    covered = _read(layer_second, flow, cv2.INTER_NEAREST) != layer_first
    inner = slice(MARGIN, MARGIN + side)
    return np.clip(first, 0, 1), np.clip(second[inner, inner], 0, 1), flow, covered | leaves(flow)


def _patch(photographs: list[list[np.ndarray]], side: int, rng: np.random.Generator) -> np.ndarray:
    """Return the patch with the most contrast of three, turned, mirrored, and with other colors."""
    sizes = photographs[rng.integers(len(photographs))]
    image = sizes[rng.integers(len(sizes))]
    corners = rng.integers(0, np.array(image.shape[:2]) - side + 1, (3, 2))
    y, x = max(corners, key=lambda corner: np.std(image[corner[0] :: 4, corner[1] :: 4, 1][: side // 4, : side // 4]))
    patch = np.rot90(image[y : y + side, x : x + side], rng.integers(4))[:, :: rng.choice([-1, 1])]
    gain = np.float32(rng.uniform(0.6, 1, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(0.6, 1)))
    return patch * gain + np.float32(rng.random() * (1 - gain.max()))


def _motion(side: int, rng: np.random.Generator) -> np.ndarray:
    """Return a smooth random flow [side, side, 2], (dx, dy) in pixels: a shift, a linear map and waves."""
    angle, length = rng.uniform(0, 2 * np.pi), LONGEST * rng.uniform(0, 1) ** 1.5
    at = np.linspace(-side / 2, side / 2, 4)
    grid = np.stack(np.meshgrid(at, at), -1) @ rng.normal(0, 0.04, (2, 2))
    grid += rng.uniform(0, 2) * rng.normal(0, 1, (4, 4, 2)) + length * np.array([np.cos(angle), np.sin(angle)])
    flow = cv2.resize(np.float32(grid), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(flow, 2 - MARGIN, MARGIN - 2)


def _shape(side: int, rng: np.random.Generator) -> np.ndarray:
    """Return the mask of a random shape somewhere on a patch with its margins, from 0 to 1."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = 1 + sum(rng.normal(0, 0.25 / k) * np.cos(k * angles + rng.uniform(0, 7)) for k in (1, 2, 3))
    stretch = side * rng.uniform(0.08, 0.3) * np.exp(rng.normal(0, 0.4) * np.array([1, -1]))
    points = (
        MARGIN + rng.uniform(0, side, 2) + stretch * np.stack([np.cos(angles), np.sin(angles)], -1) * radius[:, None]
    )
    mask = np.zeros((side + 2 * MARGIN, side + 2 * MARGIN), np.float32)
    cv2.fillPoly(mask, [np.int32(points * 16)], 1.0, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask, (0, 0), 0.6)


def _read(patch: np.ndarray, flow: np.ndarray, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32) + MARGIN
    return cv2.remap(patch, x + flow[..., 0], y + flow[..., 1], interpolation)


def turned(found: Pairs, side: int, rng: np.random.Generator) -> Pairs:
    """Return a crop of each pair, mirrored and transposed at random, with the flow that this makes."""
    count, whole = found.first.shape[:2]
    made = []
    for k in range(count):
        y, x = rng.integers(0, whole - side + 1, 2)
        crop = [np.asarray(each[k, y : y + side, x : x + side], np.float32) for each in found]
        crop[3] = np.maximum(crop[3], leaves(crop[2]))
        for axis in (0, 1):
            if rng.random() < 0.5:
                crop = [np.flip(each, axis) for each in crop]
                crop[2] = crop[2] * np.float32([1, -1] if axis == 0 else [-1, 1])
        if rng.random() < 0.5:
            crop = [np.swapaxes(each, 0, 1) for each in crop]
            crop[2] = crop[2][..., ::-1]
        colors = rng.permutation(3)
        made.append([crop[0][..., colors], crop[1][..., colors], crop[2], crop[3] > 0])
    return Pairs(*(np.stack(each) for each in zip(*made)))


def leaves(flow: np.ndarray) -> np.ndarray:
    """Return whether a flow [height, width, 2] points out of the image, for each pixel."""
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width]
    target = np.stack([x, y], -1) + flow
    return ((target < 0) | (target > [width - 1, height - 1])).any(-1)


def motorcycle(step: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the two views [height, width, 3], at 1 / `step` of their size, and the flow; NaN where it is unknown."""
    left, right, disparity = data.stereo_motorcycle()
    left, right = (np.float32(view) / 255 for view in (left, right))
    disparity = np.where(np.isfinite(disparity), disparity, np.nan).astype(np.float32)
    if step > 1:
        size = left.shape[1] // step, left.shape[0] // step
        left, right = (cv2.resize(view, size, interpolation=cv2.INTER_AREA) for view in (left, right))
        # A mean over known and unknown pixels is unknown. Sizes are rounded down, so the ratio is that of the sides.
        disparity = cv2.resize(disparity, size, interpolation=cv2.INTER_NEAREST) * size[0] / 741
    return left, right, np.stack([-disparity, np.zeros_like(disparity)], -1)
