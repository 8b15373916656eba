"""Subscripts: NumPy's indexing with numbers, slices and lists, as a configuration writes it down."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays.functional import broadcast_shape
from ...arrays.scattering import scatter_add
from ...schema.errors import ConfigError, LayerError
from ...schema.params import show

REST = "..."  # as many ":" as there are axes that no other entry is for
WHOLE = slice(None)
PART = r"\s*([+-]?[0-9]+)?\s*"
SLICE = re.compile(f"{PART}:{PART}(?::{PART})?")


class Subscript:
    """The rule for the hyper-parameter: a list of entries, each checked as far as that goes without a shape."""

    description = 'a list of entries: whole numbers, slices as text ("1:"), lists of numbers or of true and false'

    @staticmethod
    def parse(value: Any) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            raise TypeError
        entries = [_plain(entry, f"index: entry {i}") for i, entry in enumerate(value)]
        if entries.count(REST) > 1:
            raise ConfigError(f"index has {entries.count(REST)} entries '...'", hint="one stands for all other axes")
        return entries


def _plain(entry: Any, where: str) -> Any:
    """An entry as it is kept: an integer, a text, or nested lists. ConfigError for anything else."""
    if isinstance(entry, str) and entry.strip() == REST:
        return REST
    if isinstance(entry, str):
        slice_of(entry, where)
        return entry
    if isinstance(entry, (list, tuple)):
        plain = _nested(entry)
        array_of(plain, where)
        return plain
    if type(entry) is int:
        return entry
    remedy = "a whole number, a slice as text, a list of numbers or of true and false; Unsqueeze adds an axis"
    raise ConfigError(f"{where} is {show(entry)}, which picks nothing", hint=remedy)


def _nested(entry: Any) -> Any:
    return [_nested(item) for item in entry] if isinstance(entry, (list, tuple)) else entry


def slice_of(text: str, where: str = "index") -> slice:
    """The slice that a text such as "1:", ":-3" or "::2" says."""
    match = SLICE.fullmatch(text)
    if match is None:
        raise ConfigError(f"{where} is '{text}', which is no slice", hint="start:stop:step; all three may be missing")
    start, stop, step = (None if part is None else int(part) for part in match.groups())
    if step == 0:
        raise ConfigError(f"{where} is '{text}', a slice with step 0", hint="-1 reads backwards")
    return slice(start, stop, step)


def array_of(entry: list[Any], where: str = "index") -> np.ndarray:
    """A list of numbers or of true and false, perhaps of lists of them, as an array."""
    kinds = {type(leaf) for leaf in _leaves(entry)}
    if not kinds <= {int} and kinds != {bool}:
        raise ConfigError(f"{where} is {show(entry)}", hint="a list holds whole numbers, or true and false")
    try:
        return np.array(entry, dtype=bool if bool in kinds else np.int64)
    except (ValueError, OverflowError):
        message = f"{where} is {show(entry)}, whose lists are of different lengths or whose numbers are too large"
        raise ConfigError(message, hint="lists within a list are equally long") from None


def _leaves(entry: Any) -> list[Any]:
    return [leaf for item in entry for leaf in _leaves(item)] if isinstance(entry, list) else [entry]


@dataclass(frozen=True)
class Selection:
    """What a subscript picks of a blob of one shape.

    basic   a number or slice for every axis, ":" for those of the lists: what it makes of a blob is a view
    axes    of that view, those that lists are for; numbers beside lists are lists too
    lists   a list of places for each, all of one shape: together they name the places of elements
    place   the axis of the top where those of the lists begin
    shape   of the top
    """

    basic: tuple[int | slice, ...]
    axes: tuple[int, ...]
    lists: tuple[np.ndarray, ...]
    place: int
    shape: tuple[int, ...]

    @property
    def keeps_samples(self) -> bool:
        """Whether sample i of the top is a part of sample i of the bottom, for any number of samples."""
        first = self.basic[0] if self.basic else None
        whole = isinstance(first, slice) and first.start in (None, 0) and (first.stop, first.step or 1) == (None, 1)
        return whole and 0 not in self.axes and (self.place > 0 or not self.axes)

    def in_front(self, x: Any) -> Any:
        """The view of x, with the axes of the lists in front of all others."""
        part = x[(*self.basic, Ellipsis)]
        return part.transpose((*self.axes, *(i for i in range(part.ndim) if i not in self.axes)))

    def order(self) -> tuple[int, ...]:
        """The axes of the top, those of the lists in front of all others."""
        own = range(self.place, self.place + self.lists[0].ndim)
        return (*own, *(i for i in range(len(self.shape)) if i not in own))

    def pick(self, x: Any, on_device: Callable[[str, np.ndarray], Any]) -> Any:
        """The elements of x: a view of it, a copy where there are lists, which `on_device` moves to where x is."""
        if not self.lists:
            return x[(*self.basic, Ellipsis)]
        found = self.in_front(x)[tuple(on_device(f"list {i}", places) for i, places in enumerate(self.lists))]
        return found.transpose(tuple(int(i) for i in np.argsort(self.order())))

    def put_back(self, xp: Any, dy: Any, dx: Any, on_device: Callable[[str, np.ndarray], Any]) -> None:
        """Add dy to the zeros dx where its elements were picked; what was picked several times gets the sum."""
        if not self.lists:
            dx[self.basic] = dy
            return
        target = self.in_front(dx)
        count, sizes = len(self.axes), target.shape
        strides = [math.prod(sizes[i + 1 : count]) for i in range(count)]
        flat = sum(stride * places.reshape(-1) for stride, places in zip(strides, self.lists, strict=True))
        _, first, which = np.unique(flat, return_index=True, return_inverse=True)
        dy = dy.transpose(self.order()).reshape(len(flat), *sizes[count:])
        if len(first) < len(flat):
            sums = xp.zeros((len(first), *sizes[count:]), dtype=dy.dtype)
            scatter_add(xp, sums, on_device("which", which).reshape(-1, *(1,) * (sums.ndim - 1)), 0, dy)
            dy = sums
        else:  # no place twice
            first = np.arange(len(flat))
        lists = (places.reshape(-1)[first] for places in self.lists)
        target[tuple(on_device(f"list {i} once", places) for i, places in enumerate(lists))] = dy


def select(entries: Sequence[Any], shape: tuple[int, ...]) -> Selection:
    """What these entries pick of a blob of that shape.

    The axes of lists, broadcast to one shape, stand in the top where the lists stood, if these stand side by side;
    otherwise in front of all others. Numbers count as lists where there is one, as in NumPy.

    Errors   LayerError for more entries than axes, an index outside its axis, a mask of another length than its axis,
             and lists that do not broadcast
    """
    meant = [_meaning(entry) for entry in entries]
    covered = sum(map(_axes_of, meant))
    if covered > len(shape):
        message = f"index has entries for {covered} axes, the bottom has {len(shape)}: {shape}"
        raise LayerError(message, hint="one entry for each axis from the first; what is behind them is kept whole")
    lists = any(isinstance(entry, np.ndarray) and entry.ndim for entry in meant)
    basic: list[int | slice] = []  # for each axis
    listed: dict[int, np.ndarray] = {}  # by axis
    for entry in meant:
        axis = len(basic)
        if entry is Ellipsis:
            basic += [WHOLE] * (len(shape) - covered)
        elif isinstance(entry, slice):
            basic.append(entry)
        elif lists:
            found = _places(entry, shape, axis)
            listed |= dict(enumerate(found, start=axis))
            basic += [WHOLE] * len(found)
        else:
            basic.append(int(_places(entry, shape, axis)[0]))
    basic += [WHOLE] * (len(shape) - len(basic))
    fancy = [i for i, entry in enumerate(meant) if isinstance(entry, np.ndarray)]
    side_by_side = bool(fancy) and fancy[-1] - fancy[0] == len(fancy) - 1
    return _arranged(basic, listed, side_by_side, shape)


def _meaning(entry: Any) -> Any:
    """An entry as NumPy knows it: Ellipsis, a slice, or an array; a number is an array without axes."""
    if isinstance(entry, str):
        return Ellipsis if entry == REST else slice_of(entry)
    return array_of(entry) if isinstance(entry, list) else np.array(entry)


def _axes_of(meant: Any) -> int:
    """How many axes of the bottom an entry is for: those of a mask are its own."""
    if isinstance(meant, np.ndarray) and meant.dtype == bool:
        return meant.ndim
    return 0 if meant is Ellipsis else 1


def _arranged(
    basic: list[int | slice], listed: dict[int, np.ndarray], side_by_side: bool, shape: tuple[int, ...]
) -> Selection:
    """The Selection: lists broadcast, and the top's shape."""
    kept = [axis for axis, entry in enumerate(basic) if isinstance(entry, slice)]
    sizes = [len(range(n)[entry]) for entry, n in zip(basic, shape, strict=True) if isinstance(entry, slice)]
    others = [size for axis, size in zip(kept, sizes, strict=True) if axis not in listed]
    if not listed:
        return Selection(tuple(basic), (), (), 0, tuple(others))
    together = broadcast_shape(*(places.shape for places in listed.values()))
    lists = tuple(np.broadcast_to(places, together) for places in listed.values())
    place = sum(axis < min(listed) for axis in kept) if side_by_side else 0
    axes = tuple(kept.index(axis) for axis in listed)
    return Selection(tuple(basic), axes, lists, place, (*others[:place], *together, *others[place:]))


def _places(entry: np.ndarray, shape: tuple[int, ...], axis: int) -> tuple[np.ndarray, ...]:
    """The places that an array names, counted from the front: a list of them for each of its axes."""
    if entry.dtype == bool:
        under = shape[axis : axis + entry.ndim]
        if entry.shape != under:
            got, want = (" by ".join(map(str, sizes)) for sizes in (entry.shape, under))
            what = f"axis {axis}" if entry.ndim == 1 else f"axes {axis} to {axis + entry.ndim - 1}"
            raise LayerError(f"index has {got} true and false for {what} of size {want}", hint="one for each place")
        return entry.nonzero()
    size = shape[axis]
    wrong = entry[(entry < -size) | (entry >= size)]
    if wrong.size:
        hint = f"{-size} to {size - 1}" if size else "there is nothing to point at"
        hint += "; axis 0 counts the samples, of which a batch may have fewer" if axis == 0 else ""
        raise LayerError(f"index {wrong.flat[0]} is out of range for axis {axis} of size {size}", hint=hint)
    return (np.where(entry < 0, entry + size, entry),)
