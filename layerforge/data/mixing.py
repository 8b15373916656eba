"""mixup and cutmix: each sample of a batch is mixed with its neighbour, and so are the probabilities of their classes.

    mixup    x = λ xᵢ + (1 - λ) xⱼ
    cutmix   x = xᵢ, but for a box of the area (1 - λ) H W, which is xⱼ's; λ is then the share that is left to xᵢ
    t = λ onehot(labelᵢ) + (1 - λ) onehot(labelⱼ)        λ ~ Beta(alpha, alpha), one for a batch; j = i - 1

Source     Zhang et al. 2018 (mixup), Yun et al. 2019 (CutMix); compare MixUp and CutMix of torchvision.transforms.v2
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ..arrays.philox import host_generator
from ..arrays.spec import Spec
from ..config.augmentation import Augment
from ..config.data_section import SOFT, is_image, label_of
from ..schema.errors import DataError


class Mixer:
    """Adds the blob `target` to batches, and mixes the samples of those of train.

    augment  None: nothing is mixed
    specs    of a batch's blobs, `target` among them
    """

    def __init__(self, augment: Augment | None, specs: Mapping[str, Spec], seed: int) -> None:
        self.augment = augment
        self.label = label_of(specs)
        self.classes = specs[SOFT].shape[0]
        self.images = [name for name, spec in specs.items() if is_image(spec)]
        self.mixed = [name for name, spec in specs.items() if spec.is_real and name != SOFT]
        self.seed = seed

    def __call__(self, blobs: dict[str, np.ndarray], epoch: int, samples: np.ndarray, dtype: str) -> None:
        """Put mixed blobs in the place of a batch's own, and `target` beside them."""
        if int(blobs[self.label].max()) >= self.classes or int(blobs[self.label].min()) < 0:
            message = f"augment: '{self.label}' has the class {blobs[self.label].max()}, classes says {self.classes}"
            raise DataError(message, hint="classes are counted from 0: make augment.classes larger")
        target = np.zeros((len(samples), self.classes), dtype)
        target[np.arange(len(samples)), blobs[self.label]] = 1
        blobs[SOFT] = target
        if self.augment is None:
            return
        uniform = _Uniform(self.seed, epoch, int(samples[0]))
        mixup, cutmix = self.augment.mixup, self.augment.cutmix
        if mixup is not None and (cutmix is None or uniform() < 0.5):
            share = beta(mixup, uniform)
            for name in self.mixed:
                blobs[name] = mixture(blobs[name], share)
        elif cutmix is not None:
            share = beta(cutmix, uniform)
            height, width = blobs[self.images[0]].shape[-2:]
            top, bottom, left, right = box(height, width, share, uniform)
            for name in self.images:
                mixed = blobs[name].copy()
                mixed[..., top:bottom, left:right] = np.roll(blobs[name][..., top:bottom, left:right], 1, axis=0)
                blobs[name] = mixed
            share = 1 - (bottom - top) * (right - left) / (height * width)
        blobs[SOFT] = mixture(target, share)


def mixture(array: np.ndarray, share: float) -> np.ndarray:
    """share a + (1 - share) times a's neighbour before."""
    kind = array.dtype.type
    return array * kind(share) + np.roll(array, 1, axis=0) * kind(1 - share)


def box(height: int, width: int, share: float, uniform: _Uniform) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a box of the area (1 - share) around a random pixel, cut off at the edges."""
    half = 0.5 * math.sqrt(1 - share)
    h, w = int(half * height), int(half * width)
    y, x = int(uniform() * height), int(uniform() * width)
    return max(0, y - h), min(height, y + h), max(0, x - w), min(width, x + w)


class _Uniform:
    """Numbers in (0, 1) from (seed, epoch, first sample of the batch)."""

    def __init__(self, seed: int, epoch: int, sample: int) -> None:
        self.bits = host_generator(seed, f"mix/{epoch}/{sample}").bit_generator

    def __call__(self) -> float:
        return (int(self.bits.random_raw() >> 11) + 0.5) * 2.0**-53


def beta(alpha: float, uniform: _Uniform) -> float:
    """A number from Beta(alpha, alpha), by rejection: the same in every version of NumPy.

    Source     Jöhnk 1964 for alpha <= 1, Cheng 1978 (algorithm BB) above
    """
    if alpha <= 1:
        while True:
            x, y = math.log(uniform()) / alpha, math.log(uniform()) / alpha
            largest = max(x, y)
            total = largest + math.log(math.exp(x - largest) + math.exp(y - largest))
            if total <= 0:  # x = u^(1/alpha), y = v^(1/alpha), accepted where x + y <= 1
                return math.exp(x - total)
    slope = alpha + math.sqrt(alpha)
    while True:
        u, v = uniform(), uniform()
        odds = math.log(u / (1 - u)) / math.sqrt(alpha)
        w = alpha * math.exp(min(odds, 700.0))
        if slope * odds - math.log(4) + 2 * alpha * math.log(2 * alpha / (alpha + w)) >= math.log(u * u * v):
            return w / (alpha + w)
