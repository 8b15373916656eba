"""Twins of the recurrent layers and of attention.

Recurrent layers are torch's own, and its cells in a loop where torch's layers have no mask and no cont. torch has no
positional embedding: that twin is Vaswani et al.'s formula, number by number.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .call import Call

LAYERS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
CELLS = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}
NOT_TORCHS = ("second_bottom", "stateful", "initial_states", "recurrent_bias", "weight_filler", "bias_filler")


def told(kind: str, c: Call) -> tuple[Tensor | None, list[Tensor]]:
    """The marks of the second bottom, if there is one, and the initial states (N, passes, H), zeros if not given."""
    count = 2 if kind == "LSTM" else 1
    passes = c.hyper.get("num_layers", 1) * (2 if c.hyper.get("bidirectional") else 1)
    zeros = c.x[0].new_zeros(len(c.x[0]), passes, c.hyper["hidden_size"])
    initial = c.x[-count:] if c.hyper.get("initial_states") else [zeros] * count
    c.hyper.get("stateful")  # this is a first batch, which begins from zero all the same
    return c.x[1] if len(c.x) > 1 + count * bool(c.hyper.get("initial_states")) else None, initial


def both_biases(c: Call) -> dict[str, Tensor]:
    """A layer's arrays, with zeros for a second bias that it does not have."""
    zeros = {key.replace("ih", "hh"): torch.zeros_like(value) for key, value in c.own.items() if "bias_ih" in key}
    return zeros | c.own


def through_layer(kind: str, c: Call, initial: list[Tensor], lengths: Tensor | None) -> tuple[Tensor, ...]:
    """torch's layer; with lengths, on a packed sequence."""
    hyper = {key: value for key, value in c.hyper.items() if key not in NOT_TORCHS}
    module = LAYERS[kind](c.x[0].shape[2], batch_first=True, **hyper)
    x: Any = c.x[0]
    if lengths is not None:
        x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    first = tuple(state.transpose(0, 1).contiguous() for state in initial)
    y, last = functional_call(module, both_biases(c), (x, first if len(first) > 1 else first[0]))
    if lengths is not None:
        y = pad_packed_sequence(y, batch_first=True, total_length=c.x[0].shape[1])[0]
    return (y, *(state.transpose(0, 1) for state in (last if isinstance(last, tuple) else (last,))))


def through_cells(kind: str, c: Call, initial: list[Tensor], marks: Tensor) -> tuple[Tensor, ...]:
    """The same by one cell of torch for each layer and direction, sample by sample and step by step."""
    below, last, every = c.x[0], [], both_biases(c)
    for layer in range(c.hyper.get("num_layers", 1)):
        outs = []
        for end in ("", "_reverse") if c.hyper.get("bidirectional") else ("",):
            suffix = f"_l{layer}{end}"
            own = {key.removesuffix(suffix): value for key, value in every.items() if key.endswith(suffix)}
            settings = {key: c.hyper[key] for key in ("bias", "nonlinearity") if key in c.hyper}
            cell = CELLS[kind](below.shape[2], c.hyper["hidden_size"], **settings)
            settled = c.hyper.get("second_bottom") == "cont", end != ""
            samples = [
                one_sample(cell, own, below[n], marks[n].tolist(), [s[n, len(last)] for s in initial], *settled)
                for n in range(len(below))
            ]
            outs.append(torch.stack([out for out, _ in samples]))
            last.append([torch.stack(states) for states in zip(*(state for _, state in samples), strict=True)])
        below = torch.cat(outs, dim=2)
    return (below, *(torch.stack(states, dim=1) for states in zip(*last, strict=True)))


