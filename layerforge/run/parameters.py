"""Flat memory: all parameters of a net are slices of one array, all gradients slices of another.

    frozen last, before them those with a sparse gradient; the rest sorted by (lr_mult, decay_mult), each slice aligned
    to 64 bytes, as they are at the beginning

    data  [ fc1.weight | fc2.weight | ... | fc1.bias | fc2.bias | ... || frozen ]
    grad  [    the same slices, without the frozen ones               ]

An update is a few passes over flat memory, a snapshot one write, data-parallel training one sum. The solver's
histories are arrays of the same layout. A parameter that is frozen later stays where it is, and so does its history:
updates pass it over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..arrays import philox
from ..arrays.awaited import Later
from ..arrays.backend import Array, Backend
from ..arrays.formula import formula
from ..arrays.host_memory import memory_of_this_machine
from ..arrays.row_set import RowSet
from ..contract.declarations import ParamDecl
from ..contract.fillers import Filler, Msra
from ..contract.layer import Layer
from ..graph.graph import StartingValue
from ..graph.multipliers import Multipliers
from ..schema.errors import ConfigError, LayerForgeError
from ..schema.user_modules import described
from .explained import explaining

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
ROW = 4096  # elements per dot product in a norm; longer ones lose digits, and OpenBLAS spreads them over threads


@dataclass(frozen=True)
class Slot:
    """Where a parameter lives in the flat arrays."""

    layer: str
    name: str
    shape: tuple[int, ...]
    lr_mult: float
    decay_mult: float
    frozen: bool
    offset: int = 0
    sparse_grad: bool = False  # it is updated row by row, and is in no Group
    by_columns: bool = False  # it is stored in the order of its transpose

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def key(self) -> tuple[str, str]:
        return self.layer, self.name

    def view(self, flat: Array) -> Array:
        """This parameter's part of a flat array, in its own shape."""
        part = flat[self.offset : self.offset + self.size]
        return part.reshape(self.shape[::-1]).T if self.by_columns else part.reshape(self.shape)


@dataclass(frozen=True)
class Group:
    """A run of slots with the same multipliers: what the solver updates in one go."""

    start: int
    stop: int
    lr_mult: float
    decay_mult: float


@dataclass
class Parameters:
    """The flat arrays and who lives where. `slots` has only owners: a shared parameter counts once.

    changed  multipliers that hold instead of those that the configuration gives (tuning.py)
    rows     of the parameters with a sparse gradient: the rows that have one since it was zero
    """

    data: Array = field(repr=False)
    grad: Array = field(repr=False)
    slots: dict[tuple[str, str], Slot]
    groups: list[Group]
    frozen_start: int
    shared: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    changed: dict[tuple[str, str], Multipliers] = field(default_factory=dict)
    rows: dict[tuple[str, str], RowSet] = field(default_factory=dict)
    zeroed: dict[frozenset[str], list[Array]] = field(default_factory=dict, repr=False)  # `zero_grad` writes to these

    def regroup(self, xp: Any, multipliers: Mapping[tuple[str, str], Multipliers]) -> None:
        """Take other multipliers. Everything stays where it is; only the gradients of what was frozen from the start
        have no place yet, and are added at the end, with what is before them.
        """
        for key, slot in self.slots.items():
            new = multipliers[key]
            self.slots[key] = replace(slot, lr_mult=new.lr, decay_mult=new.decay, frozen=new.frozen)
            if new.frozen and slot.offset < len(self.grad):
                self.slots[key].view(self.grad)[...] = 0
            if new.frozen and key in self.rows:
                self.rows[key].clear()
        dtype = str(self.data.dtype)
        slots = sorted(self.slots.values(), key=lambda s: s.offset)
        self.groups = _groups(slots, dtype)
        self.zeroed.clear()
        size = max((_end(slot, dtype) for slot in slots if not slot.frozen), default=0)
        if size > len(self.grad):
            self.grad, self.frozen_start = extended(xp, self.grad, size), size

    def zero_grad(self, except_: frozenset[str] = frozenset()) -> None:
        """Set the gradients to zero, but for those of the layers named."""
        for part in self.dense_parts(except_):
            part[...] = 0
        for slot in self.by_rows():
            slot.view(self.grad)[self.rows[slot.key].numbers] = 0
            self.rows[slot.key].clear()

    def dense_parts(self, except_: frozenset[str] = frozenset()) -> list[Any]:
        """The gradients but for those that are sparse, and those of the layers named: pieces of the flat array."""
        parts = self.zeroed.get(except_)
        if parts is None:
            trained = [s for s in self.slots.values() if s.offset < len(self.grad)]
            kept = [s for s in trained if s.key in self.rows or (s.layer in except_ and not s.frozen)]
            ends = sorted((s.offset, s.offset + s.size) for s in kept)
            starts, stops = [0, *(stop for _, stop in ends)], [*(start for start, _ in ends), len(self.grad)]
            between = zip(starts, stops, strict=True)
            parts = self.zeroed[except_] = [self.grad[start:stop] for start, stop in between if start < stop]
        return parts

    def by_rows(self) -> list[Slot]:
        """The parameters with a sparse gradient that learn."""
        if not self.rows:  # asked for several times in a step
            return []
        return [self.slots[key] for key in self.rows if not self.slots[key].frozen]

    def saved_gradients(self) -> tuple[Any, dict[tuple[str, str], Any]]:
        """Copies of all gradients, and of what is known of their rows, for `put_back`."""
        return self.grad.copy(), {key: rows.marks.copy() for key, rows in self.rows.items()}

    def put_back(self, saved: tuple[Any, dict[tuple[str, str], Any]]) -> None:
        """Let the gradients be again what `saved_gradients` copied."""
        self.grad[...] = saved[0]
        for key, marks in saved[1].items():
            self.rows[key].marks[...] = marks

    @property
    def count(self) -> int:
        """Learned values, without the padding between slices and counting shared ones once."""
        return sum(s.size for s in self.slots.values())


