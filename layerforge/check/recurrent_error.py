"""The recurrent layers in bf16-mixed as kernels compute them, step by step, each with the bound of its error.

What is stored in bfloat16 on the way: h, which the next step and the layer above read; the gates, of which backward
makes their derivatives; backward the gradients of the gates, which products read. a, c and what goes back through time
are float32. An error enters the next step through W_hh and through σ and tanh, which are monotonic: σ(a) is off by the
larger of σ(a + e) - σ(a) and σ(a) - σ(a - e), at most e/4, and tanh(a) so by at most e; where they are saturated, by
next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays.functional import sigmoid
from .harness import Probe
from .running_error import Approx, as_approx, joined, learned

OF_SQUASHING = 2.0**-20  # how far σ and tanh of a vector in float32 may be off: 8 roundings of 1

States = tuple[Approx, ...]


def squashed(function: Callable[[Any], Any], a: Approx) -> Approx:
    """A monotonic function of a."""
    value = function(a.value)
    reach = np.maximum(function(a.value + a.error) - value, value - function(a.value - a.error))
    return Approx(value, reach + OF_SQUASHING)


def logistic(a: Approx) -> Approx:
    """σ(a)."""
    return squashed(lambda v: sigmoid(np, v), a)


def tanh(a: Approx) -> Approx:
    """tanh(a)."""
    return squashed(np.tanh, a)


def less(a: Approx) -> Approx:
    """1 - a."""
    return a * -1.0 + 1.0


def blocks(a: Approx, count: int) -> list[Approx]:
    """The gates, side by side in a."""
    return [a.moved(lambda m, i=i: np.split(m, count, axis=1)[i]) for i in range(count)]


class Cell(NamedTuple):
    """A step and its way back, as a layer's `step` and `step_back` without marks."""

    step: Callable[[Approx, Approx, States], tuple[States, States]]
    back: Callable[[States, States], tuple[Approx, Approx, States]]


def lstm_step(a_x: Approx, a_h: Approx, state: States) -> tuple[States, States]:
    """Of LSTM: h and c, and what its way back reads."""
    i, f, g, o = blocks(a_x + a_h, 4)
    i, f, g, o = logistic(i), logistic(f), tanh(g), logistic(o)
    c = f * state[1] + i * g
    tanh_c = tanh(c)
    return (o * tanh_c, c), (*(gate.rounded() for gate in (i, f, g, o)), state[1], tanh_c)


def lstm_back(dstate: States, kept: States) -> tuple[Approx, Approx, States]:
    """Of LSTM: da twice, and what goes back to h and c directly."""
    (dh, dc), (i, f, g, o, c_before, tanh_c) = dstate, kept
    dc = dc + dh * o * less(tanh_c * tanh_c)
    da_i, da_f = dc * g * i * less(i), dc * c_before * f * less(f)
    da = joined([da_i, da_f, dc * i * less(g * g), dh * tanh_c * o * less(o)], 1).rounded()
    return da, da, (as_approx(np.zeros_like(dh.value)), dc * f)


def gru_step(u: Approx, w: Approx, state: States) -> tuple[States, States]:
    """Of GRU: h, and what its way back reads."""
    (u_r, u_z, u_g), (w_r, w_z, w_g) = blocks(u, 3), blocks(w, 3)
    r, z = logistic(u_r + w_r), logistic(u_z + w_z)
    g = tanh(u_g + r * w_g)
    return (less(z) * g + z * state[0],), (r.rounded(), z.rounded(), g.rounded(), w_g.rounded(), state[0])


def gru_back(dstate: States, kept: States) -> tuple[Approx, Approx, States]:
    """Of GRU: du, dw, and what goes back to h directly."""
    (dh,), (r, z, g, w_g, h_before) = dstate, kept
    du_g = dh * less(z) * less(g * g)
    du_r, du_z = du_g * w_g * r * less(r), dh * (h_before - g) * z * less(z)
    du, dw = (joined([du_r, du_z, d], 1).rounded() for d in (du_g, du_g * r))
    return du, dw, (dh * z,)


def rnn_step(a_x: Approx, a_h: Approx, _: States) -> tuple[States, States]:
    """Of RNN with tanh: h, and h as it is stored."""
    h = tanh(a_x + a_h)
    return (h,), (h.rounded(),)


def rnn_back(dstate: States, kept: States) -> tuple[Approx, Approx, States]:
    """Of RNN with tanh: da twice; h reaches its step through a alone."""
    (dh,), (h,) = dstate, kept
    da = (dh * less(h * h)).rounded()
    return da, da, (as_approx(np.zeros_like(dh.value)),)


CELLS = {"LSTM": Cell(lstm_step, lstm_back), "GRU": Cell(gru_step, gru_back), "RNN": Cell(rnn_step, rnn_back)}


