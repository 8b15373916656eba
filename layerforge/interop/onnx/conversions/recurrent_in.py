"""Recurrent operators: LSTM, GRU and RNN, with time in front or with the samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph import OWN
from ..importing import Site, imports
from ..values import Known, Stream
from .common_in import constant, fixed_shape, reshaped


@dataclass(frozen=True)
class Cell:
    """How ONNX has a cell: our blocks of rows in the order of its own, its states, and its usual functions."""

    blocks: tuple[int, ...]
    states: int
    functions: tuple[str, ...]

    @property
    def order(self) -> tuple[int, ...]:
        """Its blocks in the order of ours."""
        return tuple(int(i) for i in np.argsort(self.blocks))


CELLS = {
    "LSTM": Cell((0, 2, 3, 1), 2, ("sigmoid", "tanh", "tanh")),  # ONNX: i, o, f, c
    "GRU": Cell((1, 0, 2), 1, ("sigmoid", "tanh")),  # ONNX: z, r, h
    "RNN": Cell((0,), 1, ("tanh",)),
}
ENDS = ("", "_reverse")
LENGTHS, STATES, PEEPHOLES = 4, 5, 7  # inputs


@imports(*CELLS, *(f"{OWN}.{op}" for op in CELLS))
def recurrent(site: Site) -> None:
    """A layer with one pass over time, or two; sequences that are shorter than others get a mask."""
    cell, own = CELLS[site.node.op], site.node.domain == OWN
    layout = 1 if own else site.attributes.integer("layout", 0)
    direction = site.attributes.text("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise site.invalid(f"direction is {direction!r}", hint="forward, reverse, bidirectional")
    passes = 2 if direction == "bidirectional" else 1
    options = _functions(site, cell, passes)
    w, r = site.constant(1, "W"), site.constant(2, "R")
    size = r.shape[-1]
    if w.ndim != 3 or r.ndim != 3 or r.shape != (passes, len(cell.blocks) * size, size) or w.shape[:2] != r.shape[:2]:
        raise site.invalid(f"W has shape {w.shape} and R {r.shape}, for {passes} direction(s)")
    told = site.attributes.integer("hidden_size", size)
    if told != size:
        raise site.invalid(f"hidden_size is {told}, R has {size} features")
    biases = _biases(site, passes, len(cell.blocks) * size)
    options |= {"hidden_size": size, "bidirectional": passes == 2, "bias": biases is not None}
    both = biases is None or bool(biases[1].any() or not biases[0].any())  # else as Keras, which has one
    if own:
        both = site.attributes.flag("recurrent_bias", both)
    options["recurrent_bias"] = both
    bottoms = _bottoms(site, cell, layout, direction == "reverse")
    options["initial_states"] = len(bottoms) > 2 or (len(bottoms) == 2 and bottoms[1].ndim == 3)
    tops = _run(site, bottoms, options, own and direction != "reverse")
    _fill(site, cell, biases is not None, both)
    if not own or direction == "reverse":
        _hand_out(site, tops, own, layout, passes, direction == "reverse")


def _functions(site: Site, cell: Cell, passes: int) -> dict[str, object]:
    """Hyper-parameters from the functions of the cell; whatever our cells do otherwise is refused."""
    usual = [*cell.functions] * passes
    given = site.attributes.get("activations", usual, list)
    named = [str(one).lower() for one in given]
    site.attributes.read |= {"activation_alpha", "activation_beta"}  # sigmoid, tanh and ReLU have none
    relu = site.node.op == "RNN" and named == ["relu"] * passes
    if named != usual and not relu:
        raise site.unsupported(f"activations {', '.join(map(str, given))}: they are {', '.join(usual)} here")
    if site.attributes.has("clip"):
        raise site.unsupported("clip: what goes into the activations is not limited here")
    if site.attributes.flag("input_forget"):
        raise site.unsupported("input_forget: input and forget gate are two here")
    if site.node.op == "GRU" and not site.attributes.flag("linear_before_reset"):
        told = "linear_before_reset is 0: the reset gate multiplies the state, here as in torch its linear map"
        raise site.unsupported(told, hint="Keras has reset_after=True for it")
    if site.has(PEEPHOLES) and (not site.is_known(PEEPHOLES) or site.known(PEEPHOLES).array.any()):
        raise site.unsupported("peepholes: gates do not see the cell here")
    return {"nonlinearity": "relu"} if relu else {}


def _biases(site: Site, passes: int, height: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Biases of the inputs and of the states, each (directions, gates · H)."""
    if not site.has(3):
        return None
    b = site.constant(3, "B")
    if b.shape != (passes, 2 * height):
        raise site.invalid(f"B has shape {b.shape}, expected {(passes, 2 * height)}")
    return b[:, :height], b[:, height:]


# Bottoms ----------------------------------------------------------------------------------------------------------


def _bottoms(site: Site, cell: Cell, layout: int, reverse: bool) -> list[Stream]:
    """x, the mask and the initial states, samples in front."""
    x = site.real(0)
    if x.ndim != 3:
        raise site.invalid(f"X has shape {x.shape}, expected three axes")
    if layout == 0:
        (x,) = site.emit("Permute", x, part="x", dims=[1, 0, 2])
    mask = _mask(site, x) if site.has(LENGTHS) else None
    if reverse:
        (x,) = site.emit("Flip", x, part="reversed", dims=1)
        mask = None if mask is None else site.emit("Flip", mask, part="mask.reversed", dims=1)[0]
    return [x, *([] if mask is None else [mask]), *_states(site, cell, layout, x)]