def allocate(
    layers: Iterable[Layer],
    backend: Backend,
    dtype: str,
    seed: int,
    multipliers: Mapping[tuple[str, str], Multipliers] | None = None,
    shared: Mapping[tuple[str, str], tuple[str, str]] | None = None,
    fill: bool = True,
    starts: Mapping[tuple[str, str], StartingValue] | None = None,
) -> Parameters:
    """Give every declared parameter its slice and its start values, every state array its memory, and bind them.

    multipliers and shared are keyed by (layer name, parameter name); `shared` maps a user to the owner. Without
    multipliers, what the layers declared holds. Without `fill` the parameters are zeros. `starts` has the fillers of
    the parameters that declare none; a layer without a net, of which nobody knows what follows, starts with He's.
    """
    layers, multipliers, shared, starts = list(layers), multipliers or {}, dict(shared or {}), starts or {}
    declared = {(layer.name, d.name): d for layer in layers for d in layer.param_decls.values()}
    owned = {key: decl for key, decl in declared.items() if key not in shared}
    slots = _place([_slot(key, decl, multipliers.get(key)) for key, decl in owned.items()], dtype)
    frozen = [s for s in slots if s.frozen]
    total = _end(slots[-1], dtype) if slots else 0
    trained = frozen[0].offset if frozen else total

    host = _host_memory(total, dtype, slots)
    for slot in slots if fill else ():
        filler = owned[slot.key].filler or (starts[slot.key].filler if slot.key in starts else Msra())
        slot.view(host)[...] = _start_values(filler, slot, seed)
    size = np.dtype(dtype).itemsize
    with explaining(backend, {"parameters": total * size, "gradients": trained * size}):
        data = backend.from_host(host)
        grad = backend.xp.zeros(trained, dtype=dtype)
    flat = Parameters(data, grad, {s.key: s for s in slots}, _groups(slots, dtype), trained, shared)
    flat.rows = {s.key: RowSet(backend.xp, s.shape[0]) for s in slots if s.sparse_grad}
    for layer in layers:
        _bind(layer, flat, backend, dtype)
    return flat


def _host_memory(total: int, dtype: str, slots: list[Slot]) -> np.ndarray:
    """Zeros for all parameters; ConfigError naming the largest one where the machine has no memory for them."""
    size = total * np.dtype(dtype).itemsize
    try:
        if size > memory_of_this_machine():
            raise MemoryError
        return np.zeros(total, dtype)
    except (MemoryError, ValueError):
        largest = max(slots, key=lambda slot: slot.size)
        raise ConfigError(
            f"the parameters take {size / 2**30:.3g} GiB, which is more than there is:"
            f" '{largest.layer}.{largest.name}' alone has the shape {largest.shape}",
            hint=f"make the hyper-parameters of layer '{largest.layer}', or what it reads, smaller",
        ) from None


def _start_values(filler: Filler, slot: Slot, seed: int) -> np.ndarray:
    rng = philox.host_generator(seed, f"{slot.layer}.{slot.name}")
    try:
        return filler.fill(rng, slot.shape)
    except LayerForgeError:
        raise
    except (Exception, SystemExit) as problem:  # values that overflow, or anything in a filler of the user's
        who = f"layer '{slot.layer}': the filler {filler.type_name} of '{slot.name}'"
        raise ConfigError(f"{who} cannot fill it: {described(problem)}", place=filler.place) from problem


