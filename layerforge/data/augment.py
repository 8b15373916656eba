"""Random crops, shifts and flips of training images, a whole batch at once.

What happens to a sample is a function of (seed, epoch, sample): it depends neither on the batch that the sample is in
nor on threads.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..arrays.philox import MASK, philox4x32, stream_key
from ..config.augmentation import Augment
from ..schema.errors import ConfigError

NUMBERS = 8  # random words per sample: two Philox blocks, of which five words are used


class Augmenter:
    """The augmentation of images (C, H, W).

    Errors   ConfigError where the window of random_crop does not fit the padded image
    """

    def __init__(self, augment: Augment, shape: tuple[int, int, int], seed: int) -> None:
        self.flip = augment.flip
        self.shift = augment.shift
        crop = augment.random_crop
        self.padding = crop.padding if crop else (0, 0)
        self.size = (crop.size if crop else None) or shape[1:]
        # How many positions the window has in the padded image, per direction.
        self.room = tuple(
            have + 2 * pad - want + 1 for have, pad, want in zip(shape[1:], self.padding, self.size, strict=True)
        )
        if min(self.room) < 1:
            raise ConfigError(
                f"random_crop: a window of {self.size[0]} x {self.size[1]} does not fit an image of "
                f"{shape[1]} x {shape[2]} with padding {self.padding[0]}, {self.padding[1]}",
                place=crop.place if crop else None,
                hint="make size smaller or padding larger",
            )
        self._key = stream_key(seed, "augment")

    def draw(self, epoch: int, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Top and left edge of each sample's window in the image (n,), and whether it is mirrored (n,)."""
        sample, blocks = samples.astype(np.uint64)[:, None], np.arange(NUMBERS // 4, dtype=np.uint64)
        epochs = np.full((1, 1), epoch & MASK, np.uint64)
        counter = [blocks[None], sample & np.uint64(MASK), epochs, sample >> np.uint64(32)]
        words = np.stack(philox4x32(np, counter, self._key), axis=-1).reshape(len(samples), NUMBERS)

        def below(word: int, bound: int) -> np.ndarray:
            return (words[:, word] * np.uint64(bound) >> np.uint64(32)).astype(np.int64)

        top = below(0, self.room[0]) - self.padding[0] + below(1, 2 * self.shift + 1) - self.shift
        left = below(2, self.room[1]) - self.padding[1] + below(3, 2 * self.shift + 1) - self.shift
        return top, left, below(4, 2).astype(bool)

    def __call__(self, images: np.ndarray, epoch: int, samples: np.ndarray) -> np.ndarray:
        """Images (n, C, h, w) of the samples from their raw images (n, C, H, W); 0 where nothing was."""
        top, left, mirrored = self.draw(epoch, samples)
        images = self._windows(images, top, left)
        if self.flip is not None and mirrored.any():
            if images.base is not None or not images.flags.writeable:
                images = images.copy()
            images[mirrored] = (
                images[mirrored][..., ::-1] if self.flip == "horizontal" else images[mirrored][..., ::-1, :]
            )
        return images

    def _windows(self, images: np.ndarray, top: np.ndarray, left: np.ndarray) -> np.ndarray:
        rim_y, rim_x = self.padding[0] + self.shift, self.padding[1] + self.shift
        count, channels, height, width = images.shape
        if (rim_y, rim_x) == (0, 0) and self.size == (height, width):
            return images
        padded = np.zeros((count, channels, height + 2 * rim_y, width + 2 * rim_x), images.dtype)
        padded[:, :, rim_y : rim_y + height, rim_x : rim_x + width] = images
        windows = sliding_window_view(padded, self.size, axis=(2, 3))
        return windows[np.arange(count), :, top + rim_y, left + rim_x]
