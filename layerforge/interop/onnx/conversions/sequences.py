"""Sequences: recurrence and attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..exporting import Export, Length, Value, exports
from .loops import scan
from .recurrent_in import CELLS
from .reductions import reduced


@exports("LSTM", "GRU", "RNN")
def recurrent(w: Export, *bottoms: Value) -> list[Value]:
    """LSTM, GRU or RNN for each layer, between Transposes; Scan where a second bottom marks steps."""
    layer = w.layer
    x, second, initial = layer.told(bottoms)
    if layer.stateful:
        w.note("every run begins from zero; initial_states makes the states inputs, so that they can be carried on")
    below = w.op("Transpose", x, perm=[1, 0, 2])  # ONNX Runtime knows no layout with samples first
    firsts = [w.op("Transpose", one, perm=[1, 0, 2]) for one in initial]
    through = _through if second is None else _marked(w, second)
    count = len(layer.directions)
    lasts: list[list[Value]] = []
    for number in range(layer.num_layers):
        begin = [
            one if layer.num_layers == 1 else w.op("Slice", one, [number * count], [(number + 1) * count], [0])
            for one in firsts
        ]
        below, last = through(w, number, below, begin)
        lasts.append(last)
    y = [w.op("Transpose", below, perm=[1, 0, 2])]
    for states in zip(*lasts, strict=True):
        whole = states[0] if len(states) == 1 else w.op("Concat", *states, axis=0)
        y.append(w.op("Transpose", whole, perm=[1, 0, 2]))
    return y[: len(w.tops)]


def _through(w: Export, number: int, x: Value, first: Sequence[Value]) -> tuple[Value, list[Value]]:
    """A layer as an operator: outputs (T, N, directions · H), and the last states (directions, N, H)."""
    layer, kind = w.layer, w.layer.type_name
    weights = [_stacked(w, f"{name}_l{number}") for name in ("weight_ih", "weight_hh")]
    bias = w.array(f"bias_ih_l{number}", _biases(w, number)) if layer.bias else None
    directions = len(layer.directions)
    special: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
    if kind == "RNN" and layer.nonlinearity == "relu":
        special["activations"] = ["Relu"] * directions
    direction = "bidirectional" if layer.bidirectional else None
    y, *last = w.op(
        kind, x, *weights, bias, None, *first, outputs=1 + layer.states,
        direction=direction, hidden_size=layer.hidden_size, **special,
    )  # fmt: skip
    if directions == 1:
        return w.op("Squeeze", y, [1]), last
    y = w.op("Transpose", y, perm=[0, 2, 1, 3])
    return w.op("Reshape", y, [0, 0, directions * layer.hidden_size]), last


def _blocks(w: Export, array: np.ndarray) -> np.ndarray:
    """Rows in ONNX's order of the gates."""
    blocks = np.split(array, w.layer.gates)
    return np.concatenate([blocks[i] for i in CELLS[w.layer.type_name].order])


def _stacked(w: Export, name: str) -> Value:
    """The weights of both directions."""
    return w.array(name, np.stack([_blocks(w, w.numbers(f"{name}{end}")) for end in w.layer.directions]))


def _biases(w: Export, number: int) -> np.ndarray:
    """Both biases of both directions; a second one that there is not is 0."""
    rows = []
    for end in w.layer.directions:
        first = _blocks(w, w.numbers(f"bias_ih_l{number}{end}"))
        second = np.zeros_like(first)
        if w.layer.recurrent_bias:
            second = _blocks(w, w.numbers(f"bias_hh_l{number}{end}"))
        rows.append(np.concatenate([first, second]))
    return np.stack(rows)


# With marks ---------------------------------------------------------------------------------------------------------

Through = Callable[[Export, int, Value, Sequence[Value]], tuple[Value, list[Value]]]


