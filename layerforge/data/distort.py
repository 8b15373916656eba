"""Random changes of one image after the other: crops of another size, rotations, colours. Pillow makes them.

What happens to a sample is a function of (seed, epoch, sample), as in data/augment.py.

Source     the meaning of RandomResizedCrop, RandomRotation and ColorJitter of torchvision.transforms
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays.philox import MASK, philox4x32, stream_key
from ..config.augmentation import Augment, ColorJitter, RandomResizedCrop
from ..schema.errors import ConfigError
from .image_form import pillow, resample
from .lazy_images import LazyImages

ATTEMPTS = 10  # pieces of random shape that are tried before the middle is taken
CROP, TURN, JITTER = 0, 2 * ATTEMPTS + 2, 2 * ATTEMPTS + 3  # where the numbers for each begin
NUMBERS = 32  # random words per sample: eight Philox blocks
CHANGES = ("brightness", "contrast", "saturation", "hue")


def uniform_words(seed: int, stream: str, epoch: int, samples: np.ndarray, count: int) -> np.ndarray:
    """Numbers in [0, 1) (samples, count), `count` a multiple of four: a function of seed, stream, epoch and sample."""
    sample, blocks = samples.astype(np.uint64)[:, None], np.arange(count // 4, dtype=np.uint64)
    epochs = np.full((1, 1), epoch & MASK, np.uint64)
    counter = [blocks[None], sample & np.uint64(MASK), epochs, sample >> np.uint64(32)]
    words = np.stack(philox4x32(np, counter, stream_key(seed, stream)), axis=-1)
    return words.reshape(len(samples), count) * 2.0**-32


class Distorter:
    """The changes that `augment` asks for one by one, for bytes (N, 1 or 3, H, W).

    shape   (C, H, W) of the samples

    Errors   ConfigError for samples that are no such images
    """

    def __init__(self, augment: Augment, shape: tuple[int, ...], dtype: np.dtype, seed: int) -> None:
        if dtype != np.uint8 or shape[0] not in (1, 3):
            message = f"random_resized_crop, rotation and color_jitter take gray or coloured bytes, not {dtype} {shape}"
            raise ConfigError(f"augment: {message}", place=augment.place, hint="use random_crop, shift and flip")
        pillow()
        self.augment = augment
        crop = augment.random_resized_crop
        self.size = (crop.size if crop else None) or (shape[1], shape[2])
        self.seed = seed

    def __call__(self, array: np.ndarray | LazyImages, epoch: int, samples: np.ndarray) -> np.ndarray:
        """The changed images (n, C, h, w) of the samples (n,)."""
        change = Distortion(self.augment, self.size, uniform_words(self.seed, "distort", epoch, samples, NUMBERS))
        if isinstance(array, LazyImages):
            return array.read(samples, change)
        images = array[samples]
        out = np.empty((*images.shape[:2], *self.size), np.uint8)
        for position, image in enumerate(images):
            pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
            changed = np.asarray(change(position, pillow().fromarray(pixels)))
            out[position] = changed if changed.ndim == 2 else changed.transpose(2, 0, 1)
        return out


class Distortion:
    """The changes of the images of a batch (`LazyImages.Change`).

    draws   (n, NUMBERS) in [0, 1)
    """

    def __init__(self, augment: Augment, size: tuple[int, int], draws: np.ndarray) -> None:
        self.augment = augment
        self.size = size
        self.whole = augment.random_resized_crop is not None
        self.draws = draws

    def __call__(self, position: int, image: Any) -> Any:
        augment, draws = self.augment, self.draws[position]
        if augment.random_resized_crop is not None:
            wide, high = image.size
            left, top, width, height = piece(augment.random_resized_crop, wide, high, draws[CROP:TURN])
            image = image.crop((left, top, left + width, top + height))
            size = self.size[::-1]
            if image.size != size:
                image = image.resize(size, resample(augment.random_resized_crop.interpolation))
        if augment.rotation is not None:
            angle = _within(augment.rotation.degrees, draws[TURN])
            image = image.rotate(angle, resample(augment.rotation.interpolation))
        if augment.color_jitter is not None:
            image = jittered(image, augment.color_jitter, draws[JITTER : JITTER + 2 * len(CHANGES)])
        return image


def _within(ends: tuple[float, float], draw: float) -> float:
    return float(ends[0] + (ends[1] - ends[0]) * draw)


def piece(crop: RandomResizedCrop, width: int, height: int, draws: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width and height of a piece of an image: random area and shape; the middle where none fits."""
    logs = math.log(crop.ratio[0]), math.log(crop.ratio[1])
    for attempt in range(ATTEMPTS):
        area = width * height * _within(crop.scale, draws[2 * attempt])
        ratio = math.exp(_within(logs, draws[2 * attempt + 1]))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = (int(draw * (room + 1)) for draw, room in zip(draws[-2:], (width - w, height - h), strict=True))
            return left, top, w, h
    w, h = width, height
    if width / height < crop.ratio[0]:
        h = max(1, round(width / crop.ratio[0]))
    elif width / height > crop.ratio[1]:
        w = max(1, round(height * crop.ratio[1]))
    return (width - w) // 2, (height - h) // 2, w, h


def jittered(image: Any, jitter: ColorJitter, draws: np.ndarray) -> Any:
    """An image in other colours; `draws`: a factor for each of CHANGES, and their order."""
    from PIL import ImageEnhance

    enhancers = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast}
    if image.mode != "L":  # grey has no colours
        enhancers["saturation"] = ImageEnhance.Color
    for number in np.argsort(draws[len(CHANGES) :], kind="stable"):
        name, draw = CHANGES[number], draws[number]
        most = getattr(jitter, name)
        if most and name in enhancers:
            image = enhancers[name](image).enhance(_within((max(0.0, 1 - most), 1 + most), draw))
        elif most and name == "hue" and image.mode != "L":
            image = turned_hue(image, _within((-most, most), draw))
    return image


def turned_hue(image: Any, part: float) -> Any:
    """An RGB image whose hues are moved by a part of the circle of colours."""
    hue, saturation, value = image.convert("HSV").split()
    moved = np.asarray(hue) + np.uint8(int(part * 255) % 256)  # modulo 256
    return pillow().merge("HSV", (pillow().fromarray(moved), saturation, value)).convert("RGB")
