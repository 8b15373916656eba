"""Layers that join, cut and reshape blobs, and sums over axes."""

from __future__ import annotations

import math
from typing import Any

from ..conversion import Site, Stream, converts
from ..message import Message


def alike(site: Site) -> list[Stream]:
    """The bottoms in one role: integers where all are, otherwise real numbers."""
    if all(not bottom.spec.is_real for bottom in site.bottoms):
        return list(site.bottoms)
    return [site.real(bottom) for bottom in site.bottoms]


@converts("Concat")
def concat(site: Site) -> None:
    """Concat along its axis."""
    site.count((1, None), 1)
    p, x = site.param("concat_param"), alike(site)
    axis = _old_or_new(site, p, "axis", "concat_dim", x[0].ndim)
    for i, one in enumerate(x):
        if _without(one.shape, axis) != _without(x[0].shape, axis):
            told = f"bottom {i} has shape {one.shape}, bottom 0 {x[0].shape}: they may differ in axis {axis} only"
            raise site.invalid(told, site.layer, "bottom")
    site.emit("Concat", x, dim=axis)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """A shape without one of its axes."""
    return shape[:axis] + shape[axis + 1 :]


def _old_or_new(site: Site, p: Message, name: str, old: str, ndim: int) -> int:
    """The axis, which had another name once."""
    if p.has(old) and p.has(name):
        raise site.invalid(f"{name} and {old} together", p, old, hint=f"write {name} alone")
    used = old if p.has(old) else name
    return site.axis(p.get(used), ndim, p, used)


@converts("Slice")
def slice_(site: Site) -> None:
    """Slice at its points, or in equal parts."""
    site.count(1, (1, None))
    p, x = site.param("slice_param"), site.bottoms[0]
    axis = _old_or_new(site, p, "axis", "slice_dim", x.ndim)
    points, parts, size = list(p.get("slice_point")), len(site.tops), x.shape[axis]
    if points and len(points) != parts - 1:
        raise site.invalid(f"{len(points)} slice_point for {parts} tops", p, "slice_point")
    if points and any(a >= b for a, b in zip([0, *points], [*points, size], strict=True)):
        raise site.invalid(f"slice_point {points} of an axis of {size}: they must grow", p, "slice_point")
    if not points and size % parts:
        raise site.invalid(f"an axis of {size} cannot be cut into {parts} equal parts", site.layer, "top")
    site.emit("Slice", x, dim=axis, points=points or None)


@converts("Split")
def split(site: Site) -> None:
    """An Identity for each copy."""
    site.count(1, (1, None))
    for i, top in enumerate(site.tops):
        name = "" if len(site.tops) == 1 else f"copy{i}"
        site.emit("Identity", site.bottoms[0], part=name, tops=[top])


@converts("Flatten")
def flatten(site: Site) -> None:
    """Flatten from one axis to another."""
    site.count(1, 1)
    x, p = site.bottoms[0], site.param("flatten_param")
    start, end = site.axis(p.get("axis"), x.ndim, p), site.axis(p.get("end_axis"), x.ndim, p, "end_axis")
    if start > end:
        raise site.invalid(f"axis {start} is behind end_axis {end}", p, "axis")
    site.emit("Flatten", x, start_dim=start, end_dim=-1 if end == x.ndim - 1 else end)


