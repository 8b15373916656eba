"""Folders of small images, made with Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COLOURS = {"cat": (200, 60, 40), "dog": (40, 80, 200)}


def picture(seed: int, height: int, width: int, colour: tuple[int, ...] = (128, 128, 128)) -> Image.Image:
    """A picture of one colour with noise on it."""
    noise = np.random.default_rng(seed).normal(0, 20, (height, width, 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def write_folder(folder: Path, count: int, kind: str = "jpg", **options: Any) -> list[Path]:
    """Pictures of different sizes in a subfolder for each class; returns their paths in order."""
    paths = []
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            path = folder / name / f"{number}.{kind}"
            picture(number, 16 + 3 * number, 40 - 2 * number, colour).save(path, **options)
            paths.append(path)
    return paths
