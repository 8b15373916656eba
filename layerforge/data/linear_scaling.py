"""Bilinear scaling without antialiasing, on bytes, as OpenCV computes it in whole numbers.

    y[i] = (1 - f) x[s] + f x[s + 1]        s + f = (i + 1/2) size / wanted - 1/2, along each axis

Weights are multiples of 2⁻¹¹. An image whose sides are halved becomes the mean of each four pixels.

Source     resize with INTER_LINEAR of OpenCV 4 (resize.cpp)
"""

from __future__ import annotations

import numpy as np

ONE = 1 << 11  # the weight 1
TINY = float(np.finfo(np.float64).eps)


def scaled(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels (H, W) or (H, W, C) of bytes as (h, w) or (h, w, C)."""
    if pixels.shape[:2] == size:
        return pixels
    steps = [1 / (wanted / have) for have, wanted in zip(pixels.shape[:2], size, strict=True)]
    if all(abs(step - 2) < TINY for step in steps):
        wide = pixels.astype(np.uint16)
        return ((wide[::2, ::2] + wide[::2, 1::2] + wide[1::2, ::2] + wide[1::2, 1::2] + 2) >> 2).astype(np.uint8)
    left, share = places(pixels.shape[1], size[1], steps[1])
    inside = (left >= 0) & (left < pixels.shape[1] - 1)
    left, share = np.clip(left, 0, pixels.shape[1] - 1), np.where(inside, share, np.float32(0))
    right = np.minimum(left + 1, pixels.shape[1] - 1)
    low, high = (_like(weight, pixels, 1) for weight in weights(share))
    rows = pixels[:, left] * low + pixels[:, right] * high

    top, share = places(pixels.shape[0], size[0], steps[0])
    low, high = (_like(weight, pixels, 0) for weight in weights(share))
    above, below = (rows[np.clip(row, 0, len(rows) - 1)] >> 4 for row in (top, top + 1))
    return (((above * low >> 16) + (below * high >> 16) + 2) >> 2).astype(np.uint8)


def places(have: int, wanted: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """s and f of each pixel along an axis."""
    place = ((np.arange(wanted) + 0.5) * step - 0.5).astype(np.float32)
    whole = np.floor(place)
    return whole.astype(np.int64), place - whole


def weights(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 - f and f as multiples of 2⁻¹¹."""
    low, high = (np.rint(part * np.float32(ONE)).astype(np.int32) for part in (np.float32(1) - share, share))
    return low, high


def _like(weight: np.ndarray, pixels: np.ndarray, axis: int) -> np.ndarray:
    """Weights along an axis in the shape that broadcasts over pixels."""
    return weight.reshape([-1 if each == axis else 1 for each in range(pixels.ndim)])