def _marked(w: Export, second: Value) -> Through:
    """The layers where the second bottom (N, T) says which steps count, or take over the state before them."""
    cont = w.layer.second_bottom == "cont"
    zero: Any = 0.0 if second.dtype == "float32" else 0
    told = w.op("Not", w.op("Equal", w.op("Transpose", second, perm=[1, 0]), zero, dtype="bool"))
    told = w.op("Unsqueeze", told, [-1])  # (T, N, 1)
    samples = second.shape[0]

    def marks(reverse: bool) -> Value:
        if not (cont and reverse):
            return told
        # Backwards the state comes from step t + 1, and whether these belong together is told there.
        length = w.demand_fixed(second.shape[1], "steps")
        later = w.op("Slice", told, [1], [length], [0])
        last = w.op("Slice", told, [0], [1], [0])
        always = w.op("Or", last, w.op("Not", last))
        return w.op("Concat", later, always, axis=0)

    def through(w: Export, number: int, x: Value, first: Sequence[Value]) -> tuple[Value, list[Value]]:
        outs, lasts = [], []
        for i, end in enumerate(w.layer.directions):
            states = [w.op("Squeeze", w.op("Slice", one, [i], [i + 1], [0]), [0]) for one in first]
            if not states:
                states = [_zeros(w, samples)] * w.layer.states
            out, last = _pass(w, f"_l{number}{end}", x, marks(end != ""), states, end != "")
            outs.append(out)
            lasts.append([w.op("Unsqueeze", one, [0]) for one in last])
        joined = [w.op("Concat", *each, axis=0) if len(each) > 1 else each[0] for each in zip(*lasts, strict=True)]
        return w.op("Concat", *outs, axis=2) if len(outs) > 1 else outs[0], joined

    return through


def _zeros(w: Export, samples: Length) -> Value:
    shape = w.shape([samples, w.layer.hidden_size])
    made = w.op("ConstantOfShape", shape, value=np.zeros(1, np.float32))
    return Value(made.name)


def _pass(
    w: Export, suffix: str, x: Value, marks: Value, states: Sequence[Value], reverse: bool
) -> tuple[Value, list[Value]]:
    """One pass over time: outputs (T, N, H) and the last states (N, H)."""
    layer = w.layer
    a_x = w.op("MatMul", x, w.array(f"weight_ih{suffix}", w.numbers(f"weight_ih{suffix}").T))
    if layer.bias:
        a_x = w.op("Add", a_x, w.param(f"bias_ih{suffix}"))
    recurrent = w.array(f"weight_hh{suffix}", w.numbers(f"weight_hh{suffix}").T)
    bias = w.param(f"bias_hh{suffix}") if layer.bias and layer.recurrent_bias else None
    cont = layer.second_bottom == "cont"

    def body(*given: Value) -> tuple[list[Value], list[Value]]:
        *before, now, mark = given
        if cont:
            before = [w.op("Where", mark, one, 0.0, dtype="float32") for one in before]
        a_h = w.op("MatMul", before[0], recurrent)
        a_h = a_h if bias is None else w.op("Add", a_h, bias)
        new = STEPS[layer.type_name](w, now, a_h, before)
        if cont:
            return new, [new[0]]
        kept = [w.op("Where", mark, one, old, dtype="float32") for one, old in zip(new, before, strict=True)]
        return kept, [w.op("Where", mark, new[0], 0.0, dtype="float32")]

    *last, out = scan(w, body, states, [a_x, marks], reverse=reverse)
    return out, last


def _lstm(w: Export, a_x: Value, a_h: Value, before: Sequence[Value]) -> list[Value]:
    a = w.op("Split", w.op("Add", a_x, a_h), axis=1, outputs=4)
    i, f, o = (w.op("Sigmoid", a[k]) for k in (0, 1, 3))
    c = w.op("Add", w.op("Mul", f, before[1]), w.op("Mul", i, w.op("Tanh", a[2])))
    return [w.op("Mul", o, w.op("Tanh", c)), c]


def _gru(w: Export, a_x: Value, a_h: Value, before: Sequence[Value]) -> list[Value]:
    u, v = (w.op("Split", a, axis=1, outputs=3) for a in (a_x, a_h))
    r, z = (w.op("Sigmoid", w.op("Add", u[k], v[k])) for k in (0, 1))
    g = w.op("Tanh", w.op("Add", u[2], w.op("Mul", r, v[2])))
    return [w.op("Add", w.op("Mul", w.op("Sub", 1.0, z), g), w.op("Mul", z, before[0]))]


def _rnn(w: Export, a_x: Value, a_h: Value, before: Sequence[Value]) -> list[Value]:
    return [w.op("Tanh" if w.layer.nonlinearity == "tanh" else "Relu", w.op("Add", a_x, a_h))]


STEPS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}

# Attention ----------------------------------------------------------------------------------------------------------


@exports("ScaledDotProductAttention")
def attention(w: Export, q: Value, k: Value, v: Value, mask: Value | None = None) -> Value:
    """MatMul, Softmax and MatMul; Where what may not be seen."""
    if w.layer.scale is not None:
        return _attend(w, q, k, v, w.layer.scale, mask)
    return _attend(w, q, k, v, 1 / math.sqrt(w.demand_fixed(q.shape[-1], "features")), mask)