def _states(site: Site, cell: Cell, layout: int, x: Stream) -> list[Stream]:
    """The initial states as (N, directions, H); none where all are 0 and nobody learns them."""
    found: list[Stream | None] = []
    for i in range(cell.states):
        place = STATES + i
        known = site.known(place) if site.is_known(place) else None
        if known is not None:
            _demand_shape(site, known, layout, x)
        zeros = known is not None and not known.learned and not any(one.any() for one in known.arrays)
        if not site.has(place) or zeros:
            found.append(None)
            continue
        state = site.real(place)
        found.append(state if layout else site.emit("Permute", state, part=f"state{i}", dims=[1, 0, 2])[0])
    there = [one for one in found if one is not None]
    return [one or _zeros(site, there[0]) for one in found] if there else []


def _demand_shape(site: Site, state: Known, layout: int, x: Stream) -> None:
    """Refuse an initial state that is not one of each sample and direction."""
    passes, _, size = site.known(2).shape
    for array, (samples, *_) in zip(state.arrays, x.shapes, strict=False):
        wanted = (samples, passes, size) if layout else (passes, samples, size)
        if array.shape != wanted:
            raise site.invalid(f"an initial state has shape {array.shape}, expected {wanted}")


def _zeros(site: Site, like: Stream) -> Stream:
    """A blob of zeros in the shape of another one."""
    (detached,) = site.emit("Detach", like, part="like")
    return site.emit("Pow", detached, part="zeros", exponent=1.0, scale=0.0)[0]


def _mask(site: Site, x: Stream) -> Stream | None:
    """Which steps of x (N, T, D) count, from how many there are of each sample; None where all do."""
    lengths = site.input(LENGTHS)
    (steps,) = fixed_shape(site, x, [1], "a mask of the steps")
    if isinstance(lengths, Known):
        if all((one == steps).all() for one in lengths.arrays):
            return None
        counted = site.constant(LENGTHS, "sequence_lens").reshape(-1, 1) > np.arange(steps)
        return constant(site, counted.astype(np.int64))
    (column,) = site.emit("Unsqueeze", site.as_real(lengths), part="lengths", dim=1)
    numbers = constant(site, np.arange(steps, dtype=np.float32))
    (left,) = site.emit("Sub", [column, numbers], part="left")
    (positive,) = site.emit("ReLU", left, part="positive")
    return site.emit("Sign", positive, part="mask")[0]


# The layer, and what it makes -------------------------------------------------------------------------------------


def _run(site: Site, bottoms: list[Stream], options: dict[str, object], direct: bool) -> list[Stream]:
    """The layer itself; `direct` where its tops are what the node makes."""
    if direct:
        return site.emit(site.node.op, bottoms, given=options)
    used = max((j for j, top in enumerate(site.tops) if top), default=0)
    tops = [site.shared.unique(f"{site.own}.{name}") for name in ("y", "h", "c")[: used + 1]]
    return site.emit(site.node.op, bottoms, tops=tops, given=options)


def _fill(site: Site, cell: Cell, biased: bool, both: bool) -> None:
    """The parameters of each direction, gates in our order."""
    for number, end in zip(range(site.known(1).shape[0]), ENDS, strict=False):
        site.param(f"weight_ih_l0{end}", _part(site.known(1), number, slice(None), cell))
        site.param(f"weight_hh_l0{end}", _part(site.known(2), number, slice(None), cell))
        half = site.known(3).shape[1] // 2 if biased else 0
        if biased:
            site.param(f"bias_ih_l0{end}", _part(site.known(3), number, slice(half), cell))
        if biased and both:
            site.param(f"bias_hh_l0{end}", _part(site.known(3), number, slice(half, None), cell))


def _part(value: Known, number: int, rows: slice, cell: Cell) -> Known:
    """Rows of a direction in our order. Operators with the same numbers share them, as all know whose part they are."""
    name = f"{value.origin[0]}[{number}, {rows.start or 0}]" if value.origin[0] else ""
    return Known(tuple(_ordered(array[number, rows], cell) for array in value.arrays), value.learned, (name, ()))


def _ordered(array: np.ndarray, cell: Cell) -> np.ndarray:
    """Blocks of rows in our order."""
    blocks = np.split(array, len(cell.blocks))
    return np.concatenate([blocks[i] for i in cell.blocks])


def _hand_out(site: Site, tops: list[Stream], own: bool, layout: int, passes: int, reverse: bool) -> None:
    """What the node makes of y (N, T, directions · H) and of the last states (N, directions, H)."""
    y, *states = tops
    if site.tops[0]:
        if reverse:
            end = [site.tops[0]] if own else None
            (y,) = site.emit("Flip", y, part="y", dims=1, tops=end)
        if not own:
            shapes = [(n, t, passes, f // passes) for n, t, f in y.shapes]
            if layout:
                target = [0, 0, passes, shapes[0][3]]
                site.emit("Reshape", y, part="parted", tops=[site.tops[0]], shape=target)
            else:
                parted = reshaped(site, y, shapes, "parted")
                site.emit("Permute", parted, part="time_first", tops=[site.tops[0]], dims=[1, 2, 0, 3])
    for j, state in enumerate(states, 1):
        if j < len(site.tops) and site.tops[j]:
            kind = ("Identity", {}) if own or layout else ("Permute", {"dims": [1, 0, 2]})
            site.emit(kind[0], state, part=f"last{j}", tops=[site.tops[j]], given=kind[1])
