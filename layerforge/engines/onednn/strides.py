"""Strides as oneDNN is told of them: of which arrays it can be told, and what where NumPy leaves them open."""

from __future__ import annotations

import numpy as np


def layout(array: np.ndarray) -> list[int]:
    """The strides of an array in elements, a function of where its elements are stored and of nothing else.

    Those of axes of length 1 mean nothing to NumPy, which leaves in them whatever slicing and broadcasting made; oneDNN
    takes them for the layout, and compares them. Here such an axis is around all behind it, and in front around all.
    So it is in a stack of transposed matrices, too: around one axis alone, oneDNN's products read the wrong ones.
    A last one has stride 1, and so has the one before a last axis with gaps: a row is then the column of a matrix.
    """
    strides = [s // array.itemsize for s in array.strides]
    real = [i for i, n in enumerate(array.shape) if n > 1]
    whole = max((strides[i] * array.shape[i] for i in real), default=1)
    around = 1
    for i in reversed(range(array.ndim)):
        if array.shape[i] == 1:
            in_front, in_column = not real or i < real[0], i == array.ndim - 2 and strides[-1] > 1
            strides[i] = 1 if in_column else whole if in_front else around
        around = max(around, strides[i] * array.shape[i])
    return strides


def describable(array: np.ndarray) -> bool:
    """Whether oneDNN can be told where the elements are stored: aligned, no axis backwards, none of them repeated."""
    reach = array.itemsize
    for stride, n in sorted((s, n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride < reach or stride % array.itemsize:
            return False
        reach = stride * n
    return array.flags.aligned
