"""Images in another size, or read at other places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..exporting import Export, Value, exports
from .volumes import read_volume
from .windows import spatial


def resampled(w: Export, x: Value) -> Value:
    """Each axis of an image times its matrix: R x Qᵀ."""
    size = spatial(w, x)
    rows, columns = (w.layer.matrix(length, axis).astype(np.float32) for axis, length in enumerate(size))
    if not identity(rows):
        x = w.op("MatMul", rows, x)
    return x if identity(columns) else w.op("MatMul", x, columns.T)


def identity(matrix: np.ndarray) -> bool:
    """Whether a matrix leaves its axis as it is."""
    return np.array_equal(matrix, np.eye(*matrix.shape))


@exports("Upsample")
def upsample(w: Export, x: Value) -> Any:
    """Resize where that reads the same positions in float32; otherwise a matrix product along each axis."""
    layer, size = w.layer, spatial(w, x)
    counts = [n for n in w.tops[0].shape[2:] if isinstance(n, int)]
    wanted = layer.scale_factor or [count / n for count, n in zip(counts, size, strict=True)]
    scales = [float32_scale(layer, axis, *one) for axis, one in enumerate(zip(size, counts, wanted, strict=True))]
    if None in scales:
        return resampled(w, x)
    linear = layer.mode == "bilinear"
    where = "align_corners" if layer.align_corners else "half_pixel" if linear else "asymmetric"
    told: dict[str, Any] = {"mode": "linear" if linear else "nearest", "coordinate_transformation_mode": where}
    if not linear:
        told["nearest_mode"] = "floor"
    if by_scale(layer, scales):
        return w.op("Resize", x, None, np.array([1, 1, *scales]), **told)
    return w.op("Resize", x, None, None, w.shape(w.tops[0].shape), **told)


def by_scale(layer: Any, scales: Sequence[float | None]) -> bool:
    """Whether Resize is told scales; otherwise it is told lengths. Whole scales are right in any case."""
    return layer.scale_factor is not None or all(scale == round(scale or 0) for scale in scales)


def float32_scale(layer: Any, axis: int, size: int, count: int, wanted: float) -> float | None:
    """A float32 next to a scale with which Resize makes `count` positions of an axis and reads the right ones."""
    near, rounding = np.float32(wanted), 2 * size * np.finfo(np.float32).eps  # of a place on the axis
    for scale in (near, np.nextafter(near, np.float32(np.inf))):
        lengths = int(np.float32(size) * scale), int(size * float(scale))  # in float32, and as onnx.checker has it
        right = layer.scale_factor is None or lengths == (count, count)
        if right and (abs(resized(layer, size, count, scale) - layer.matrix(size, axis)) <= rounding).all():
            return float(scale)
    return None


def places(how: str, scale: np.float32, size: int, count: int) -> np.ndarray:
    """Where on an axis of `size` positions Resize reads each of `count`, as it computes that: in float32.

    how   its coordinate_transformation_mode. Errors: KeyError for one that is not in PLACES
    """
    return PLACES[how](np.arange(count, dtype=np.float32), np.float32(scale), np.float32(size), np.float32(count))


def _half_pixel(p: np.ndarray, scale: np.float32) -> np.ndarray:
    return (p + HALF) / scale - HALF


def _symmetric(p: np.ndarray, scale: np.float32, size: np.float32, count: np.float32) -> np.ndarray:
    """Half pixels around the centre of what is whole in the output."""
    return size / 2 * (1 - count / (scale * size)) + _half_pixel(p, scale)


HALF = np.float32(0.5)
PLACES: dict[str, Callable[..., np.ndarray]] = {
    "half_pixel": lambda p, scale, size, count: _half_pixel(p, scale),
    "pytorch_half_pixel": lambda p, scale, size, count: _half_pixel(p, scale) if count > 1 else 0 * p,
    "asymmetric": lambda p, scale, size, count: p / scale,
    "align_corners": lambda p, scale, size, count: p * (size - 1) / max(np.float32(1), count - 1),
    "half_pixel_symmetric": _symmetric,
}


def resized(layer: Any, size: int, count: int, scale: np.float32) -> np.ndarray:
    """The matrix of what Resize does with an axis, computed as it does: in float32."""
    how = "asymmetric" if layer.mode == "nearest" else "align_corners" if layer.align_corners else "half_pixel"
    source = places(how, scale, size, count)
    source = np.floor(source) if layer.mode == "nearest" else np.maximum(source, 0)
    source = np.minimum(source, size - 1)
    return np.maximum(0, 1 - abs(source[:, None] - np.arange(size)))


@exports("GridSample")
def grid_sample(w: Export, x: Value, grid: Value) -> Any:
    """GridSample, which has volumes from opset 20 on: those by Gather of each neighbour."""
    layer = w.layer
    if x.ndim == 5:
        return read_volume(w, x, grid)
    aligned = int(layer.align_corners)
    return w.op("GridSample", x, grid, mode=layer.mode, padding_mode=layer.padding_mode, align_corners=aligned)
