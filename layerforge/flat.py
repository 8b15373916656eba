"""Flat memory: all parameters of a net are slices of one array, all gradients slices of another.

    frozen last; the rest sorted by (lr_mult, decay_mult), each slice aligned to 64 bytes

    data  [ fc1.weight | fc2.weight | ... | fc1.bias | fc2.bias | ... || frozen ]
    grad  [    the same slices, without the frozen ones               ]

An update is a few passes over flat memory, a snapshot one write, data-parallel training one sum. The solver's
histories are arrays of the same layout.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import philox
from .backend import Backend
from .errors import ConfigError, LayerForgeError
from .fillers import Filler
from .layer import Layer, ParamDecl
from .userfiles import described

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
ROW = 4096  # numbers per dot product in a norm; longer ones lose digits, and OpenBLAS spreads them over threads


@dataclass(frozen=True)
class Multipliers:
    """The factors on a parameter's learning rate and weight decay. A factor of 0 on the rate freezes it too."""

    lr: float = 1.0
    decay: float = 1.0
    freeze: bool = False

    @property
    def frozen(self) -> bool:
        return self.freeze or self.lr == 0


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

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def key(self) -> tuple[str, str]:
        return self.layer, self.name

    def view(self, flat: Any) -> Any:
        """This parameter's part of a flat array, in its own shape."""
        return flat[self.offset : self.offset + self.size].reshape(self.shape)


@dataclass(frozen=True)
class Group:
    """A run of slots with the same multipliers: what the solver updates in one go."""

    start: int
    stop: int
    lr_mult: float
    decay_mult: float


@dataclass
class FlatParams:
    """The flat arrays and who lives where. `slots` has only owners: a shared parameter counts once."""

    data: Any = field(repr=False)
    grad: Any = field(repr=False)
    slots: dict[tuple[str, str], Slot]
    groups: list[Group]
    frozen_start: int
    shared: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    forgotten: dict[frozenset[str], list[Any]] = field(default_factory=dict, repr=False)  # `forget` writes to these

    def forget(self, besides: frozenset[str] = frozenset()) -> None:
        """Set the gradients to zero, but for those of the layers named."""
        parts = self.forgotten.get(besides)
        if parts is None:
            kept = [s for s in self.slots.values() if s.layer in besides and not s.frozen]
            ends = sorted((s.offset, s.offset + s.size) for s in kept)
            starts, stops = [0, *(stop for _, stop in ends)], [*(start for start, _ in ends), len(self.grad)]
            between = zip(starts, stops, strict=True)
            parts = self.forgotten[besides] = [self.grad[start:stop] for start, stop in between if start < stop]
        for part in parts:
            part[...] = 0

    @property
    def count(self) -> int:
        """Learned numbers, without the padding between slices and counting shared ones once."""
        return sum(s.size for s in self.slots.values())


def allocate(
    layers: Iterable[Layer],
    backend: Backend,
    dtype: str,
    seed: int,
    multipliers: Mapping[tuple[str, str], Multipliers] | None = None,
    shared: Mapping[tuple[str, str], tuple[str, str]] | None = None,
) -> FlatParams:
    """Give every declared parameter its slice and its start values, every state array its memory, and bind them.

    multipliers and shared are keyed by (layer name, parameter name); `shared` maps a user to the owner. Without
    multipliers, what the layers declared holds.
    """
    layers, multipliers, shared = list(layers), multipliers or {}, dict(shared or {})
    declared = {(layer.name, d.name): d for layer in layers for d in layer.param_decls.values()}
    owned = {key: decl for key, decl in declared.items() if key not in shared}
    slots = _place([_slot(key, decl, multipliers.get(key)) for key, decl in owned.items()], dtype)
    frozen = [s for s in slots if s.frozen]
    total = _end(slots[-1], dtype) if slots else 0
    trained = frozen[0].offset if frozen else total

    host = _host_memory(total, dtype, slots)
    for slot in slots:
        slot.view(host)[...] = _start_values(owned[slot.key].filler, slot, seed)
    data = backend.from_host(host)
    grad = backend.xp.zeros(trained, dtype=dtype)
    flat = FlatParams(data, grad, {s.key: s for s in slots}, _groups(slots, trained), trained, shared)
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


