"""What takes axes together: sums and extremes, softmax, places of extremes, running sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..importing import IMPORTS, Import, Site, imports
from ..values import Stream
from .common_in import fixed_shape, reshaped
from .reductions import REDUCTIONS

REDUCED: dict[str, tuple[str, dict[str, Any]]] = {  # operators: the layer, and what it is told
    **{op: (kind, {}) for kind, op in REDUCTIONS.items()},
    "ReduceMax": ("Max", {}),
    "ReduceMin": ("Min", {}),
    "ReduceL2": ("Norm", {"p": 2.0}),
    "ReduceLogSum": ("Sum", {}),
}


def _reduced(kind: str, told: dict[str, Any]) -> Import:
    def convert(site: Site) -> None:
        x, whole = site.real(0), site.input(0).dtype == "int64"
        axes, keep = site.integers(1, "axes"), site.attributes.flag("keepdims", True)
        nothing = site.attributes.flag("noop_with_empty_axes")
        if not axes and nothing:
            return site.pass_on(site.input(0))
        over = sorted(site.axis(axis, x.ndim, "axes") for axis in axes) if axes else list(range(x.ndim))
        options = {"dim": _axes(over, x.ndim), "keepdim": keep, **told}
        last = "Log" if site.node.op == "ReduceLogSum" else ""
        (y,) = site.emit(kind, x, part="sum" if last or whole else "", given=options)
        if last:
            site.emit("Log", y)
        elif whole:
            site.emit("Cast", y, role="index")
        return None

    return convert


def _axes(axes: list[int], ndim: int) -> Any:
    """dim: None for all axes, a number for one."""
    return None if len(axes) == ndim and ndim != 1 else axes[0] if len(axes) == 1 else axes


IMPORTS.update({op: _reduced(*entry) for op, entry in REDUCED.items()})


@imports("Softmax")
def softmax(site: Site) -> None:
    """Softmax along an axis; before version 13 over all axes from there on."""
    _softmax(site, "Softmax")


@imports("LogSoftmax")
def log_softmax(site: Site) -> None:
    """LogSoftmax along an axis; before version 13 over all axes from there on."""
    _softmax(site, "LogSoftmax")


def _softmax(site: Site, kind: str) -> None:
    x, back = _along(site)
    axis = x.ndim - 1 if back is not None else site.axis(site.attributes.integer("axis", _usual(site)), x.ndim)
    (y,) = site.emit(kind, x, part="of_rows" if back is not None else "", dim=axis)
    if back is not None:
        site.pass_on(reshaped(site, y, back))


def _usual(site: Site) -> int:
    return -1 if site.opset >= 13 else 1


def _along(site: Site) -> tuple[Stream, Any]:
    """What is normalised along its last axis, and the shapes that it had; None where it is as it was."""
    x = site.real(0)
    axis = site.axis(site.attributes.integer("axis", _usual(site)), x.ndim)
    if site.opset >= 13 or all(n == 1 for shape in x.shapes for n in shape[axis + 1 :]):
        return x, None
    rows = [(*shape[:axis], int(np.prod(shape[axis:]))) for shape in x.shapes]
    return reshaped(site, x, rows, "rows"), x.shapes


@imports("Hardmax")
def hardmax(site: Site) -> None:
    """One-hot vectors of ArgMax."""
    x, back = _along(site)
    axis = x.ndim - 1 if back is not None else site.axis(site.attributes.integer("axis", _usual(site)), x.ndim)
    (best,) = site.emit("ArgMax", x, part="best", dim=axis)
    (count,) = fixed_shape(site, x, [axis], "how long its vectors are")
    y = one_hot(site, best, site.eye(count), axis, "" if back is None else "of_rows")
    if back is not None:
        site.pass_on(reshaped(site, y, back))


def one_hot(site: Site, index: Stream, table: np.ndarray, axis: int, part: str = "") -> Stream:
    """A row of a table for each index, along an axis: an Embedding that does not learn."""
    last = axis == index.ndim
    (y,) = site.emit(
        "Embedding", index, part=part if last else "vectors", num_embeddings=len(table), embedding_dim=table.shape[1]
    )
    site.made[-1].item["freeze"] = True
    site.param("weight", table)
    if last:
        return y
    dims = list(range(index.ndim))
    dims.insert(axis, index.ndim)
    return site.emit("Permute", y, part=part, dims=dims)[0]


@imports("ArgMax")
def arg_max(site: Site) -> None:
    """ArgMax; of equal elements the first, or with select_last_index the last."""
    _place(site, site.real(0))


@imports("ArgMin")
def arg_min(site: Site) -> None:
    """ArgMax of what is turned."""
    _place(site, site.emit("Neg", site.real(0), part="turned")[0])


def _place(site: Site, x: Stream) -> None:
    axis = site.axis(site.attributes.integer("axis", 0), x.ndim)
    ties = "caffe" if site.attributes.flag("select_last_index") else "first"
    site.emit("ArgMax", x, dim=axis, keepdim=site.attributes.flag("keepdims", True), ties=ties)


@imports("TopK")
def top_k(site: Site) -> None:
    """TopK."""
    x = site.real(0)
    axis = site.axis(site.attributes.integer("axis", -1), x.ndim)
    largest = site.attributes.flag("largest", True)
    site.attributes.has("sorted")
    tops = [top or site.shared.unique(f"{site.own}.unused{j}") for j, top in enumerate(site.tops)]
    whole = site.input(0).dtype == "int64"
    if site.has(1) and not site.known(1, "k").fixed:
        ks = [int(array.reshape(-1)[0]) for array in site.known(1).arrays]
        if any(k != shape[axis] for k, shape in zip(ks, x.shapes, strict=False)):
            raise site.unsupported("k depends on the sizes of the net's inputs, and is not the length of the axis")
        values, *places = site.emit("Sort", x, tops=tops, dim=axis, descending=largest)
    else:
        k = int(site.constant(1, "k").reshape(-1)[0]) if site.has(1) else site.attributes.integer("k", 0)
        values, *places = site.emit("TopK", x, tops=tops, given={"k": k, "dim": axis, "largest": largest})
    site.pass_on(site.emit("Cast", values, part="index", role="index")[0] if whole else values)
    if places:
        site.pass_on(places[0], 1)


@imports("CumSum")
def cum_sum(site: Site) -> None:
    """Cumsum; in reverse of what is flipped, exclusive of what is moved by one place, with a 0 in front."""
    x, axis = site.real(0), int(site.constant(1, "axis").reshape(-1)[0])
    axis = site.axis(axis, x.ndim)
    reverse, exclusive = site.attributes.flag("reverse"), site.attributes.flag("exclusive")
    whole = site.input(0).dtype == "int64"
    if reverse:
        (x,) = site.emit("Flip", x, part="flipped", dims=[axis])
    if exclusive:
        in_front = [0, 0] * (x.ndim - 1 - axis) + [1, 0]
        (x,) = site.emit("Pad", x, part="zero_in_front", padding=in_front)
        (x,) = site.emit("Index", x, part="moved", index=[*[":"] * axis, ":-1"])
    (y,) = site.emit("Cumsum", x, part="sum" if reverse or whole else "", dim=axis)
    if reverse:
        (y,) = site.emit("Flip", y, part="back" if whole else "", dims=[axis])
    if whole:
        site.emit("Cast", y, role="index")
