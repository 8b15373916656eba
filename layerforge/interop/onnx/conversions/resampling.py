"""Images in another size, or read at other places."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..exporting import Export, Value, exports
from .volumes import read_volume
from .windows import spatial


def resampled(w: Export, x: Value) -> Value:
    """Each axis of an image times its matrix: R x Qᵀ."""
    rows, cols = (w.layer.matrix(length, axis) for axis, length in enumerate(spatial(w, x)))
    for matrix, other in ((rows, None), (None, cols)):
        if matrix is not None and not identity(matrix):
            x = w.op("MatMul", matrix, x, dtype=x.dtype)
        if other is not None and not identity(other):
            x = w.op("MatMul", x, other.T)
    return x


def identity(matrix: np.ndarray) -> bool:
    """Whether a matrix leaves its axis as it is."""
    return np.array_equal(matrix, np.eye(*matrix.shape))


@exports("Upsample")
def upsample(w: Export, x: Value) -> Any:
    """Resize where that reads the same positions in float32; otherwise a matrix product along each axis."""
    layer, size = w.layer, spatial(w, x)
    counts = [n for n in w.tops[0].shape[2:] if isinstance(n, int)]
    scales = layer.scale_factor or [count / n for count, n in zip(counts, size, strict=True)]
    for axis, (n, count, scale) in enumerate(zip(size, counts, scales, strict=True)):
        if not np.allclose(resize_matrix(layer, n, count, scale), layer.matrix(n, axis), rtol=0, atol=1e-6):
            return resampled(w, x)
    linear = layer.mode == "bilinear"
    where = "align_corners" if layer.align_corners else "half_pixel" if linear else "asymmetric"
    told = {"mode": "linear" if linear else "nearest", "coordinate_transformation_mode": where}
    if not linear:
        told["nearest_mode"] = "floor"
    if layer.scale_factor is not None or all(scale == int(scale) for scale in scales):
        return w.op("Resize", x, None, np.array([1, 1, *scales]), **told)
    return w.op("Resize", x, None, None, w.shape(w.tops[0].shape), **told)


def resize_matrix(layer: Any, size: int, count: int, scale: float) -> np.ndarray:
    """What Resize makes of an axis, computed as it does: in float32. Zeros where it makes another number of it."""
    by, p = np.float32(scale), np.arange(count, dtype=np.float32)
    if layer.scale_factor is not None and int(np.float32(size) * by) != count:
        return np.zeros((count, size))
    if layer.mode == "nearest":
        source = np.floor(p / by)
    elif layer.align_corners:
        source = p * np.float32(size - 1) / np.float32(max(1, count - 1))
    else:
        source = np.maximum((p + np.float32(0.5)) / by - np.float32(0.5), 0)
    source = np.minimum(source, size - 1)
    return np.maximum(0, 1 - abs(source[:, None] - np.arange(size)))


@exports("GridSample")
def grid_sample(w: Export, x: Value, grid: Value) -> Any:
    """GridSample, which has volumes from opset 20 on: those by Gather of each neighbour."""
    layer = w.layer
    if x.ndim == 5:
        return read_volume(w, x, grid)
    told = {"mode": layer.mode, "padding_mode": layer.padding_mode, "align_corners": int(layer.align_corners)}
    return w.op("GridSample", x, grid, **told)