def memory_of_this_machine() -> float:
    """Bytes; infinite where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return math.inf


def _start_values(filler: Filler, slot: Slot, seed: int) -> np.ndarray:
    rng = philox.host_generator(seed, f"{slot.layer}.{slot.name}")
    try:
        return filler.fill(rng, slot.shape)
    except LayerForgeError:
        raise
    except (Exception, SystemExit) as problem:  # numbers that overflow, or anything in a filler of the user's
        who = f"layer '{slot.layer}': the filler {filler.type_name} of '{slot.name}'"
        raise ConfigError(f"{who} cannot fill it: {described(problem)}", place=filler.place) from problem


def _slot(key: tuple[str, str], decl: ParamDecl, given: Multipliers | None) -> Slot:
    factors = given or Multipliers(decl.lr_mult, decl.decay_mult)
    return Slot(*key, decl.shape, factors.lr, factors.decay, factors.frozen)


def _place(slots: list[Slot], dtype: str) -> list[Slot]:
    """The slots in their order in memory, with their offsets."""
    placed: list[Slot] = []
    for slot in sorted(slots, key=lambda s: (s.frozen, s.lr_mult, s.decay_mult)):
        offset = _end(placed[-1], dtype) if placed else 0
        placed.append(replace(slot, offset=offset))
    return placed


def _end(slot: Slot, dtype: str) -> int:
    """The first aligned offset behind a slot."""
    step = ALIGNMENT // np.dtype(dtype).itemsize
    return -(-(slot.offset + slot.size) // step) * step


def _groups(slots: list[Slot], trained: int) -> list[Group]:
    groups: list[Group] = []
    for slot in (s for s in slots if not s.frozen):
        same = groups and (groups[-1].lr_mult, groups[-1].decay_mult) == (slot.lr_mult, slot.decay_mult)
        if not same:
            if groups:
                groups[-1] = Group(groups[-1].start, slot.offset, groups[-1].lr_mult, groups[-1].decay_mult)
            groups.append(Group(slot.offset, trained, slot.lr_mult, slot.decay_mult))
    return groups


def _bind(layer: Layer, flat: FlatParams, backend: Backend, dtype: str) -> None:
    for name, decl in layer.param_decls.items():
        key = (layer.name, name)
        slot = flat.slots[flat.shared.get(key, key)]
        layer.params.bind(name, slot.view(flat.data))
        # A frozen parameter has no place in the flat gradient; a layer that adds to it all the same adds to nothing.
        grad = backend.xp.zeros(decl.shape, dtype=dtype) if slot.frozen else slot.view(flat.grad)
        layer.grads.bind(name, grad)
        layer.needs_param_grad.bind(name, not slot.frozen)
    for name, state in layer.state_decls.items():
        layer.state.bind(name, backend.xp.full(state.shape, state.value, dtype=state.dtype or dtype))


def l2_norm(xp: Any, flat: Any) -> float:
    """The Euclidean norm of a 1-D array of any length; not finite where one of its numbers is not.

    The squares of 4096 numbers at a time are summed in the array's own precision, those sums in float64: of the
    norm of a float32 array about 8 digits are right. Where float32 overflows or loses small squares, everything is
    done again in float64.
    """
    whole = flat.size - flat.size % ROW
    rows, rest = flat[:whole], flat[whole:]
    with np.errstate(over="ignore", invalid="ignore"):
        products = xp.matmul(rows.reshape(-1, 1, ROW), rows.reshape(-1, ROW, 1))
        squares = float(products.sum(dtype=np.float64)) + float(xp.dot(rest, rest))
        if not 1e-20 < squares < math.inf:
            double = flat.astype("float64")
            squares = float(xp.dot(double, double))
    return math.sqrt(squares)
