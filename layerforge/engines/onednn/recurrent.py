"""LSTM, GRU and RNN by oneDNN's primitives, each of which does all steps of a layer in one direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...arrays.bfloat16 import BFLOAT16
from ...arrays.spec import Spec
from ...layers.sequences.lstm import LSTM
from ...layers.sequences.recurrent import Recurrent
from ...layers.sequences.rnn import RNN
from . import library, primitives, recurrence
from .activation import TANH
from .base import OneDnn
from .recurrence import How

WHOLE = slice(None)
AS_OURS = ((WHOLE, WHOLE),)
BIASES = "bias_ih", "bias_hh"
MANY = 2**17  # steps of all samples over which oneDNN's running sums in float32 lose about 1e-5


class Pass(NamedTuple):
    """A layer's way over time in one direction."""

    end: str  # of the names of its parameters
    number: int  # among all passes
    direction: int  # 1 is from the last step to the first


class OneDnnRecurrent(OneDnn, Recurrent):
    """What the three share. Inside, arrays have time first, and the layer's tops are views of them.

    In bfloat16 are x, y, h and what oneDNN sees of the weights; c, the bias and all gradients inside are float32.
    """

    replays = can_overwrite_grad = has_bfloat16 = True
    backward_reads = ("bottom[0]", "top")

    cell: ClassVar[str]
    # The blocks of gates that oneDNN wants, one or all, each with the block of ours that it is, or for the bias with
    # those of b_ih and b_hh that it is the sum of.
    weight_blocks: ClassVar[tuple[tuple[Any, Any], ...]] = AS_OURS
    bias_blocks: ClassVar[tuple[tuple[Any, Any, Any], ...]] = ((WHOLE, WHOLE, WHOLE),)

    @classmethod
    def refuses(cls, reference: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        if reference.hidden_size == 1:
            return "a state of one number"
        if bottoms[0].shape[0] * bottoms[0].shape[1] > MANY:
            return "oneDNN's gradients of parameters, sums over so many steps, lose digits"
        if reference.initial_states:
            return "with initial states"
        if reference.stateful:
            return "with states that it goes on from"
        return "with a second bottom" if len(bottoms) > 1 else super().refuses(reference, bottoms, tops)

    def refuses_bfloat16(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        if not library.has_amx():
            return "oneDNN's recurrent kernels are slower in bfloat16 without AMX"
        return super().refuses_bfloat16(bottoms, tops)

    def axes_in_memory(self, ndim: int) -> tuple[int, ...]:
        return 1, 0, 2

    def how(self, one: Pass) -> How:
        """What the primitives of a pass are told."""
        return How(self.cell, one.direction == 1)

    def passes(self, layer: int) -> list[Pass]:
        """Those of a layer."""
        ends = self.directions
        return [Pass(f"_l{layer}{end}", layer * len(ends) + i, i) for i, end in enumerate(ends)]

    # Forward ------------------------------------------------------------------------------------------------------

    def forward(self, x: Any, second: Any = None) -> tuple[Any, ...]:
        (n, steps, _), size, count = x.shape, self.hidden_size, len(self.directions)
        dtypes, shape = self.dtypes_of_states(), (self.num_layers * count, n, size)
        lasts = [self.buf(f"last {s}", shape, dtype, life="saved") for s, dtype in enumerate(dtypes)]
        below, traces = self.by_step("x", x, "saved"), {}
        for layer in range(self.num_layers):
            y = self.buf(f"y_l{layer}", (steps, n, size * count), life="saved")
            for one in self.passes(layer):
                traces[one] = self.run_forward(one, below, y, lasts)
            below = y
        self.save(traces=traces)
        tops = [self.narrowed(f"top {i}", top) for i, top in enumerate([below, *lasts][: self.tops_wanted])]
        return tuple(self.view(f"top {i}", top, turned) for i, top in enumerate(tops))

    def run_forward(self, one: Pass, x: Any, y: Any, lasts: Sequence[Any]) -> tuple[Any, ...]:
        """A pass; the nine arrays of `recurrence`, and the workspace."""
        end, shape = one.end, (1, 1, x.shape[1], self.hidden_size)
        zeros = [self.zeros(shape, dtype) for dtype in self.dtypes_of_states()]
        weights = self.weight(f"weight_ih{end}"), self.weight(f"weight_hh{end}")
        results = self.part("y", one, y), *pair(self.states_of("last", one, lasts))
        nine = x, *pair(zeros), *weights, self.bias_of(end), *results
        workspace = self.workspace(one, nine) if self.run.keep else None
        name = f"y{end}" if self.run.keep else f"y{end}, no backward"
        self.op(name, recurrence.forward, self.how(one))(*nine, workspace)
        return *nine, workspace

    def workspace(self, one: Pass, nine: Sequence[Any]) -> Any:
        """What a pass remembers for its backward."""
        count = lambda _: recurrence.workspace_bytes(*nine, self.how(one))  # noqa: E731
        size = self.view(f"bytes{one.end} {nine[0].shape}", None, count)
        return self.buf(f"workspace{one.end}", (size,), "uint8", life="saved")

    # Backward -----------------------------------------------------------------------------------------------------

    def backward(self, *dtops: Any) -> tuple[Any, ...]:
        dabove, *dlasts = [self.widened(f"dtop {i}", self.by_step(f"dtop {i}", d)) for i, d in enumerate(dtops)]
        for layer in reversed(range(self.num_layers)):
            dbelow, *others = [self.run_backward(one, dabove, dlasts) for one in self.passes(layer)]
            for other in others if dbelow is not None else ():
                self.op(f"dbelow {layer}", primitives.add_to)(other, dbelow)
            dabove = dbelow
        return (self.view("dx", self.narrowed("dx", dabove), turned) if self.needs_grad[0] else None,)

    def run_backward(self, one: Pass, dy: Any, dlasts: Sequence[Any]) -> Any:
        """A pass back: adds the gradients of its parameters, returns that of its input, None where nobody wants it."""
        end, (*nine, workspace) = one.end, self.saved.traces[one]
        x, zeros, bias = nine[0], self.zeros(nine[1].shape, self.dtype), nine[5]
        dx, db = (self.buf(f"d{what}{end}", a.shape, self.dtype) for what, a in (("x", x), ("bias", bias)))
        firsts = (f"dfirst {s}" for s in range(self.states))  # of constants: nobody wants it
        dfirst = [self.buf(name, zeros.shape, self.dtype) for name in firsts]
        dw = {key: self.gradient_of(key) for key in (f"weight_ih{end}", f"weight_hh{end}")}
        dw_there = [self.view(f"d{key}", array, self.as_theirs) for key, array in dw.items()]
        if self.halved:
            self.act(f"cleared{end}", clear)(*dw.values(), db)
        dlast = self.states_of("dlast", one, dlasts)
        dlast += [zeros] * (self.states - len(dlast))
        gradients = dx, *pair(dfirst), *dw_there, db, self.part("dy", one, dy), *pair(dlast)
        self.op(f"dx{end}", recurrence.backward, self.how(one))(*nine, *gradients, workspace)
        for key, array in dw.items():
            for theirs, ours in () if array is self.grads[key] else self.weight_blocks:
                self.give(key, array, theirs, ours)
        for theirs, *both in self.bias_blocks if self.bias else ():
            for kind, ours in zip(BIASES, both, strict=True):
                self.give(f"{kind}{end}", db, theirs, ours)
        return dx

    def gradient_of(self, key: str) -> Any:
        """Where oneDNN writes the gradient of a weight: in its place, if it is all that is wanted there.

        Of what it computes in bfloat16 in memory that is stored as it wants it.
        """
        if self.halved:
            return self.view(f"d{key} there", self.buf(f"d{key}", self.params[key].T.shape, self.dtype), np.transpose)
        in_place = self.overwrites_grad and self.needs_param_grad[key] and self.weight_blocks == AS_OURS
        return self.grads[key] if in_place else self.buf(f"d{key}", self.params[key].shape, self.dtype)

    def give(self, key: str, gradient: Any, theirs: Any, ours: Any) -> None:
        """Add a block of a gradient to that of the parameter which it belongs to, if it does."""
        if ours is None or key not in self.params or not self.needs_param_grad[key]:
            return
        source = self.block(f"d{key} given", gradient, theirs)
        maker = primitives.copy if self.overwrites_grad else primitives.add_to
        self.op(f"d{key} {ours}", maker)(source, self.block(f"d{key}", self.grads[key], ours))

    def along(self, dx: Any, moved: Mapping[str, Any], dinitial: Sequence[Any] = ()) -> tuple[Any, ...]:
        """The reference's, after its forward: oneDNN does not tell what its gates were."""
        first = next(iter(self.saved.traces.values()))
        with self.as_if_saved():
            Recurrent.forward(self, turned(first[0]))
            return Recurrent.along(self, dx, moved, dinitial)

    # Arrays -------------------------------------------------------------------------------------------------------

    def by_step(self, name: str, x: Any, life: str = "call") -> Any:
        """x (N, T, F) as (T, N, F) without gaps: as it is, if it is stored so, otherwise copied."""
        steps = self.view(f"{name} by step", x, gapless)
        if steps is None:
            n, count, size = x.shape
            steps = self.buf(f"{name} copied", (count, n, size), life=life)
            self.op(f"{name} copied", primitives.copy)(self.view(f"{name} turned", x, turned), steps)
        return steps

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Memory that stays 0."""
        return self.view(f"zeros {shape} {dtype}", None, lambda _: np.zeros(shape, dtype))

    def dtypes_of_states(self) -> list[Any]:
        """The types of h and, where there is one, of c."""
        return [BFLOAT16 if self.halved else self.dtype, self.dtype][: self.states]

    def part(self, name: str, one: Pass, array: Any) -> Any:
        """The features (T, N, H) of a pass in (T, N, directions · H)."""
        at = one.direction * self.hidden_size
        return self.view(f"{name}{one.end}", array, lambda a: a[:, :, at : at + self.hidden_size])

    def states_of(self, name: str, one: Pass, arrays: Sequence[Any]) -> list[Any]:
        """The states (1, 1, N, H) of a pass in arrays (passes, N, H)."""
        mine = lambda a: a[one.number].reshape(1, 1, *a.shape[1:])  # noqa: E731
        return [self.view(f"{name} {s}{one.end}", array, mine) for s, array in enumerate(arrays)]

    def weight(self, key: str) -> Any:
        """A weight as oneDNN wants it: a view where the gates are in its order, otherwise copied block by block."""
        weight = self.params[key]
        if self.weight_blocks != AS_OURS:
            ours, weight = weight, self.buf(f"{key} in order", weight.shape, self.dtype, life="saved")
            for theirs, mine in self.weight_blocks:
                copy = self.op(f"{key} in order {theirs}", primitives.copy)
                copy(self.block(key, ours, mine), self.block(f"{key} in order", weight, theirs))
        return self.view(key, weight, self.as_theirs)

    def as_theirs(self, weight: Any) -> Any:
        """(gates · H, I) as (1, 1, I, gates, H)."""
        return weight.reshape(1, 1, self.gates, self.hidden_size, -1).transpose(0, 1, 4, 2, 3)

    def bias_of(self, end: str) -> Any:
        """The bias (1, 1, B, H) of a pass, made of its two. Where what x and h give is not just added, B > gates."""
        shape = 1, 1, self.gates + (not self.gates_add), self.hidden_size
        if not self.bias:  # oneDNN wants one
            return self.zeros(shape, self.dtype)
        bias = self.buf(f"bias{end}", shape, self.dtype, life="saved")
        for theirs, *both in self.bias_blocks:
            keys = [(f"{kind}{end}", ours) for kind, ours in zip(BIASES, both, strict=True) if ours is not None]
            terms = [self.block(key, self.params[key], ours) for key, ours in keys if key in self.params]
            if not terms:  # of a GRU with a single bias: what r multiplies
                terms = [self.zeros((self.hidden_size, 1), self.dtype)]
            add = (primitives.binary, primitives.ADD) if len(terms) > 1 else (primitives.copy,)
            self.op(f"bias{end} {theirs}", *add)(*terms, self.block(f"bias{end}", bias, theirs))
        return bias

    def block(self, name: str, array: Any, which: Any) -> Any:
        """Of a parameter, or of a bias or a gradient as oneDNN has it, the rows of one gate or of all."""
        rows = lambda a: a.reshape(-1, self.hidden_size, a.shape[-1] if a.ndim == 2 else 1)[which]  # noqa: E731
        return self.view(f"{name} block {which}", array, rows)


def clear(*arrays: Any) -> None:
    """Set all to 0."""
    for array in arrays:
        array.fill(0)


def turned(x: Any) -> Any:
    """(N, T, F) as (T, N, F), or back."""
    return x.swapaxes(0, 1)


def gapless(x: Any) -> Any:
    """x (N, T, F) as (T, N, F) with strides that mean it for axes of length 1, too; None where it has gaps."""
    steps = turned(x)
    return steps.reshape(-1).reshape(steps.shape) if steps.flags.c_contiguous else None


def pair(states: Sequence[Any]) -> tuple[Any, Any]:
    """h and c, or h and None."""
    return states[0], states[1] if len(states) > 1 else None


class OneDnnRNN(OneDnnRecurrent, RNN):
    """RNN with tanh: a state made by oneDNN's ReLU would be 0 where it is NaN."""

    cell = recurrence.RNN

    @classmethod
    def refuses(cls, reference: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        relu = reference.nonlinearity == "relu"
        return "oneDNN's ReLU takes NaN for 0" if relu else super().refuses(reference, bottoms, tops)

    def how(self, one: Pass) -> How:
        return How(self.cell, one.direction == 1, TANH)


class OneDnnLSTM(OneDnnRecurrent, LSTM):
    """LSTM."""

    cell = recurrence.LSTM
