"""What reads and writes at places that indices name."""

from __future__ import annotations

import math

import numpy as np

from ..constants import is_learned
from ..importing import REFUSED, Site, imports
from ..values import Known, Stream
from .common_in import constant, fixed_shape, reshaped
from .reductions_in import one_hot as vectors

REFUSED.update(
    {
        "NonZero": "how much it gives depends on the numbers of its input",
        "Compress": "how much it gives depends on the numbers of its input",
        "Unique": "how much it gives depends on the numbers of its input",
        "NonMaxSuppression": "how many boxes it gives depends on the scores: see DetectionOutput",
    }
)
MOST_PLACES = 1 << 18
NEGATIVE = "indices from 0 on are read; negative ones are an error"


@imports("Gather")
def gather(site: Site) -> None:
    """An Embedding of what is learned; otherwise Index with known places, and IndexSelect with those of a blob."""
    data, index = site.input(0), site.input(1)
    axis = site.axis(site.attributes.integer("axis", 0), data.ndim)
    if isinstance(index, Known):
        return _known_places(site, site.stream(0), index, axis)
    site.note(NEGATIVE)
    if isinstance(data, Known) and axis == 0 and data.ndim == 2 and data.array.dtype.kind == "f" and data.fixed:
        site.emit("Embedding", site.index(1), num_embeddings=data.shape[0], embedding_dim=data.shape[1])
        if not is_learned(site, data):
            site.made[-1].item["freeze"] = True
        site.param("weight", data)
        return None
    x, places = site.stream(0), site.index(1)
    if places.ndim == 1:
        site.emit("IndexSelect", [x, places], dtype=x.dtype, dim=axis)
        return None
    flat = reshaped(site, places, [(math.prod(shape),) for shape in places.shapes], "places")
    (picked,) = site.emit("IndexSelect", [x, flat], part="picked", dtype=x.dtype, dim=axis)
    both = zip(x.shapes, places.shapes, strict=True)
    site.pass_on(reshaped(site, picked, [(*one[:axis], *other, *one[axis + 1 :]) for one, other in both]))
    return None


def _known_places(site: Site, x: Stream, index: Known, axis: int) -> None:
    if index.array.size > MOST_PLACES:
        raise site.unsupported(f"{index.array.size} known places: up to {MOST_PLACES} are written down")
    places = [np.where(array < 0, array + n[axis], array) for array, n in _pairs(x, index)]
    if any(one.shape != places[0].shape or bool((one != places[0]).any()) for one in places):
        places = [array for array, _ in _pairs(x, index)]  # counted from the back, they may be the same
        if any(one.shape != places[0].shape or bool((one != places[0]).any()) for one in places):
            raise site.unsupported("the places that it reads depend on the sizes of the net's inputs")
    site.emit("Index", x, dtype=x.dtype, index=[*[":"] * axis, places[0].tolist()])


def _pairs(x: Stream, index: Known) -> list[tuple[np.ndarray, tuple[int, ...]]]:
    """The indices and the shape of the blob, in each variant."""
    return list(zip(index.arrays, x.shapes, strict=False))


@imports("ReverseSequence")
def reverse_sequence(site: Site) -> None:
    """A Flip of time where all samples are as long; of its first steps alone, where they end before it does."""
    x, lengths = site.stream(0), site.known(1, "the length of each sample")
    time = site.axis(site.attributes.integer("time_axis", 0), x.ndim, "time_axis")
    batch = site.axis(site.attributes.integer("batch_axis", 1), x.ndim, "batch_axis")
    if time == batch:
        raise site.invalid(f"time_axis and batch_axis are both {time}")
    for array, shape in zip(lengths.arrays, x.shapes, strict=False):
        if array.shape != (shape[batch],) or not bool(((array >= 0) & (array <= shape[time])).all()):
            told = f"the lengths {array.reshape(-1)[:8].tolist()} of {array.size} samples"
            raise site.invalid(f"{told} do not fit a value of shape {shape}")
    if all(bool((array == shape[time]).all()) for array, shape in zip(lengths.arrays, x.shapes, strict=False)):
        site.emit("Flip", x, dtype=x.dtype, dims=time)
        return None
    turned = {int(n) for array in lengths.arrays for n in array}
    if len(turned) > 1:
        raise site.unsupported("samples are turned by lengths of their own: here all are turned by the same one")
    (length,) = turned or {0}
    if length < 2:
        return site.pass_on(x)
    names = [site.shared.unique(f"{site.own}.{word}") for word in ("first", "rest")]
    first, rest = site.emit("Slice", x, part="parts", dtype=x.dtype, tops=names, dim=time, points=[length])
    (first,) = site.emit("Flip", first, part="turned", dtype=x.dtype, dims=time)
    site.emit("Concat", [first, rest], dtype=x.dtype, dim=time)
    return None


@imports("GatherElements")
def gather_elements(site: Site) -> None:
    """Gather."""
    x = site.stream(0)
    site.note(NEGATIVE)
    axis = site.axis(site.attributes.integer("axis", 0), x.ndim)
    site.emit("Gather", [x, site.index(1)], dtype=x.dtype, dim=axis)


@imports("GatherND")
def gather_nd(site: Site) -> None:
    """Index with a list for each axis that the tuples name."""
    x, batch = site.stream(0), site.attributes.integer("batch_dims", 0)
    if batch or not site.is_known(1):
        return _at_tuples(site, x, site.index(1), batch)
    index = site.constant(1, "the places that it reads")
    if not index.ndim or index.shape[-1] > x.ndim or index.size > MOST_PLACES:
        raise site.invalid(f"indices of shape {index.shape} for a value of shape {x.shape}")
    site.emit("Index", x, dtype=x.dtype, index=np.moveaxis(index, -1, 0).tolist())
    return None