@converts("Reshape")
def reshape(site: Site) -> None:
    """Reshape: the axes from `axis` on, num_axes of them, become those of shape."""
    site.count(1, 1)
    x, p = site.bottoms[0], site.param("reshape_param")
    dims, count, axis = list(p.get("shape").get("dim")), p.get("num_axes"), p.get("axis")
    start = axis if axis >= 0 else x.ndim + axis + 1
    end = x.ndim if count == -1 else start + count
    if not 0 <= start <= end <= x.ndim or count < -1:
        raise site.invalid(f"axis {axis} and num_axes {count} of a blob of {x.ndim} axes", p, "axis")
    if dims.count(-1) > 1 or any(dim < -1 for dim in dims):
        raise site.invalid(f"shape {dims}: at most one dim may be -1, none below", p, "shape")
    for i, dim in enumerate(dims):
        if dim == 0 and start + i >= x.ndim:
            raise site.invalid(f"dim {i} copies axis {start + i} of a blob of {x.ndim} axes", p, "shape")
    free, moved = -1 not in dims, start + len(dims) != end
    tail = list(x.shape[end:]) if moved else [0] * (x.ndim - end)
    head = [0] * start
    if head and moved and free and not any(dim == 0 for dim in dims):
        head[0] = -1 if 0 not in x.shape else 0  # the batch may be of any size
    target = [*head, *dims, *tail]
    known = [x.shape[i] if dim == 0 else dim for i, dim in enumerate(target)]
    rest = math.prod(dim for dim in known if dim != -1)
    if (-1 in known and (rest == 0 or x.spec.size % rest)) or (-1 not in known and rest != x.spec.size):
        raise site.invalid(f"the {x.spec.size} numbers of shape {x.shape} do not fit {dims}", p, "shape")
    if dims == [-1] and end - start > 1:  # joined, whatever the sizes behind them are
        site.emit("Flatten", x, start_dim=start, end_dim=-1 if end == x.ndim else end - 1)
    else:
        site.emit("Reshape", x, shape=target)


@converts("Tile")
def tile(site: Site) -> None:
    """Tile along its axis."""
    site.count(1, 1)
    x, p = site.bottoms[0], site.param("tile_param")
    axis, tiles = site.axis(p.get("axis"), x.ndim, p), p.get("tiles")
    if tiles < 1:
        raise site.invalid("tiles must be at least 1", p, "tiles")
    site.emit("Tile", x, dims=[tiles, *[1] * (x.ndim - axis - 1)])


@converts("Crop")
def crop(site: Site) -> None:
    """Crop to the size of the second bottom."""
    site.count(2, 1)
    (x, like), p = site.bottoms, site.param("crop_param")
    axis, offsets = site.axis(p.get("axis"), x.ndim, p), list(p.get("offset"))
    if like.ndim != x.ndim:
        raise site.invalid(f"bottom 1 has {like.ndim} axes, bottom 0 {x.ndim}", site.layer, "bottom")
    if len(offsets) > 1 and len(offsets) != x.ndim - axis:
        raise site.invalid(f"{len(offsets)} offsets for the {x.ndim - axis} axes from {axis} on", p, "offset")
    each = (offsets or [0]) * (x.ndim - axis) if len(offsets) < 2 else offsets
    for i, offset in enumerate(each, axis):
        if offset + like.shape[i] > x.shape[i]:
            told = f"axis {i}: offset {offset} and {like.shape[i]} are more than its {x.shape[i]}"
            raise site.invalid(told, p, "offset")
    site.emit("Crop", [x, like], dim=axis, offset=offsets if len(offsets) > 1 else (offsets or [0])[0])


@converts("Silence")
def silence(site: Site) -> None:
    """Silence, which reads its bottoms and has no top."""
    site.count((1, None), 0)
    site.emit("Silence", site.bottoms)


@converts("Reduction")
def reduction(site: Site) -> None:
    """Sum, AbsSum, SumSquare or Mean over the axes from `axis` on, times coeff."""
    site.count(1, 1)
    x, p = site.real(site.bottoms[0]), site.param("reduction_param")
    axis, factor = site.axis(p.get("axis"), x.ndim, p), p.get("coeff")
    kind = {"SUM": "Sum", "ASUM": "AbsSum", "SUMSQ": "SumSquare", "MEAN": "Mean"}[p.get("operation")]
    dims: Any = None if axis == 0 else axis if axis == x.ndim - 1 else list(range(axis, x.ndim))
    y = site.emit(kind, x, part="" if factor == 1 else "reduced", dim=dims)
    if factor != 1:
        site.emit("Pow", y, exponent=1, scale=factor)


