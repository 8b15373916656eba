"""Images in another size, and read at other places.

The rule of a resize along an axis is a matrix, with a row for each position of the output. Where it is that of
Upsample, it becomes one; otherwise a product with the matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....layers.convolutions.upsample import Upsample
from ....schema.errors import LayerForgeError
from ..constants import number
from ..importing import REFUSED, Site, imports
from ..values import Stream
from .common_in import constant, fixed_shape, same
from .resampling import PLACES, places

REFUSED.update(dict.fromkeys(("RoiAlign", "AffineGrid", "Col2Im", "CenterCropPad"), "no layer computes the same"))
SMALL = 65
EPS = float(np.finfo(np.float32).eps)
NEAREST: dict[str, Callable[..., Any]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@imports("Upsample")
def upsample(site: Site) -> None:
    """Resize with scales, asymmetric and rounded down."""
    scales = site.attributes.numbers("scales") if not site.has(1) else site.constant(1, "scales").tolist()
    mode = site.attributes.text("mode", "nearest")
    _resize(site, mode, list(scales or []), None, "asymmetric", "floor")


@imports("Resize")
def resize(site: Site) -> None:
    """Upsample where the rule is the same, otherwise products with a matrix for each axis."""
    a = site.attributes
    if site.opset < 11:
        scales = site.constant(1, "scales").tolist()
        return _resize(site, a.text("mode", "nearest"), scales, None, "asymmetric", "floor")
    mode = a.text("mode", "nearest")
    how, near = a.text("coordinate_transformation_mode", "half_pixel"), a.text("nearest_mode", "round_prefer_floor")
    if a.flag("antialias") or a.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise site.unsupported("antialias, and a keep_aspect_ratio_policy other than stretch")
    a.has("extrapolation_value")
    axes = a.integers("axes")
    x = site.real(0)
    scales, sizes = None, None
    if site.has(2) and site.known(2, "scales").array.size:
        scales = _spread(site, site.constant(2, "scales").tolist(), axes, x.ndim, 1.0)
    elif site.has(3):
        if not site.known(3, "sizes").fixed and axes is None:
            return _resize_by(site, mode, how, near)
        sizes = [int(n) for n in _spread(site, site.constant(3, "sizes").tolist(), axes, x.ndim, None)]
    else:
        raise site.invalid("neither scales nor sizes are given")
    return _resize(site, mode, scales, sizes, how, near)


def _resize_by(site: Site, mode: str, how: str, near: str) -> None:
    """Sizes that follow the batch in its own axis, or are a multiple of dynamic ones."""
    x, sizes = site.real(0), site.known(3).arrays
    kept = [i for i in range(x.ndim) if all(int(s[i]) == one[i] for s, one in zip(sizes, x.shapes, strict=True))]
    rest = [i for i in range(x.ndim) if i not in kept]
    if all(len({int(s[i]) for s in sizes}) == 1 for i in rest):
        wanted = [x.shape[i] if i in kept else int(sizes[0][i]) for i in range(x.ndim)]
        return _resize(site, mode, None, wanted, how, near)
    scales = [1.0 if i in kept else int(sizes[0][i]) / x.shape[i] for i in range(x.ndim)]
    if any(int(s[i]) != one[i] * scales[i] for s, one in zip(sizes, x.shapes, strict=True) for i in range(x.ndim)):
        raise site.unsupported("its sizes depend on those of the net's inputs, and are no multiple of them")
    return _resize(site, mode, scales, None, how, near)


def _spread(site: Site, values: Sequence[Any], axes: Sequence[int] | None, ndim: int, usual: Any) -> list[Any]:
    """A value for each axis of the input."""
    if axes is None:
        found = list(values)
    else:
        found = [usual if usual is not None else n for n in site.real(0).shape]
        for axis, value in zip(axes, values, strict=True):
            found[site.axis(axis, ndim, "axes")] = value
    if len(found) != ndim:
        raise site.invalid(f"{len(found)} scales or sizes for {ndim} axes")
    return found


def _resize(
    site: Site, mode: str, scales: Sequence[float] | None, sizes: Sequence[int] | None, how: str, near: str
) -> None:
    """The resize along each axis that gets another length."""
    x = site.real(0)
    if scales is not None and (len(scales) != x.ndim or min(scales) <= 0):
        raise site.invalid(f"scales {list(scales)} for a value of {x.ndim} axes")
    if mode not in ("nearest", "linear", "cubic"):
        raise site.unsupported(f"mode {mode}")
    given = None if scales is None else [number(scale) for scale in scales]
    changed = [i for i in range(x.ndim) if (given[i] != 1 if given else sizes is not None and sizes[i] != x.shape[i])]
    if not changed:
        return site.pass_on(x)
    rule = _Rule(site, mode, how, near, given, sizes)
    if x.ndim == 4 and changed[0] >= 2 and _as_upsample(site, x, rule):
        return None
    for k, axis in enumerate(changed):
        (n,) = fixed_shape(site, x, [axis], "the matrix of a resize")
        matrix = rule.matrix(axis, n)
        last = k == len(changed) - 1
        x = _times(site, x, axis, matrix.astype(np.float32), "" if last else f"axis{axis}")
    return None


class _Rule:
    """The matrix of a resize along an axis."""

    def __init__(
        self, site: Site, mode: str, how: str, near: str, scales: Sequence[float] | None, sizes: Sequence[int] | None
    ) -> None:
        self.site, self.mode, self.how, self.near, self.scales, self.sizes = site, mode, how, near, scales, sizes
        self.cubic = site.attributes.number("cubic_coeff_a", -0.75)
        self.outside = site.attributes.flag("exclude_outside")
        if near not in NEAREST:
            raise site.invalid(f"nearest_mode is {near}")

    def count(self, axis: int, n: int) -> int:
        """The positions of the output, of n."""
        return int(np.float32(n) * np.float32(self.scales[axis])) if self.scales else (self.sizes or [])[axis]

    def matrix(self, axis: int, n: int) -> np.ndarray:
        """A row for each position of the output, over the n of the input, with places in float32, as in ONNX."""
        count = self.count(axis, n)
        scale = np.float32(self.scales[axis]) if self.scales else np.float32(count) / np.float32(n)
        if count < 1 or count * n > 1 << 24:
            raise self.site.unsupported(f"a resize of {n} to {count} positions")
        if self.how not in PLACES:
            raise self.site.unsupported(f"coordinate_transformation_mode {self.how}")
        read = places(self.how, scale, n, count)
        if self.mode == "nearest":
            return np.eye(n)[np.clip(NEAREST[self.near](read).astype(int), 0, n - 1)]
        return self._weights(read, n)

    def _weights(self, read: np.ndarray, n: int) -> np.ndarray:
        """Of neighbours by their distance; what is outside of the input counts as the element at its end."""
        first, reach = np.floor(read).astype(int), 1 if self.mode == "linear" else 2
        matrix = np.zeros((len(read), n))
        for k in range(1 - reach, reach + 1):
            at, distance = first + k, np.abs(read - (first + k))
            weight = np.maximum(0, 1 - distance) if reach == 1 else self._kernel(distance)
            if self.outside:
                weight = np.where((at >= 0) & (at < n), weight, 0)
            np.add.at(matrix, (np.arange(len(read)), np.clip(at, 0, n - 1)), weight)
        return matrix / matrix.sum(1, keepdims=True) if self.outside else matrix

    def _kernel(self, d: np.ndarray) -> np.ndarray:
        a = self.cubic
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((d - 5) * d + 8) * d * a - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _as_upsample(site: Site, x: Stream, rule: _Rule) -> bool:
    """Emit the Upsample that has the same matrices, if there is one."""
    for options in _candidates(rule):
        layer = Upsample.from_config(options)
        if all(_alike(rule, layer, axis, n) for axis in (2, 3) for n in _lengths(x, axis)):
            site.emit("Upsample", x, given=options)
            return True
    return False


def _lengths(x: Stream, axis: int) -> set[int]:
    """The lengths of an axis for which a rule must hold: where it is dynamic also small ones, at which rules part."""
    found = {shape[axis] for shape in x.shapes}
    return found if len(found) == 1 else found | set(range(1, SMALL))


def _alike(rule: _Rule, layer: Upsample, axis: int, n: int) -> bool:
    """Whether a layer reads an axis of n positions as the rule does."""
    try:
        theirs = layer.matrix(n, axis - 2)
    except LayerForgeError:
        return rule.count(axis, n) < 1
    mine = rule.matrix(axis, n)
    return mine.shape == theirs.shape and bool((abs(mine - theirs) <= 2 * n * EPS).all())


def _candidates(rule: _Rule) -> list[dict[str, Any]]:
    size = {"scale_factor": same(rule.scales[2:])} if rule.scales else {"size": same((rule.sizes or [])[2:])}
    if rule.mode == "nearest":
        return [{**size, "mode": "nearest"}]
    if rule.mode == "linear":
        return [{**size, "mode": "bilinear", "align_corners": corners} for corners in (False, True)]
    return []


def _times(site: Site, x: Stream, axis: int, matrix: np.ndarray, part: str) -> Stream:
    """A product with a matrix along an axis."""
    if axis == x.ndim - 2:
        return site.emit("Matmul", [constant(site, matrix), x], part=part)[0]
    if axis == x.ndim - 1:
        return site.emit("Matmul", [x, constant(site, np.ascontiguousarray(matrix.T))], part=part)[0]
    dims = list(range(x.ndim))
    dims[axis], dims[-1] = dims[-1], dims[axis]
    (turned,) = site.emit("Permute", x, part=f"turned{axis}", dims=dims)
    (y,) = site.emit("Matmul", [turned, constant(site, np.ascontiguousarray(matrix.T))], part=f"along{axis}")
    return site.emit("Permute", y, part=part, dims=dims)[0]


@imports("GridSample")
def grid_sample(site: Site) -> None:
    """GridSample; modes had other names before version 20."""
    modes = {"linear": "bilinear", "cubic": "bicubic"}
    mode = site.attributes.text("mode", "bilinear")
    padding = site.attributes.text("padding_mode", "zeros")
    corners = site.attributes.flag("align_corners")
    options = {"mode": modes.get(mode, mode), "padding_mode": padding, "align_corners": corners}
    site.emit("GridSample", [site.real(0), site.real(1)], given=options)
