"""Digits: handwritten-looking digits that are drawn, not downloaded.

The set has MNIST's form (28 x 28 bytes, white on black, 60,000 + 10,000 samples), so that a configuration written for
MNIST runs on it, but its own difficulty: accuracies on it say nothing about MNIST.

A sample is a pure function of (seed, part, index). Its random numbers are Philox blocks addressed by the index, the
ink is summed in whole numbers below 2**24, where float32 is exact, and so the same bytes come out on every machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.philox import stream_key
from ..arrays.spec import Spec, index
from ..schema.params import param
from ..schema.registry import register_source
from .source import Source
from .strokes import MOST_POINTS, SPACING, Model, models

SIZE = 28
COUNTS = {"train": 60000, "test": 10000}
CHUNK = 2000  # samples drawn at a time: bounds the memory

HALF_HEIGHT = 9.4  # of an average digit, in pixels
SCALE = 0.2  # relative, of each direction
ROTATION = 0.34  # largest angle, in radians
SLANT = (-0.3, 0.6)  # dx/dy of an upright stroke
WOBBLE = 0.17  # of each control point, in the box of the stroke models
BEND = 0.22  # second-order distortion of the whole digit
SHIFT = 2.4  # pixels
INK = (0.9, 1.7)  # above 1 the middle of a stroke is fully white
NOISE = 36  # largest amplitude of the noise, in grey levels

SUBPIXELS = 16  # positions of a dot of ink per pixel
MARGIN = 8  # pixels around the image in which a dot may lie
RADII = np.linspace(0.62, 1.35, 16)  # of a dot: standard deviations in pixels
DOT = 255  # middle of a dot; DOT**2 times the dots of a digit stays below 2**24

NUMBERS = 2 * MOST_POINTS + 16  # 16-bit random numbers for the shape of one sample
SHAPE_BLOCKS = -(-NUMBERS // 16)  # a Philox block is four words of 64 bits
NOISE_BLOCKS = -(-SIZE * SIZE // 32)
BLOCKS = SHAPE_BLOCKS + NOISE_BLOCKS


@register_source
class Digits(Source):
    """Drawn digits in MNIST's form: blobs `image` (1, 28, 28) bytes and `label` 0 to 9.

    Only the samples that the split asks for are drawn (55,000 take some seconds).
    """

    parts = ("train", "test")
    class_names = tuple("0123456789")
    title = "Digits (synthetic digits)"

    seed: int = param(0, help="another seed gives another set", ge=0)

    def specs(self) -> dict[str, Spec]:
        return {"image": Spec((1, SIZE, SIZE)), "label": index((), 10)}

    def count(self, part: str) -> int:
        return COUNTS[part]

    def read(self, part: str, progress: Any = None) -> dict[str, np.ndarray]:
        return self.read_range(part, 0, COUNTS[part], progress)

    def read_range(self, part: str, start: int, stop: int, progress: Any = None) -> dict[str, np.ndarray]:
        images = np.empty((stop - start, 1, SIZE, SIZE), np.uint8)
        labels = np.empty(stop - start, np.uint8)
        for first in range(start, stop, CHUNK):
            last = min(first + CHUNK, stop)
            here = slice(first - start, last - start)
            images[here, 0], labels[here] = draw(self.seed, part, first, last)
        return {"image": images, "label": labels}


def random_words(seed: int, part: str, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform numbers in [0, 1) (n, NUMBERS) and noise bytes (n, 28, 28) of the samples start <= i < stop."""
    low, high = stream_key(seed, f"digits/{part}")
    generator = np.random.Philox(key=low | high << 32, counter=start * BLOCKS)
    words = generator.random_raw((stop - start) * BLOCKS * 4).astype("<u8").reshape(stop - start, BLOCKS * 4)
    shape, noise = np.split(words, [SHAPE_BLOCKS * 4], axis=1)
    uniform = np.ascontiguousarray(shape).view("<u2")[:, :NUMBERS] / 65536.0
    return uniform, np.ascontiguousarray(noise).view(np.uint8)[:, : SIZE * SIZE].reshape(-1, SIZE, SIZE)


