"""Blending: join two photographs, fuse an exposure bracket, and stack two photographs of different focus.

Each is one function of `tfpyramid.ops` on photographs of scikit-image, and each has a figure:

- `blend.png`: `ops.blend` joins the sky of one photograph with the stars of another, with few and with many levels;
- `exposure_fusion.png`: `ops.exposure_fusion` merges five exposures. They are made from one photograph: its light is
  multiplied by powers of two, clipped and rounded to 8 bits;
- `focus_stack.png`: `ops.focus_stack` merges a photograph with a sharp foreground and one with a sharp background. They
  are made from a sharp photograph and its disparity: what is nearer than the median is sharp in the first one alone.

The example prints how large the steps at the seam are, which share of the pixels is neither dark nor bright, and the
PSNR of the focus stack. It takes some seconds and downloads nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import NamedTuple

import running

with running.imports("blending"):
    import numpy as np
    from matplotlib.figure import Figure
    from skimage import color, data, filters

    from tfpyramid import ops

STOPS = (-4, -2, 0, 2, 4)  # The exposures: light is multiplied by 2^stop.
GAMMA = 2.2
BLUR = 3.0  # The standard deviation of what is out of focus, in pixels.
NOISE = 2 / 255  # The standard deviation of the noise of a camera.
INK, PALE = "#1f2430", "#6b7280"

Panels = list[tuple[np.ndarray, str]]


class Result(NamedTuple):
    title: str
    panels: Panels
    columns: int
    numbers: dict[str, float]


def main() -> None:
    options = parse_options()
    options.output.mkdir(parents=True, exist_ok=True)
    numbers = {}
    for name, use in USES.items():
        result = use(np.random.default_rng(options.seed), 0.25 if options.quick else 1.0)
        numbers[name] = {key: round(value, 4) for key, value in result.numbers.items()}
        print(f"{name}: {', '.join(f'{key} {value:.4g}' for key, value in result.numbers.items())}")
        with running.written_aside(options.output / f"{name}.png") as path:
            draw(result).savefig(path)
    with running.written_aside(options.output / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nWritten to {options.output}: {', '.join(f'{name}.png' for name in USES)}, metrics.json")


def parse_options() -> argparse.Namespace:
    return running.parser(
        __doc__, output="blending_output", quick="use the upper left quarter of each side of the photographs"
    ).parse_args()


def blended(rng: np.random.Generator, share: float = 1.0) -> Result:
    """Join the stars of a deep field with the lower part of a photograph of a rocket."""
    rocket = photograph(data.rocket(), share)
    height, width = rocket.shape[:2]
    stars = photograph(data.hubble_deep_field(), 1.0)[:height, :width]
    # The seam is a diagonal.
    rows, columns = np.indices((height, width))
    mask = np.float32(rows / height + columns / width < 0.75)[:, :, np.newaxis]
    panels = [(stars, "a"), (rocket, "b"), (mask, "mask")]
    numbers = {}
    for levels in (1, 4, 8):
        y = ops.blend(stars[None], rocket[None], mask[None], num_levels=levels)[0].numpy()
        panels.append((y, f"num_levels={levels}"))
        numbers[f"step at the seam, {levels} levels"] = step_at(y, mask)
    return Result("ops.blend(a, b, mask)", panels, 3, numbers)


def step_at(image: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean difference in brightness of neighbours on either side of the seam."""
    grey = image.mean(axis=2)
    seam = mask[:, 1:, 0] != mask[:, :-1, 0]
    return float(np.abs(np.diff(grey, axis=1))[seam].mean())


def fused(rng: np.random.Generator, share: float = 1.0) -> Result:
    """Fuse exposures of a photograph, made from its light."""
    light = photograph(data.astronaut(), share) ** GAMMA
    exposures = []
    for stop in STOPS:
        seen = np.clip(light * 2.0**stop, 0, 1) ** (1 / GAMMA) + rng.normal(0, NOISE, light.shape)
        exposures.append(np.float32(np.rint(255 * np.clip(seen, 0, 1)) / 255))
    y = np.clip(ops.exposure_fusion([x[None] for x in exposures])[0], 0, 1)
    panels = [(x, f"{stop:+d} stops" if stop else "as photographed") for x, stop in zip(exposures, STOPS)]
    numbers = {f"at {stop:+d} stops": readable(x) for x, stop in zip(exposures, STOPS)}
    return Result("ops.exposure_fusion(images)", [*panels, (y, "fused")], 3, {**numbers, "fused": readable(y)})


def readable(image: np.ndarray) -> float:
    """Return the share of pixels that are neither very dark nor very bright."""
    grey = image.mean(axis=2)
    return float(np.mean((grey > 0.1) & (grey < 0.9)))


def stacked(rng: np.random.Generator, share: float = 1.0) -> Result:
    """Stack a photograph with a sharp foreground on one with a sharp background."""
    left, _, disparity = data.stereo_motorcycle()  # Missing values are infinite, and so count as near.
    sharp = photograph(left, share)
    disparity = disparity[: sharp.shape[0], : sharp.shape[1]]
    blurred = np.float32(filters.gaussian(sharp, BLUR, channel_axis=2))
    near = (disparity > np.median(disparity))[:, :, np.newaxis]
    inputs = [np.where(near, sharp, blurred), np.where(near, blurred, sharp)]
    results = {
        "foreground": inputs[0],
        "background": inputs[1],
        "mean": np.mean(inputs, axis=0),
        "focus stack": ops.focus_stack([x[None] for x in inputs])[0].numpy(),
    }
    numbers = {f"PSNR of {name}": psnr(x, sharp) for name, x in results.items()}
    panels = [(x, f"{name}: {psnr(x, sharp):.1f} dB") for name, x in results.items()]
    return Result("ops.focus_stack(images)", panels, 2, numbers)


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean(np.square(np.clip(image, 0, 1) - truth))))


def photograph(image: np.ndarray, share: float) -> np.ndarray:
    """Return a color image in [0, 1]: the upper left part, of a share of each side."""
    image = color.gray2rgb(image) if image.ndim == 2 else image
    height, width = (round(share * side) for side in image.shape[:2])
    return np.float32(image[:height, :width]) / 255


USES: dict[str, Callable[..., Result]] = {"blend": blended, "exposure_fusion": fused, "focus_stack": stacked}


def draw(result: Result, across: float = 1000) -> Figure:
    """Return a figure with the images in rows, each row `across` pixels wide."""
    height, width = result.panels[0][0].shape[:2]
    cell, gap, top, caption = across / result.columns, 16, 64, 26  # In pixels.
    tall = cell * height / width
    rows = -(-len(result.panels) // result.columns)
    page = 2 * gap + result.columns * (cell + gap), top + rows * (tall + caption + gap)
    figure = Figure(figsize=(page[0] / 100, page[1] / 100), dpi=100)
    figure.text(1.5 * gap / page[0], 1 - 40 / page[1], result.title, size=17, weight="bold", color=INK)
    for k, (image, text) in enumerate(result.panels):
        row, column = divmod(k, result.columns)
        x, y = 1.5 * gap + column * (cell + gap), top + row * (tall + caption + gap) + caption
        axes = figure.add_axes((x / page[0], 1 - (y + tall) / page[1], cell / page[0], tall / page[1]))
        axes.imshow(np.clip(image, 0, 1), cmap="gray", aspect="auto", vmin=0, vmax=1)
        axes.set_axis_off()
        axes.set_title(text, loc="left", size=12, color=PALE, pad=5)
    return figure


if __name__ == "__main__":
    running.run("blending", main)
