"""Images for bench_reconstruction.py: photographs, small text and smooth shading, gray, 0..1, in steps of 1 / 255.

Each function returns (training images [train, SIDE, SIDE, 1], held-out images [held_out, SIDE, SIDE, 1]).

* natural: crops of photographs of scikit-image. The left two thirds of each photograph are for training, the rest is
  held out.
* text: words in two fonts of matplotlib, 9 to 13 pixels high, black on white. The held-out pages and the training pages
  have no word in common.
* smooth: low-pass filtered noise (standard deviations of 2 to 12 pixels), a gradient, and a disc with a soft edge.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from skimage import color, data

SIDE = 64
PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "motorcycle", "rocket")
FONTS = ("DejaVuSans", "DejaVuSerif")
TRAIN_WORDS = """
    pyramid level kernel window sample filter border stride phase gain detail coarse finest blur sharp octave mirror
    river stone bridge market garden winter copper harbour ladder pencil forty thousand quickly never between under
    1984 3.14 (a+b) No. 12:30 50% B12 Zürich jumps fox vexed Monday HELLO [6] east, p. 217 & more; Why? J. Kowalczyk
""".split()
HELD_OUT_WORDS = """
    image photo letter grid wave band reflect learn train keep lose round clip edge pixel summer silver kitchen paper
    seven eleven always above 2026 42 x=7 A4 QED façade lazy dog, Friday WORLD {9} west. pp. 35 + less: Who! M. Quartz
""".split()

Split = tuple[np.ndarray, np.ndarray]


def natural(train: int, held_out: int, rng: np.random.Generator) -> Split:
    left, right = [], []
    for name in PHOTOGRAPHS:
        picture = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
        picture = in_steps(color.rgb2gray(picture) if picture.ndim == 3 else picture / 255)
        cut = picture.shape[1] * 2 // 3
        left.append(picture[:, :cut])
        right.append(picture[:, cut:])
    return crops(left, train, rng), crops(right, held_out, rng)


def crops(pictures: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    return np.stack([crop(pictures[k % len(pictures)], rng) for k in range(count)])[..., None]


def crop(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    y, x = (rng.integers(side - SIDE + 1) for side in picture.shape)
    return picture[y : y + SIDE, x : x + SIDE]


def text(train: int, held_out: int, rng: np.random.Generator) -> Split:
    pages = [
        np.stack([page(words, rng) for _ in range(n)])[..., None]
        for words, n in ((TRAIN_WORDS, train), (HELD_OUT_WORDS, held_out))
    ]
    return pages[0], pages[1]


def page(words: list[str], rng: np.random.Generator) -> np.ndarray:
    folder = Path(matplotlib.get_data_path(), "fonts/ttf")
    size = int(rng.integers(9, 14))
    font = ImageFont.truetype(str(folder / f"{rng.choice(FONTS)}.ttf"), size)
    paper = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(paper)
    y = -int(rng.integers(size))
    while y < SIDE:
        pen.text((-int(rng.integers(20)), y), " ".join(rng.choice(words, 12)), fill=0, font=font)
        y += size + int(rng.integers(2, 5))
    return np.asarray(paper, np.float32) / 255


def smooth(train: int, held_out: int, rng: np.random.Generator) -> Split:
    shades = np.stack([shade(rng) for _ in range(train + held_out)])[..., None]
    return shades[:train], shades[train:]


def shade(rng: np.random.Generator) -> np.ndarray:
    sigma = np.exp(rng.uniform(np.log(2), np.log(12)))
    noise = ndimage.gaussian_filter(rng.standard_normal((2 * SIDE, 2 * SIDE)), sigma, mode="wrap")[:SIDE, :SIDE]
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    slope = rng.uniform(-0.3, 0.3, 2)
    centre, radius, width = rng.uniform(-1, 1, 2), rng.uniform(0.3, 1), rng.uniform(2, 6) / SIDE
    disc = 1 / (1 + np.exp((np.hypot(y - centre[0], x - centre[1]) - radius) / width))
    waves = noise / noise.std() * rng.uniform(0.03, 0.12)
    return in_steps(rng.uniform(0.3, 0.7) + waves + slope[0] * y + slope[1] * x + rng.uniform(-0.2, 0.2) * disc)


def in_steps(picture: np.ndarray) -> np.ndarray:
    """Round an image to the values of 8 bits."""
    return (np.round(picture.clip(0, 1) * 255) / 255).astype(np.float32)


KINDS = {"natural": natural, "text": text, "smooth": smooth}
