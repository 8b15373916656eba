"""Recurrent layers: Caffe has the steps first, and one bias."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..conversion import Site, Stream, converts
from ..message import Message


@converts("LSTMUnit")
def lstm_unit(site: Site) -> None:
    """One step of an LSTM: c = cont f c_prev + i g, h = o tanh(c), from the gates i, f, o, g before their squashing."""
    site.count(3, 2)
    before, gates, cont = (site.real(bottom) for bottom in site.bottoms)
    site.demand_axes(before, 3)
    size = before.shape[-1]
    if before.ndim != 3 or gates.shape != (*before.shape[:2], 4 * size) or cont.spec.size != before.shape[1]:
        told = f"the bottoms have the shapes {before.shape}, {gates.shape} and {cont.shape}"
        raise site.invalid(told, site.layer, "bottom")
    parts = [f"{site.own}.{name}" for name in ("i0", "f0", "o0", "g0")]
    raw = site.emit("Slice", gates, part="gates", tops=[site.unique(one) for one in parts], dim=2)
    i, f, o = (site.emit("Sigmoid", one, part=name)[0] for one, name in zip(raw[:3], "ifo", strict=True))
    (g,) = site.emit("Tanh", raw[3], part="g")
    (keeps,) = site.emit("Reshape", cont, part="cont", shape=[1, -1, 1])
    (kept,) = site.emit("Mul", [keeps, f, before], part="kept")
    (new,) = site.emit("Mul", [i, g], part="new")
    (c,) = site.emit("Add", [kept, new], part="c", tops=site.tops[:1])
    (shown,) = site.emit("Tanh", c, part="shown")
    site.emit("Mul", [o, shown], tops=site.tops[1:])


@converts("LSTM")
def lstm(site: Site) -> None:
    """LSTM with a single bias, whose state goes on from batch to batch unless the initial states are bottoms."""
    site.count((2, 5), (1, 3))
    p = site.param("recurrent_param")
    y, *last = _unrolled(site, p, "LSTM", states=2)
    _blobs(site, p, order=(0, 1, 3, 2))  # from Caffe's gates i, f, o, g to i, f, g, o
    site.emit("Transpose", y, dim0=0, dim1=1, tops=site.tops[:1])
    _last_states(site, last)


@converts("RNN")
def rnn(site: Site) -> None:
    """RNN with a single bias, and a Linear and a Tanh that make the output of its state."""
    site.count((2, 4), (1, 2))
    p = site.param("recurrent_param")
    h, *last = _unrolled(site, p, "RNN", states=1)
    _blobs(site, p, order=None)
    (y,) = site.emit("Linear", h, part="output", out_features=p.get("num_output"))
    site.blob("weight", filler=p.get("weight_filler"))
    site.blob("bias", filler=p.get("bias_filler"), key="bias_filler")
    (y,) = site.emit("Tanh", y, part="tanh")
    site.emit("Transpose", y, dim0=0, dim1=1, tops=site.tops[:1])
    _last_states(site, last)


def _size(site: Site, p: Message) -> int:
    """Features of the state."""
    site.harmless(p, "debug_info")
    size: int = p.get("num_output")
    if size < 1:
        raise site.invalid("num_output must be at least 1", p, "num_output")
    return size


def _blobs(site: Site, p: Message, order: Sequence[int] | None) -> None:
    """The blobs of the layer that was emitted last: of the input, the bias, the constant input, the state before."""
    made = site.made[-1]
    whole, constant = made.layer.param_decls["weight_ih_l0"].shape[1], _constant(site, p)
    width = whole - math.prod(constant.shape[1:]) if constant is not None else whole
    filler, part = p.get("weight_filler"), None if constant is None else (0, width)
    site.blob("weight_ih_l0", of=made, filler=filler, order=order, columns=part)
    site.blob("bias_ih_l0", of=made, filler=p.get("bias_filler"), key="bias_filler", order=order)
    if width < whole:
        site.blob("weight_ih_l0", of=made, filler=filler, order=order, columns=(width, whole))
    site.blob("weight_hh_l0", of=made, order=order)


def _constant(site: Site, p: Message) -> Stream | None:
    """The bottom that is the same in every step (Caffe's x_static), where there is one."""
    exposed = len(site.tops) - 1 if p.get("expose_hidden") else 0
    return site.bottoms[2] if len(site.bottoms) == 3 + exposed else None


def _unrolled(site: Site, p: Message, kind: str, states: int) -> list[Stream]:
    """Emit the recurrent layer, with samples first: its output, and its last states where they are tops."""
    size, exposed = _size(site, p), p.get("expose_hidden")
    known = 2 + (states if exposed else 0)
    if len(site.tops) != known - 1:
        raise site.invalid(f"{len(site.tops)} top(s), with expose_hidden {str(exposed).lower()}", site.layer, "top")
    if len(site.bottoms) not in (known, known + 1):
        told = f"{len(site.bottoms)} bottoms, with expose_hidden {str(exposed).lower()}: {known} are needed"
        raise site.invalid(told, site.layer, "bottom")
    x, cont, *rest = (site.real(bottom) for bottom in site.bottoms)
    if x.ndim < 3 or cont.shape != x.shape[:2]:
        told = f"the bottoms have the shapes {x.shape} and {cont.shape}: (T, N, ...) and (T, N) are needed"
        raise site.invalid(told, site.layer, "bottom")
    initial = rest[len(rest) - known + 2 :]
    if x.ndim > 3:
        (x,) = site.emit("Flatten", x, part="features", start_dim=2)
    (x,) = site.emit("Transpose", x, part="samples", dim0=0, dim1=1)
    if len(rest) > len(initial):
        x = _with_constant(site, x, rest[0])
    (cont,) = site.emit("Transpose", cont, part="cont", dim0=0, dim1=1)
    first = []
    for name, state in zip("hc", initial, strict=False):
        if state.shape != (1, x.shape[0], size):
            raise site.invalid(f"an initial state has shape {state.shape}", site.layer, "bottom")
        (held,) = site.emit("Detach", state, part=f"{name}0")  # Caffe gives initial states no gradient
        first += site.emit("Transpose", held, part=f"{name}0.samples", dim0=0, dim1=1)
    options: dict[str, Any] = {"initial_states": True} if exposed else {"stateful": True}
    names = [site.unique(f"{site.own}.{name}") for name in ("steps", *"hc"[: len(site.tops) - 1])]
    options |= {"hidden_size": size, "second_bottom": "cont", "recurrent_bias": False}
    return site.emit(kind, [x, cont, *first], name=names[0], tops=names, **options)


def _with_constant(site: Site, x: Stream, constant: Stream) -> Stream:
    """The input of every step, and behind it what is the same in all of them."""
    samples, steps = x.shape[:2]
    if not constant.ndim or constant.shape[0] != samples:
        raise site.invalid(f"bottom 2 has shape {constant.shape} for {samples} samples", site.layer, "bottom")
    width = math.prod(constant.shape[1:])
    (one,) = site.emit("Reshape", constant, part="constant", shape=[-1, 1, width])
    (each,) = site.emit("Expand", one, part="constant.steps", shape=[-1, steps, width])
    return site.emit("Concat", [x, each], part="input", dim=2)[0]


def _last_states(site: Site, last: list[Stream]) -> None:
    """The last states as tops, which give the layer no gradient in Caffe."""
    for i, (state, top) in enumerate(zip(last, site.tops[1:], strict=True)):
        (held,) = site.emit("Detach", state, part=f"last{i}.held")
        site.emit("Transpose", held, part=f"last{i}", tops=[top], dim0=0, dim1=1)
    if last:
        site.note("as in Caffe, neither the last states nor the initial ones take part in backward")
