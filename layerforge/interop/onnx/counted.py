"""Numbers that depend on how many samples there are, computed by the net: from a one for each sample, and their sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .importing import Site
from .values import INDEX, Known, Stream

ROOM = 1e-6  # of the largest number, for a rule that the batches of all variants show


def counted(site: Site, value: Known) -> Stream | None:
    """A blob with numbers that differ between batches: a N + b, or 1 / (a N + b), of N samples; or the same for each.

    None where they depend on N in another way, or on another length.
    """
    batch = site.shared.batch
    if batch is None or len(set(batch)) < 3 or value.array.dtype.kind == "b":
        return None
    arrays = [array.astype(np.float64) for array in value.arrays]
    if len({array.shape for array in arrays}) > 1:
        return _for_each(site, value, arrays, batch)
    for inverse in (False, True):
        with np.errstate(all="ignore"):
            line = _line([1 / array if inverse else array for array in arrays], batch)
        if line is not None:
            return _by_line(site, value, *line, inverse)
    return None


def _line(arrays: Sequence[np.ndarray], batch: Sequence[int]) -> tuple[np.ndarray, np.ndarray] | None:
    """a and b with a N + b in every variant."""
    other = next(i for i, n in enumerate(batch) if n != batch[0])
    a = (arrays[other] - arrays[0]) / (batch[other] - batch[0])
    b = arrays[0] - a * batch[0]
    fits = (np.abs(a * n + b - array) <= ROOM * np.abs(array) for n, array in zip(batch, arrays, strict=True))
    return (a, b) if all(bool(one.all()) for one in fits) else None


def _by_line(site: Site, value: Known, a: np.ndarray, b: np.ndarray, inverse: bool) -> Stream:
    """a N + b."""
    name = site.shared.unique(f"{site.own}.of_samples")
    (count,) = site.emit("Sum", ones(site), name=f"{name}.count", dim=None)
    if a.size == 1:
        options = {"exponent": -1.0 if inverse else 1.0, "scale": float(a.flat[0]), "shift": float(b.flat[0])}
        (made,) = site.emit("Pow", count, name=name, given=options)
        if a.ndim:
            (made,) = site.emit("Reshape", made, name=f"{name}.shaped", shape=list(a.shape))
    else:
        slope, start = (site.as_stream(Known((array.astype(np.float32),) * site.shared.count)) for array in (a, b))
        (times,) = site.emit("Mul", [slope, count], name=f"{name}.times")
        (made,) = site.emit("Add", [times, start], name=name)
        if inverse:
            (made,) = site.emit("Reciprocal", made, name=f"{name}.inverse")
    return site.as_index(Stream(made.name, made.specs, INDEX)) if value.array.dtype.kind in "iu" else made


def _for_each(site: Site, value: Known, arrays: Sequence[np.ndarray], batch: Sequence[int]) -> Stream | None:
    """The same numbers for each sample, along the one axis whose length is that of the batch, learned as they are."""
    if len({array.ndim for array in arrays}) > 1:
        return None
    axes = [axis for axis in range(arrays[0].ndim) if len({array.shape[axis] for array in arrays}) > 1]
    if len(axes) != 1 or any(array.shape[axes[0]] != n for array, n in zip(arrays, batch, strict=True)):
        return None
    (axis,) = axes
    each = arrays[0].take([0], axis)
    if any(not bool((array == each).all()) for array in arrays):
        return None
    shape = [1] * each.ndim
    shape[axis] = -1
    (many,) = site.emit("Reshape", ones(site), name=site.shared.unique(f"{site.own}.samples"), shape=shape)
    numbers = site.as_stream(Known((each.astype(np.float32),) * site.shared.count, value.learned))
    return site.emit("Mul", [many, numbers], name=site.shared.unique(f"{site.own}.for_each"))[0]


def ones(site: Site) -> Stream:
    """A one for each sample: the zeroth power of a number of each, which is 1 whatever that is."""
    made = site.shared.ones
    if made is None:
        x = site.as_real(site.shared.sampled, computing=False)
        entries = [":", *[0] * (x.ndim - 1)]
        if x.ndim > 1:
            (x,) = site.emit("Index", x, name=site.shared.unique("samples.first"), index=entries)
        (x,) = site.emit("Detach", x, name=site.shared.unique("samples.detached"))
        (made,) = site.emit("Pow", x, name=site.shared.unique("samples.ones"), exponent=0.0)
        site.shared.ones = made
    return made