def _at_tuples(site: Site, x: Stream, index: Stream, batch: int) -> None:
    """An IndexSelect, or of each sample a Gather, at places that are counted through the axes that tuples name."""
    depth = index.shape[-1] if index.ndim else 0
    last = batch + depth
    if batch > 1 or not 1 <= depth <= x.ndim - batch or (batch and index.ndim < 2):
        raise site.unsupported(f"batch_dims {batch} with indices of shape {index.shape} for a value of {x.shape}")
    sizes = fixed_shape(site, x, range(batch + 1, last), "where a tuple points")
    steps = [float(math.prod(sizes[i:])) for i in range(depth)]
    site.note(NEGATIVE)
    weight = constant(site, np.asarray(steps, np.float32))
    (terms,) = site.emit("Mul", [site.as_real(index), weight], part="terms")
    (total,) = site.emit("Sum", terms, part="places", dim=index.ndim - 1)
    (places,) = site.emit("Cast", total, part="flat_places", role="index")
    inner = fixed_shape(site, x, range(last, x.ndim), "what a tuple points at") if batch else []
    wanted = [(*one[:-1], *shape[last:]) for one, shape in zip(index.shapes, x.shapes, strict=True)]
    if not batch:
        flat = reshaped(site, x, [(math.prod(s[:last]), *s[last:]) for s in x.shapes], "flat")
        row = reshaped(site, places, [(math.prod(one[:-1]),) for one in index.shapes], "row")
        (picked,) = site.emit("IndexSelect", [flat, row], part="picked", dtype=x.dtype, dim=0)
        return site.pass_on(reshaped(site, picked, wanted))
    size = math.prod(inner)
    flat = reshaped(site, x, [(s[0], math.prod(s[1:last]), size) for s in x.shapes], "flat")
    column = reshaped(site, places, [(one[0], math.prod(one[1:-1]), 1) for one in index.shapes], "column")
    if size != 1:
        (column,) = site.emit("Expand", column, part="wide", shape=[-1, -1, size])
    (picked,) = site.emit("Gather", [flat, column], part="picked", dtype=x.dtype, dim=1)
    return site.pass_on(reshaped(site, picked, wanted))


@imports("ScatterElements", "Scatter")
def scatter_elements(site: Site) -> None:
    """Scatter, or ScatterAdd."""
    x, source = site.stream(0), site.stream(2)
    how = site.attributes.text("reduction", "none")
    kinds = {"none": "Scatter", "add": "ScatterAdd"}
    if how not in kinds:
        raise site.unsupported(f"reduction {how}: {', '.join(kinds)} are supported")
    site.note(NEGATIVE)
    if x.spec.role != source.spec.role or how == "add":
        x, source = site.as_real(x), site.as_real(source)
    axis = site.axis(site.attributes.integer("axis", 0), x.ndim)
    site.emit(kinds[how], [x, site.index(1), source], dtype=x.dtype, dim=axis)


@imports("ScatterND")
def scatter_nd(site: Site) -> None:
    """Scatter of the flattened value, at places that are known."""
    x, source = site.stream(0), site.stream(2)
    index, how = site.constant(1, "the places that it writes"), site.attributes.text("reduction", "none")
    kinds = {"none": "Scatter", "add": "ScatterAdd"}
    if how not in kinds:
        raise site.unsupported(f"reduction {how}: {', '.join(kinds)} are supported")
    if any(shape != x.shape for shape in x.shapes):
        raise site.unsupported("the places of its input, which are counted together, depend on its dynamic lengths")
    if x.spec.role != source.spec.role:
        x, source = site.as_real(x), site.as_real(source)
    depth = index.shape[-1]
    inner = math.prod(x.shape[depth:])
    strides = [math.prod(x.shape[i + 1 : depth]) for i in range(depth)]
    wrapped = np.where(index < 0, index + np.asarray(x.shape[:depth]), index)
    first = (wrapped * np.asarray(strides)).sum(-1).reshape(-1, 1) * inner
    places = site.as_stream(Known(((first + np.arange(inner)).reshape(-1),) * site.shared.count))
    flat = reshaped(site, x, [(x.spec.size,)] * len(x.specs), "flat")
    given = reshaped(site, source, [(source.spec.size,)] * len(source.specs), "source")
    (written,) = site.emit(kinds[how], [flat, site.as_index(places), given], part="written", dtype=x.dtype, dim=0)
    site.emit("Reshape", written, dtype=x.dtype, shape=list(x.shape))


@imports("OneHot")
def one_hot(site: Site) -> None:
    """An Embedding that does not learn, with a vector for each index."""
    depth, values = int(site.constant(1, "depth").reshape(-1)[0]), site.constant(2, "values")
    if not 1 <= depth <= 1 << 11 or values.size != 2:
        raise site.unsupported(f"depth {depth}: vectors of up to {1 << 11} numbers are supported")
    index = site.index(0)
    site.note(f"indices from 0 to {depth - 1} are read; negative and larger ones are an error")
    off, on = values.reshape(-1).astype(np.float32)
    axis = site.axis(site.attributes.integer("axis", -1), index.ndim + 1)
    whole = values.dtype.kind in "iu"
    table = np.where(site.eye(depth) != 0, on, off)
    made = vectors(site, index, table, axis, "real" if whole else "")
    if whole:
        site.emit("Cast", made, role="index")