def one_sample(
    cell: nn.Module, own: dict[str, Tensor], x: Tensor, marks: list[Any], state: list[Tensor], cont: bool, reverse: bool
) -> tuple[Tensor, list[Tensor]]:
    """One sample (T, D) through one cell, from a state: outputs (T, H) and the last state."""
    zero = torch.zeros_like(state[0])
    outs = [zero] * len(marks)
    for t in reversed(range(len(marks))) if reverse else range(len(marks)):
        if cont:
            begins = t + 1 < len(marks) and not marks[t + 1] if reverse else not marks[t]
            state = [zero] * len(state) if begins else state
        elif not marks[t]:
            continue
        new = functional_call(cell, own, (x[t], tuple(state) if len(state) > 1 else state[0]))
        state = list(new) if isinstance(new, tuple) else [new]
        outs[t] = state[0]
    return torch.stack(outs), state


def twin(kind: str) -> Any:
    """The twin of a recurrent layer: torch's layer where that can do it."""

    def compute(c: Call) -> tuple[Tensor, ...]:
        marks, initial = told(kind, c)
        if marks is None:
            return through_layer(kind, c, initial, None)[: c.tops]
        lengths = marks.sum(dim=1)
        packed = torch.arange(marks.shape[1]) < lengths[:, None]
        if c.hyper.get("second_bottom", "mask") == "mask" and torch.equal(packed, marks != 0) and lengths.min() > 0:
            return through_layer(kind, c, initial, lengths)[: c.tops]
        return through_cells(kind, c, initial, marks)[: c.tops]

    return compute


def seen(c: Call, xs: list[Tensor], queries: int, keys: int) -> Tensor:
    """Booleans (N, heads or 1, L, S): what the mask behind the bottoms xs and `causal` leave to be seen."""
    allowed = torch.ones(len(xs[0]), 1, queries, keys, dtype=torch.bool)
    if len(c.x) > len(xs):
        mask = c.x[-1] != 0
        allowed = allowed & {2: lambda: mask[:, None, None], 3: lambda: mask[:, None], 4: lambda: mask}[mask.ndim]()
    return allowed.tril() if c.hyper.get("causal") else allowed


def dot_product(c: Call) -> Tensor:
    """torch's scaled_dot_product_attention, with the mask of the last bottom as attn_mask."""
    q, k, v = c.x[:3]
    scale = c.hyper.get("scale")
    if len(c.x) == 3:
        return F.scaled_dot_product_attention(q, k, v, is_causal=c.hyper.get("causal", False), scale=scale)
    mask = seen(c, [q, k, v], q.shape[-2], k.shape[-2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask if q.ndim == 4 else mask[:, 0], scale=scale)


def multihead(c: Call) -> Tensor:
    """torch's MultiheadAttention, with the batch first and the mask for every head."""
    xs = c.x[: 1 if len(c.x) < 3 else 3]
    q, k, v = xs * 3 if len(xs) == 1 else xs
    count = c.hyper["num_heads"]
    module = nn.MultiheadAttention(q.shape[2], count, bias=c.hyper.get("bias", True), batch_first=True)
    own = {key.replace("out_proj_", "out_proj."): value for key, value in c.own.items()}
    hidden = ~seen(c, xs, q.shape[1], k.shape[1]).expand(-1, count, -1, -1).flatten(0, 1)
    return functional_call(module, own, (q, k, v), {"attn_mask": hidden, "need_weights": False})[0]


def positional(c: Call) -> Tensor:
    """x + the learned rows, or + sin and cos of t / 10000^(i / features) for even and odd i."""
    _, steps, features = c.x[0].shape
    if "weight" in c.own:
        return c.x[0] + c.own["weight"][:steps]
    waves = torch.empty(steps, features)
    for t in range(steps):
        for i in range(0, features, 2):
            angle = t / math.pow(10_000, i / features)
            waves[t, i : i + 2] = torch.tensor([math.sin(angle), math.cos(angle)])[: features - i]
    return c.x[0] + waves


TWINS = {
    **{kind: twin(kind) for kind in LAYERS},
    "ScaledDotProductAttention": dot_product,
    "MultiheadAttention": multihead,
    "PositionalEmbedding": positional,
}