@converts("ArgMax")
def arg_max(site: Site) -> None:
    """ArgMax in Caffe's order of ties; without an axis over each sample as a whole, values behind the indices."""
    site.count(1, 1)
    x, p = site.real(site.bottoms[0]), site.param("argmax_param")
    count, values = p.get("top_k"), p.get("out_max_val")
    whole = not p.has("axis")
    axis = 1 if whole else site.axis(p.get("axis"), x.ndim, p)
    searched = math.prod(x.shape[1:]) if whole else x.shape[axis]
    if not 1 <= count <= searched:
        raise site.invalid(f"top_k {count} of {searched}", p, "top_k")
    if not whole:
        if values:
            (held,) = site.emit("Detach", x, part="held")
            site.emit("TopK", held, k=count, dim=axis)
        else:
            site.emit("ArgMax", x, dim=axis, keepdim=count == 1, top_k=count, ties="caffe")
        return
    flat = x if x.ndim == 2 else site.emit("Flatten", x, part="flat")[0] if x.ndim > 2 else _column(site, x)
    shape = [-1, 2 if values else 1, count, *[1] * (x.ndim - 3)]
    (found,) = site.emit("ArgMax", flat, part="indices", dim=1, keepdim=count == 1, top_k=count, ties="caffe")
    if values:
        (held,) = site.emit("Detach", flat, part="held")
        (best,) = site.emit("TopK", held, part="values", k=count, dim=1)
        (found,) = site.emit("Concat", [site.real(found), best], part="both", dim=1)
    site.emit("Reshape", found, shape=shape)


def _column(site: Site, x: Stream) -> Stream:
    """A blob with one axis as one with two."""
    return site.emit("Unsqueeze", x, part="column", dim=1)[0]


@converts("BatchReindex")
def batch_reindex(site: Site) -> None:
    """BatchReindex by the second bottom."""
    site.count(2, 1)
    x, order = site.bottoms
    if order.ndim != 1:
        told = f"the indices, bottom 1, have shape {order.shape}: they must have one axis"
        raise site.invalid(told, site.layer, "bottom")
    site.emit("BatchReindex", [x, site.index(order)])


@converts("Filter")
def filter_(site: Site) -> None:
    """Filter, which keeps the batch's size here."""
    site.count((2, None), (1, None))
    if len(site.tops) != len(site.bottoms) - 1:
        told = f"{len(site.tops)} tops for {len(site.bottoms)} bottoms: one less is needed"
        raise site.invalid(told, site.layer, "top")
    *x, selector = site.bottoms
    site.demand_axes(selector, 1)
    for i, one in enumerate(x):
        if one.shape[:1] != selector.shape[:1]:
            raise site.invalid(f"bottom {i} has shape {one.shape}, the selector {selector.shape}", site.layer, "bottom")
    if selector.spec.size != selector.shape[0]:
        raise site.invalid(f"the selector has shape {selector.shape}: one value for each sample", site.layer, "bottom")
    selector = site.index(selector)
    if selector.ndim > 1:
        (selector,) = site.emit("Reshape", selector, part="selector", shape=[-1])
    site.emit("Filter", [*x, selector])
    site.note(
        "Caffe's tops have as many samples as were selected; here the batch keeps its size, and behind the selected"
        " samples there are zeros, or labels -1"
    )


@converts("Permute")
def permute(site: Site) -> None:
    """Permute of SSD: the axes that order does not name follow in their order."""
    site.count(1, 1)
    x, p = site.bottoms[0], site.param("permute_param")
    order = list(p.get("order"))
    if len(set(order)) != len(order) or any(not 0 <= axis < x.ndim for axis in order):
        raise site.invalid(f"order {order} of a blob of {x.ndim} axes", p, "order")
    site.emit("Permute", x, dims=[*order, *(axis for axis in range(x.ndim) if axis not in order)])