def _attend(w: Export, q: Value, k: Value, v: Value, scale: float, mask: Value | None) -> Value:
    last = q.ndim - 1
    turned = w.op("Transpose", k, perm=[*range(last - 1), last, last - 1])
    scores = w.op("MatMul", w.op("Mul", q, float(scale)), turned)
    seen = _seen(w, q, k, mask)
    if seen is None:
        return _product(w, w.op("Softmax", scores, axis=-1), v)
    if mask is None:  # the first key at least is seen
        return _product(w, w.op("Softmax", w.op("Where", seen, scores, -math.inf, dtype="float32"), axis=-1), v)
    counts = w.cast(seen, "int32")
    sighted = w.cast(reduced(w, "ReduceMax", counts, [-1]), "bool")
    hidden = w.op("Where", sighted, -math.inf, 0.0, dtype="float32")
    weights = w.op("Softmax", w.op("Where", seen, scores, hidden, dtype="float32"), axis=-1)
    return _product(w, w.op("Mul", weights, w.cast(sighted, "float32")), v)


def _product(w: Export, weights: Value, v: Value) -> Value:
    return w.op("MatMul", weights, v)


def _seen(w: Export, q: Value, k: Value, mask: Value | None) -> Value | None:
    """Which keys each query may see, in a shape that broadcasts to (N, ..., L, S); None for all."""
    seen = None
    if mask is not None:
        zero: Any = 0.0 if mask.dtype == "float32" else 0
        seen = w.op("Not", w.op("Equal", mask, zero, dtype="bool"))
        if mask.ndim < q.ndim:
            seen = w.op("Unsqueeze", seen, list(range(1, 1 + q.ndim - mask.ndim)))
    if w.layer.causal:
        queries, keys = (w.demand_fixed(one.shape[-2], "positions") for one in (q, k))
        past = w.constant(np.arange(queries)[:, None] >= np.arange(keys))
        seen = past if seen is None else w.op("And", seen, past)
    return seen


@exports("MultiheadAttention")
def multihead_attention(w: Export, *bottoms: Value) -> Value:
    """MatMul and Add, Split, Reshape and Transpose into heads, attention, and back."""
    xs, mask = bottoms[: 1 if len(bottoms) < 3 else 3], bottoms[-1] if len(bottoms) % 2 == 0 else None
    features, heads = w.demand_fixed(xs[0].shape[2], "features"), w.layer.num_heads
    weight = w.numbers("in_proj_weight")
    bias = w.numbers("in_proj_bias") if w.layer.bias else None
    size = len(weight) // len(xs)  # of the rows that act on a bottom
    parts: list[Value] = []
    for number, x in enumerate(xs):
        rows = slice(number * size, (number + 1) * size)
        a = w.op("MatMul", x, w.array("in_proj_weight", weight[rows].T))
        if bias is not None:
            a = w.op("Add", a, w.array("in_proj_bias", bias[rows]))
        parts += w.op("Split", a, axis=2, outputs=3) if len(xs) == 1 else [a]
    shapes = [[*x.shape[:2], heads, features // heads] for x in (xs * 3 if len(xs) == 1 else xs)]
    q, k, v = (
        w.op("Transpose", w.reshape(part, shape), perm=[0, 2, 1, 3], shape=[shape[i] for i in (0, 2, 1, 3)])
        for part, shape in zip(parts, shapes, strict=True)
    )
    z = w.op("Transpose", _attend(w, q, k, v, 1 / math.sqrt(features // heads), mask), perm=[0, 2, 1, 3])
    y = w.op("MatMul", w.reshape(z, w.tops[0].shape), w.array("out_proj_weight", w.numbers("out_proj_weight").T))
    return w.op("Add", y, w.param("out_proj_bias")) if w.layer.bias else y


@exports("PositionalEmbedding")
def positional_embedding(w: Export, x: Value) -> Value:
    """Add; Slice of the weights where there are more positions than steps."""
    steps = x.shape[1]
    if w.layer.kind == "learned":
        weight = w.param("weight")
        places = weight if weight.shape[0] == steps else w.op("Slice", weight, [0], w.length(steps), [0])
    else:
        lengths = w.demand_fixed(steps, "positions"), w.demand_fixed(x.shape[2], "features")
        places = w.constant(w.building.host(w.layer.waves(*lengths)))
    return w.op("Add", x, places)