def draw(seed: int, part: str, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28) and labels (n,) of the samples start <= i < stop, as bytes."""
    uniform, noise = random_words(seed, part, start, stop)
    known = models()
    labels = (uniform[:, 0] * 10).astype(np.uint8)
    ways = [[i for i, m in enumerate(known) if m.digit == digit] for digit in range(10)]
    chosen = np.array([ways[d][int(u * len(ways[d]))] for d, u in zip(labels, uniform[:, 1], strict=True)])
    levels = (uniform[:, 2] * len(RADII)).astype(np.int64)
    gains = (INK[0] + (INK[1] - INK[0]) * uniform[:, 3]) * GAINS[levels]

    ink = np.empty((stop - start, SIZE, SIZE), np.float32)
    for i, way in enumerate(known):
        mine = np.flatnonzero(chosen == i)
        if len(mine):
            ink[mine] = splat(place_dots(way, uniform[mine, 4:]), levels[mine])
    ink *= gains.astype(np.float32)[:, None, None]
    np.minimum(ink, 255, out=ink)
    strength = (uniform[:, 4] ** 2 * NOISE).astype(np.int16)[:, None, None]
    grain = (noise.astype(np.int16) - 128) * strength >> 7
    return np.clip(np.rint(ink).astype(np.int16) + grain, 0, 255).astype(np.uint8), labels


def place_dots(way: Model, uniform: np.ndarray) -> np.ndarray:
    """Where the ink of each sample lies, in pixels (n, P, 2), from 1 + 8 + 2K uniform numbers each.

    Control points wobble; the curve is bent, scaled, slanted, turned and shifted.
    """
    count = len(way.points)
    signed = 2 * uniform - 1
    turn, slant, wide, tall, bend_x, bend_y, right, down = signed[:, 1:9].T[:, :, None]
    wobble = signed[:, 9 : 9 + 2 * count].reshape(-1, count, 2)
    points = way.dots @ (way.points + WOBBLE * wobble)
    x, y = points[..., 0], points[..., 1]
    x, y = x + BEND * bend_x * y * y, y + BEND * bend_y * (x * x - x * y)
    x, y = x * (1 + SCALE * wide), y * (1 + SCALE * tall)
    x = x - y * (sum(SLANT) / 2 + (SLANT[1] - SLANT[0]) / 2 * slant)
    # A rotation from the tangent of half its angle: no library's sine, so the same bits everywhere.
    half = ROTATION / 2 * turn
    cos, sin = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    x, y = cos * x - sin * y, sin * x + cos * y
    middle = (SIZE - 1) / 2
    return np.stack([middle + SHIFT * right + HALF_HEIGHT * x, middle + SHIFT * down + HALF_HEIGHT * y], axis=-1)


def dot_table() -> np.ndarray:
    """Whole-number Gaussian weights over the 28 pixels of a row, by (radius, position of the dot)."""
    positions = np.arange((SIZE + 2 * MARGIN) * SUBPIXELS) / SUBPIXELS - MARGIN
    distance = np.arange(SIZE) - positions[:, None]
    weights = np.exp(-(distance**2) / (2 * RADII[:, None, None] ** 2))
    return np.rint(DOT * weights).astype(np.float32)


TABLE = dot_table()
# Dots of radius r, d pixels apart, add up to DOT² √(2π) r / d in the middle of a stroke.
GAINS = 255 / (DOT**2 * np.sqrt(2 * np.pi) * RADII / (SPACING * HALF_HEIGHT))


def splat(dots: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Ink (n, 28, 28) from dots (n, P, 2): a Gaussian is the product of its row and its column.

    ink[y, x] = Σₚ column[p, y] row[p, x]
    """
    positions = TABLE.shape[1]
    where = np.clip(np.rint((dots + MARGIN) * SUBPIXELS).astype(np.int64), 0, positions - 1)
    where += levels[:, None, None] * positions
    rows = TABLE.reshape(-1, SIZE).take(where, axis=0)
    return np.matmul(rows[:, :, 1].transpose(0, 2, 1), rows[:, :, 0])