class Way(NamedTuple):
    """A pass over time: its input, and of each step, in its order, the h before and what its cell keeps."""

    order: list[int]
    x: Approx
    before: list[Approx]
    kept: list[States]


def recurrent(truth: Probe, dys: Sequence[Any]) -> dict[str, Approx]:
    """Tops and all gradients before they are stored, of a layer that begins from 0 and whose steps all count."""
    layer: Any = truth.layer
    below, ways, lasts = as_approx(truth.bottoms[0].swapaxes(0, 1)), {}, []
    for number in range(layer.num_layers):
        outs = []
        for end in layer.directions:
            suffix = f"_l{number}{end}"
            out, last, ways[suffix] = through(layer, suffix, below)
            outs.append(out)
            lasts.append(last)
        above = joined(outs, 2)
        below = above.rounded()
    stacked = [joined([s.moved(lambda m: m[:, None]) for s in states], 1) for states in zip(*lasts, strict=True)]
    tops = [above.moved(lambda m: m.swapaxes(0, 1)), *stacked][: len(dys)]
    dx, gradients = back(layer, ways, dys)
    return {f"top[{i}]": top for i, top in enumerate(tops)} | gradients | {"bottom[0]": dx}


def through(layer: Any, suffix: str, x: Approx) -> tuple[Approx, States, Way]:
    """A pass over time: its outputs (T, N, H), the last state, and what goes back."""
    (steps, n, _), p, cell = x.value.shape, layer.params, CELLS[layer.type_name]
    order = list(range(steps))[:: -1 if suffix.endswith("_reverse") else 1]
    way, outs = Way(order, x, [], []), {}
    state = tuple(as_approx(np.zeros((n, layer.hidden_size))) for _ in range(layer.states))
    for t in order:
        way.before.append(state[0])
        a_x, a_h = x[t] @ p[f"weight_ih{suffix}"].T, state[0] @ p[f"weight_hh{suffix}"].T
        if layer.bias:
            a_x = a_x + p[f"bias_ih{suffix}"]
            a_h = a_h + p[f"bias_hh{suffix}"] if layer.recurrent_bias else a_h
        last, kept = cell.step(a_x, a_h, state)
        way.kept.append(kept)
        outs[t] = last[0].moved(lambda m: m[None])
        state = (last[0].rounded(), *last[1:])
    return joined([outs[t] for t in range(steps)], 0), last, way


def back(layer: Any, ways: dict[str, Way], dys: Sequence[Any]) -> tuple[Approx, dict[str, Approx]]:
    """The gradients of the bottom and of the parameters."""
    size, above = layer.hidden_size, as_approx(dys[0].swapaxes(0, 1))
    gradients: dict[str, Approx] = {}
    for number in reversed(range(layer.num_layers)):
        dbelow = []
        for i, end in enumerate(layer.directions):
            suffix, at = f"_l{number}{end}", number * len(layer.directions) + i
            zeros = np.zeros_like(dys[0][:, 0, :size])
            given = [dys[1 + s][:, at] if 1 + s < len(dys) else zeros for s in range(layer.states)]
            mine = above[:, :, i * size : (i + 1) * size]
            dx, found = back_through(layer, suffix, ways[suffix], mine, tuple(map(as_approx, given)))
            dbelow.append(dx)
            gradients |= found
        above = dbelow[0] if len(dbelow) == 1 else dbelow[0] + dbelow[1]
    return above.moved(lambda m: m.swapaxes(0, 1)), gradients


def back_through(
    layer: Any, suffix: str, way: Way, dy: Approx, dstate: States
) -> tuple[Approx, dict[str, Approx]]:
    """A pass back: the gradients of its input and of its parameters."""
    cell, w_ih, w_hh = CELLS[layer.type_name], layer.params[f"weight_ih{suffix}"], layer.params[f"weight_hh{suffix}"]
    das: list[tuple[Approx, Approx]] = []
    for t, kept in zip(reversed(way.order), reversed(way.kept), strict=True):
        da_x, da_h, (direct, *rest) = cell.back((dstate[0] + dy[t], *dstate[1:]), kept)
        das.insert(0, (da_x, da_h))
        dstate = (direct + da_h @ w_hh, *rest)
    da_x, da_h = (joined([d.moved(lambda m: m[None]) for d in each], 0) for each in zip(*das, strict=True))
    before = joined([h.moved(lambda m: m[None]) for h in way.before], 0)
    x = way.x[way.order]
    found = {}
    for kind, da, read in (("ih", da_x, x), ("hh", da_h, before)):
        weight, bias = learned(da, read)
        found[f"weight_{kind}{suffix}"] = weight
        if f"bias_{kind}{suffix}" in layer.params:
            found[f"bias_{kind}{suffix}"] = bias
    dx = da_x @ w_ih
    return dx[np.argsort(way.order)], found