def _slot(key: tuple[str, str], decl: ParamDecl, given: Multipliers | None) -> Slot:
    factors = given or Multipliers(decl.lr_mult, decl.decay_mult)
    slot = Slot(*key, decl.shape, factors.lr, factors.decay, factors.frozen)
    return replace(slot, sparse_grad=decl.sparse_grad, by_columns=decl.by_columns)


def _place(slots: list[Slot], dtype: str) -> list[Slot]:
    """The slots in their order in memory, with their offsets."""
    placed: list[Slot] = []
    for slot in sorted(slots, key=lambda s: (s.frozen, s.sparse_grad, s.lr_mult, s.decay_mult)):
        offset = _end(placed[-1], dtype) if placed else 0
        placed.append(replace(slot, offset=offset))
    return placed


def _end(slot: Slot, dtype: str) -> int:
    """The first aligned offset behind a slot."""
    step = ALIGNMENT // np.dtype(dtype).itemsize
    return -(-(slot.offset + slot.size) // step) * step


def _groups(slots: Iterable[Slot], dtype: str) -> list[Group]:
    """Neighbours of the same multipliers, from slots in the order of memory."""
    groups: list[Group] = []
    for slot in (s for s in slots if not (s.frozen or s.sparse_grad)):
        new = Group(slot.offset, _end(slot, dtype), slot.lr_mult, slot.decay_mult)
        if groups and groups[-1] == replace(new, start=groups[-1].start, stop=new.start):
            groups[-1] = replace(groups[-1], stop=new.stop)
        else:
            groups.append(new)
    return groups


def extended(xp: Any, array: Array, size: int) -> Array:
    """A flat array with zeros behind it, up to this size. It is stored elsewhere."""
    longer = xp.zeros(size, dtype=array.dtype)
    longer[: len(array)] = array
    return longer


def _bind(layer: Layer, flat: Parameters, backend: Backend, dtype: str) -> None:
    for name in layer.param_decls:
        key = (layer.name, name)
        slot = flat.slots[flat.shared.get(key, key)]
        layer.params.bind(name, slot.view(flat.data))
    bind_gradients(layer, flat, backend, dtype)
    for name, state in layer.state_decls.items():
        layer.state.bind(name, backend.xp.full(state.shape, state.value, dtype=state.dtype or dtype))


def bind_gradients(layer: Layer, flat: Parameters, backend: Backend, dtype: str) -> None:
    """Tell a layer where the gradients of its parameters are, and which of them are wanted."""
    for name, decl in layer.param_decls.items():
        key = (layer.name, name)
        slot = flat.slots[flat.shared.get(key, key)]
        # A frozen parameter has no place in the flat gradient; a layer that adds to it all the same adds to nothing.
        grad = backend.xp.zeros(decl.shape, dtype=dtype) if slot.frozen else slot.view(flat.grad)
        layer.grads.bind(name, grad)
        layer.needs_param_grad.bind(name, not slot.frozen)
        if decl.sparse_grad:
            layer.grad_rows.bind(name, flat.rows[slot.key])


def l2_norm(xp: Any, flat: Array) -> float:
    """The Euclidean norm of a 1-D array of any length; not finite where one of its elements is not.

    The squares of 4096 elements at a time are summed in the array's own precision, those sums in float64: of the
    norm of a float32 array about 8 digits are right. Where float32 overflows or loses small squares, everything is
    done again in float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return unguarded_l2_norm(xp, flat)


def norm_there(xp: Any, flat: Array) -> Array:
    """The same on a device, in float64: a number that stays there."""
    return xp.sqrt(xp.square(flat, dtype="float64").sum())


@formula
def sum_of_squares(xp: Any, flat: Array) -> Any:
    """Of a 1-D array, a number of its backend's; `l2_norm` says how exact it is."""
    if xp is not np:  # a product of a row and a column is a launch for one number there, a reduction one for all
        return xp.square(flat).sum(dtype=np.float64)
    whole = flat.size - flat.size % ROW
    rows, rest = flat[:whole].reshape(-1, ROW), flat[whole:]
    return float(np.vecdot(rows, rows).sum(dtype=np.float64)) + float(np.dot(rest, rest))


def unguarded_l2_norm(xp: Any, flat: Array, asked: Later | None = None) -> float:
    """`l2_norm` for a caller whose own np.errstate lets an overflow pass, as a solver's does in every step.

    asked   the sum of the squares, where it is known or on its way
    """
    squares = float(sum_of_squares(xp, flat)) if asked is None else asked.value
    if not 1e-20 < squares < math.inf:
        double = flat.astype("float64")
        squares = float(xp.dot(double, double))
    return math.sqrt(squares)
