"""Twins of the recurrent layers: torch's own, and its cells in a loop where torch's layers have no mask and no cont."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .call import Call

LAYERS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
CELLS = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}
NOT_TORCHS = ("second_bottom", "weight_filler", "bias_filler")


def through_layer(kind: str, c: Call, lengths: Tensor | None) -> tuple[Tensor, ...]:
    """torch's layer; with lengths, on a packed sequence."""
    hyper = {key: value for key, value in c.hyper.items() if key not in NOT_TORCHS}
    module = LAYERS[kind](c.x[0].shape[2], batch_first=True, **hyper)
    x: Any = c.x[0]
    if lengths is not None:
        x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, last = functional_call(module, c.own, (x,))
    if lengths is not None:
        y = pad_packed_sequence(y, batch_first=True, total_length=c.x[0].shape[1])[0]
    return (y, *(state.transpose(0, 1) for state in (last if isinstance(last, tuple) else (last,))))


def through_cells(kind: str, c: Call) -> tuple[Tensor, ...]:
    """The same by one cell of torch for each layer and direction, sample by sample and step by step."""
    below, last = c.x[0], []
    for layer in range(c.hyper.get("num_layers", 1)):
        outs = []
        for end in ("", "_reverse") if c.hyper.get("bidirectional") else ("",):
            suffix = f"_l{layer}{end}"
            own = {key.removesuffix(suffix): value for key, value in c.own.items() if key.endswith(suffix)}
            settings = {key: c.hyper[key] for key in ("bias", "nonlinearity") if key in c.hyper}
            cell = CELLS[kind](below.shape[2], c.hyper["hidden_size"], **settings)
            samples = [one_sample(cell, own, c, n, below[n], reverse=end != "") for n in range(len(below))]
            outs.append(torch.stack([out for out, _ in samples]))
            last.append([torch.stack(states) for states in zip(*(state for _, state in samples), strict=True)])
        below = torch.cat(outs, dim=2)
    return (below, *(torch.stack(states, dim=1) for states in zip(*last, strict=True)))


def one_sample(
    cell: nn.Module, own: dict[str, Tensor], c: Call, n: int, x: Tensor, *, reverse: bool
) -> tuple[Tensor, list[Tensor]]:
    """Sample n through one cell: outputs (T, H) and the last state."""
    marks = c.x[1][n].tolist()
    zero = x.new_zeros(c.hyper["hidden_size"])
    state = [zero, zero] if isinstance(cell, nn.LSTMCell) else [zero]
    outs = [zero] * len(marks)
    for t in reversed(range(len(marks))) if reverse else range(len(marks)):
        if c.hyper.get("second_bottom") == "cont":
            begins = t + 1 == len(marks) or not marks[t + 1] if reverse else not marks[t]
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
        if len(c.x) == 1:
            return through_layer(kind, c, None)[: c.tops]
        lengths = c.x[1].sum(dim=1)
        packed = torch.arange(c.x[1].shape[1]) < lengths[:, None]
        if c.hyper.get("second_bottom", "mask") == "mask" and torch.equal(packed, c.x[1] != 0) and lengths.min() > 0:
            return through_layer(kind, c, lengths)[: c.tops]
        return through_cells(kind, c)[: c.tops]

    return compute


TWINS = {kind: twin(kind) for kind in LAYERS}
