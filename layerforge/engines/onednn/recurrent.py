"""LSTM, GRU and RNN with the samples along the last axis, where each gate is one block of memory.

A step's entry has a column for each sample: hₜ₋₁, a 1 and xₜ upon each other. A stack of W_hh, the biases and W_ih,
side by side, turns it into all gates in one product, whose result is squashed before it is stored. The gradient of the
stack is one product per step, added up in place; it holds those of weights and biases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from ...layer import Layer
from ...layers.gru import GRU
from ...layers.lstm import LSTM
from ...layers.recurrent import Recurrent, in_order
from ...layers.rnn import RNN
from ...spec import Spec
from . import primitives
from .activation import FROM_RESULT, LOGISTIC, RELU, TANH, Algorithm
from .base import OneDnn
from .binding import Op

ADD = ("sum", 1.0)


class OneDnnRecurrent(OneDnn, Recurrent):
    """What the three share. T is steps, in the order of a pass; H features of the state; N samples.

    entries  (T + 1, H + 1 + D, N): hₜ₋₁, 1 and xₜ of each step, and the last h
    stack    (B·H, H + 1 + D): the weights that act on an entry, in the `blocks` of the cell
    dout     (T, H, N): what reaches each hₜ, gathered step by step on the way back
    """

    # Of each block of rows in the stack: which block of W_ih and b_ih it has, and which of W_hh and b_hh.
    blocks: ClassVar[tuple[tuple[int | None, int | None], ...]]
    fewest: ClassVar[int] = 8  # samples from which on this is faster than the reference

    @classmethod
    def refuses(cls, reference: Layer, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        if len(bottoms) > 1:
            return "with a second bottom"
        few = bottoms[0].shape[0] < cls.fewest
        return f"fewer than {cls.fewest} samples" if few else super().refuses(reference, bottoms, tops)

    # What a cell writes -------------------------------------------------------------------------------------------

    def pass_on(self, name: str, entries: Any, stack: Any) -> Sequence[Any]:
        """Write every h into the entry of the next step; the last states, (H, N) each."""
        raise NotImplementedError

    def pass_back(self, name: str, entries: Any, dlast: Sequence[Any], dout: Any, da: Any) -> Iterator[int]:
        """From the last step t to the first: what da (1, B·H, N) is there, from dout; then its number.

        What reaches hₜ₋₁ past the stack is added to dout. dlast has the gradients of the last states but h, (H, N) or
        None each.
        """
        raise NotImplementedError

    # Forward ------------------------------------------------------------------------------------------------------

    def forward(self, x: Any, second: Any = None) -> tuple[Any, ...]:
        n, steps, _ = x.shape
        size, traces, states = self.hidden_size, {}, []
        below = [self.view("x", x, lambda a: a.transpose(1, 2, 0))]
        for layer in range(self.num_layers):
            outs = []
            for end in self.directions:
                name = f"_l{layer}{end}"
                stack = self.stacked(name, sum(part.shape[1] for part in below))
                entries = self.buf(f"entries{name}", (steps + 1, stack.shape[1], n), life="saved")
                self.enter(name, entries, below, end != "")
                states.append(self.pass_on(name, entries, stack))
                traces[name] = entries, stack
                outs.append(self.view(f"out{name}", entries, lambda e: e[1:, :size]))
            below = [in_order(out, end != "") for out, end in zip(outs, self.directions, strict=True)]
        self.save(traces=traces)
        y = self.buf("y", (n, steps, size * len(outs)))
        for i, out in enumerate(outs):
            self.carry(f"y{i}", out, self.view(f"y{i}", y, features(i, size)), i > 0)
        return (y, *self.last_states(n, states))[: self.tops_wanted]

    def stacked(self, name: str, width: int) -> Any:
        """The stack of one pass, whose input has `width` features."""
        size, p = self.hidden_size, self.params
        stack = self.buf(f"stack{name}", (len(self.blocks) * size, size + 1 + width), life="saved")
        for i, (ih, hh) in enumerate(self.blocks):
            block = stack[i * size : (i + 1) * size]
            block[:, :size] = 0 if hh is None else part(p[f"weight_hh{name}"], hh, size)
            block[:, size + 1 :] = 0 if ih is None else part(p[f"weight_ih{name}"], ih, size)
            block[:, size] = 0
            for kind, number in (("ih", ih), ("hh", hh)):
                if self.bias and number is not None:
                    block[:, size] += part(p[f"bias_{kind}{name}"], number, size)
        return stack

    def enter(self, name: str, entries: Any, below: Sequence[Any], reverse: bool) -> None:
        """Fill the entries but for what the steps themselves write."""
        size = self.hidden_size
        entries[0, :size] = 0
        entries[:-1, size] = 1
        at = size + 1
        for i, source in enumerate(below):
            stop = at + source.shape[1]
            inputs = self.view(f"inputs {i}{name}", entries, lambda e, at=at, stop=stop: e[:-1, at:stop])
            self.carry(f"inputs {i}{name}", source, inputs, reverse)
            at = stop

    def carry(self, name: str, source: Any, target: Any, reverse: bool) -> None:
        """Copy (T, features, N); reversed in time if need be, which oneDNN cannot."""
        if reverse or source.strides[0] < 0:
            target[...] = in_order(source, reverse)
        else:
            self.op(f"carry {name}", primitives.copy)(source, target)

    def last_states(self, n: int, states: Sequence[Sequence[Any]]) -> list[Any]:
        """The further tops (N, layers · directions, H)."""
        tops = []
        for number in range(self.tops_wanted - 1):
            top = self.buf(f"last {number}", (n, len(states), self.hidden_size))
            for i, state in enumerate(states):
                top[:, i] = state[number].T
            tops.append(top)
        return tops

    # Backward -----------------------------------------------------------------------------------------------------

    def backward(self, dy: Any, *dlast: Any) -> tuple[Any, ...]:
        size, dabove = self.hidden_size, self.view("dy", dy, lambda a: a.transpose(1, 2, 0))
        for layer in reversed(range(self.num_layers)):
            wanted, dbelow = layer > 0 or self.needs_grad[0], None
            for i, end in enumerate(self.directions):
                name, number = f"_l{layer}{end}", layer * len(self.directions) + i
                entries, _ = self.saved.traces[name]
                dout = self.buf(f"dout{name}", (len(entries) - 1, size, entries.shape[2]))
                self.carry(f"dout{name}", self.view(f"dabove{name}", dabove, features_of(i, size)), dout, end != "")
                given = [d[:, number].T for d in dlast]
                if given:
                    self.op(f"last{name}", primitives.add_to)(given[0], self.steps(f"dout{name}", dout)[-1])
                given += [None] * (self.states - len(given))
                if wanted and dbelow is None:
                    shape = len(entries) - 1, entries.shape[1] - size - 1, entries.shape[2]
                    dbelow = self.buf(f"dbelow {layer}", shape)
                self.run_back_through(name, given[1:], dout, dbelow, i)
            dabove = dbelow
        if not self.needs_grad[0]:
            return (None,)
        dx = self.buf("dx", (dy.shape[0], dy.shape[1], dabove.shape[1]))
        self.op("dx", primitives.copy)(dabove, self.view("dx", dx, lambda a: a.transpose(1, 2, 0)))
        return (dx,)

    def run_back_through(self, name: str, dlast: Sequence[Any], dout: Any, dbelow: Any, direction: int) -> None:
        """A pass back through time: adds the gradients of its parameters, and of its input to dbelow."""
        entries, stack = self.saved.traces[name]
        size, steps = self.hidden_size, len(dout)
        da, dstack = self.buf("da", (1, len(stack), dout.shape[2])), self.buf(f"dstack{name}", stack.shape)
        dstack[...] = 0
        on_h = slice(0, size * sum(hh is not None for _, hh in self.blocks))
        by_h = self.turned(f"by h{name}", self.view(f"by h{name}", stack, lambda s: s[on_h, :size].T))
        by_x = self.turned(f"by x{name}", self.view(f"by x{name}", stack, lambda s: s[:, size + 1 :].T))
        columns = self.view(f"columns{name}", entries, lambda e: [entry.T for entry in e])
        learn = self.each(f"dstack{name}", steps, primitives.matmul, (ADD,)) if self.learns(name) else None
        to_h = self.each(f"dh{name}", steps, primitives.matmul, (ADD,))
        to_x = self.each(f"dx{name}", steps, primitives.matmul, (ADD,) if direction else ())
        whole, of_h = self.steps("da", da, slice(None), on_h)[0]
        douts = self.steps(f"dout{name}", dout)
        dbelows = None if dbelow is None else self.steps(f"dbelow{name}", dbelow)
        for t in self.pass_back(name, entries, dlast, dout, da):
            if learn:
                learn[t](whole, columns[t], None, dstack)
            if dbelows:
                to_x[t](by_x, whole, None, dbelows[steps - 1 - t if direction else t])
            if t:
                to_h[t](by_h, of_h, None, douts[t - 1])
        self.share_out(name, dstack)

    def turned(self, name: str, matrix: Any) -> Any:
        """A copy in row-major order: products with the transpose of a part of a matrix are slow."""
        copy = self.buf(name, matrix.shape)
        self.op(name, primitives.copy)(matrix, copy)
        return copy

    def learns(self, name: str) -> bool:
        """Whether any parameter of a pass wants its gradient."""
        return any(self.needs_param_grad[key] for key in self.param_decls if key.endswith(name))

    def share_out(self, name: str, dstack: Any) -> None:
        """Add the gradient of the stack to those of the parameters that it was made of."""
        size = self.hidden_size
        columns = {"weight_ih": slice(size + 1, None), "weight_hh": slice(size), "bias_ih": size, "bias_hh": size}
        for kind, column in columns.items():
            key = f"{kind}{name}"
            if key not in self.param_decls or not self.needs_param_grad[key]:
                continue
            for i, numbers in enumerate(self.blocks):
                number = numbers[kind.endswith("hh")]
                if number is None:
                    continue
                share = self.view(f"{key} share {i}", dstack, lambda d, i=i, c=column: part(d, i, size)[:, c])
                total = self.view(f"{key} total {i}", self.grads[key], lambda g, n=number: part(g, n, size))
                self.op(f"{key} {i}", primitives.add_to)(share, total)

    # Views that stay the same objects, and primitives, step by step -----------------------------------------------

    def steps(self, name: str, array: Any, *cuts: slice) -> list[Any]:
        """array[t] of every step, or tuples of its rows as the cuts say."""
        look = (lambda a: [tuple(step[c] for c in cuts) for step in a]) if cuts else list
        return self.view(f"{name} {cuts}", array, look)

    def each(self, name: str, steps: int, maker: Any, *options: Any) -> list[Op]:
        """A primitive for every step, bound to its arrays."""
        made = lambda _: [self.op(f"{name} {t}", maker, *options) for t in range(steps)]  # noqa: E731
        return self.view(f"{name} of {steps}", None, made)

    def rows(self, *numbers: int) -> list[slice]:
        """Slices of as many blocks of H rows, one behind the other."""
        ends = [self.hidden_size * sum(numbers[:i]) for i in range(len(numbers) + 1)]
        return [slice(*pair) for pair in pairwise(ends)]


def part(array: Any, number: int, size: int) -> Any:
    """A block of rows."""
    return array[number * size : (number + 1) * size]


def features(i: int, size: int) -> Callable[[Any], Any]:
    """The features of a direction in (N, T, features), as (T, features, N)."""
    return lambda a: a[:, :, i * size : (i + 1) * size].transpose(1, 2, 0)


def features_of(i: int, size: int) -> Callable[[Any], Any]:
    """The features of a direction in (T, features, N)."""
    return lambda a: a[:, i * size : (i + 1) * size]


class OneDnnRNN(OneDnnRecurrent, RNN):
    """RNN: the product writes h itself."""

    type_name = "RNN"
    blocks = ((0, 0),)
    fewest = 16

    @classmethod
    def refuses(cls, reference: Layer, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        if reference.bidirectional:
            return "the reference is about as fast in two directions"
        return super().refuses(reference, bottoms, tops)

    def activation(self) -> Algorithm:
        """What makes the state."""
        return (TANH if self.nonlinearity == "tanh" else RELU), 0.0, 0.0

    def pass_on(self, name: str, entries: Any, stack: Any) -> Sequence[Any]:
        steps = self.steps(f"entries{name}", entries, slice(None), slice(self.hidden_size))
        product = self.each(f"h{name}", len(steps) - 1, primitives.matmul, (self.activation(),))
        for t, op in enumerate(product):
            op(stack, steps[t][0], None, steps[t + 1][1])
        return (steps[-1][1],)

    def pass_back(self, name: str, entries: Any, dlast: Sequence[Any], dout: Any, da: Any) -> Iterator[int]:
        steps = self.steps(f"entries{name}", entries, slice(None), slice(self.hidden_size))
        douts, das = self.steps(f"dout{name}", dout), self.steps("da", da)
        algorithm, *numbers = self.activation()
        undo = self.each(f"da{name}", len(dout), primitives.eltwise_backward, FROM_RESULT[algorithm], *numbers)
        for t in reversed(range(len(dout))):
            undo[t](steps[t + 1][1], douts[t], das[0])
            yield t


class OneDnnLSTM(OneDnnRecurrent, LSTM):
    """LSTM. Blocks: i, f, o and g, so that all that σ squashes lies together."""

    type_name = "LSTM"
    blocks = ((0, 0), (1, 1), (3, 3), (2, 2))

    def pass_on(self, name: str, entries: Any, stack: Any) -> Sequence[Any]:
        size, count, n = self.hidden_size, len(entries) - 1, entries.shape[2]
        gates, cells = self.kept_of(name, count, n)
        by_gate = self.view(f"by gate{name}", stack, lambda s: (s[: 3 * size], s[3 * size :]))
        steps = self.steps(f"entries{name}", entries, slice(None), slice(size))
        sigmoid = self.each(f"sigmoid{name}", count, primitives.matmul, ((LOGISTIC, 0.0, 0.0),))
        tanh = self.each(f"tanh{name}", count, primitives.matmul, ((TANH, 0.0, 0.0),))
        cells[0][...] = 0
        once = self.buf("once", (size, n))
        for t, (open_, i, f, o, g) in enumerate(gates):
            entry, c = steps[t][0], cells[t + 1]
            sigmoid[t](by_gate[0], entry, None, open_)
            tanh[t](by_gate[1], entry, None, g)
            np.multiply(f, cells[t], out=c)
            np.multiply(i, g, out=once)
            np.add(c, once, out=c)
            np.tanh(c, out=once)
            np.multiply(o, once, out=steps[t + 1][1])
        return steps[-1][1], cells[-1]

    def kept_of(self, name: str, count: int, n: int) -> tuple[list[Any], list[Any]]:
        """Of every step the gates (σ's together, i, f, o, g), and c of every step and of the one before it."""
        size = self.hidden_size
        gates = self.buf(f"gates{name}", (count, 4 * size, n), life="saved")
        cells = self.buf(f"cells{name}", (count + 1, size, n), life="saved")
        cuts = self.rows(3)[0], *self.rows(1, 1, 1, 1)
        return self.steps(f"gates{name}", gates, *cuts), self.steps(f"cells{name}", cells)

    def pass_back(self, name: str, entries: Any, dlast: Sequence[Any], dout: Any, da: Any) -> Iterator[int]:
        size, count, n = self.hidden_size, len(dout), dout.shape[2]
        gates, cells = self.kept_of(name, count, n)
        hs, douts = self.steps(f"hs{name}", entries, slice(size)), self.steps(f"dout{name}", dout)
        das = self.steps("da by gate", da, self.rows(3)[0], *self.rows(1, 1, 1, 1))
        sigmoid = self.each(f"back sigmoid{name}", count, primitives.eltwise_backward, FROM_RESULT[LOGISTIC], 0.0, 0.0)
        tanh = self.each(f"back tanh{name}", count, primitives.eltwise_backward, FROM_RESULT[TANH], 0.0, 0.0)
        dc, shown, lost = (self.buf(key, (size, n)) for key in ("dc", "shown", "lost"))
        dc[...] = 0 if dlast[0] is None else dlast[0]
        for t in reversed(range(count)):
            (open_, i, f, o, g), (dopen, di, df, do, dg), dh = gates[t], das[0], douts[t]
            np.tanh(cells[t + 1], out=do)  # to be had again for less than it costs to keep it
            np.multiply(dh, do, out=do)
            np.multiply(dh, o, out=shown)  # dc += dh o (1 - tanh²(c)) = dh o - do h
            np.multiply(do, hs[t + 1][0], out=lost)
            np.subtract(shown, lost, out=shown)
            np.add(dc, shown, out=dc)
            np.multiply(dc, g, out=di)
            np.multiply(dc, cells[t], out=df)
            np.multiply(dc, i, out=dg)
            sigmoid[t](open_, dopen, dopen)
            tanh[t](g, dg, dg)
            np.multiply(dc, f, out=dc)
            yield t


class OneDnnGRU(OneDnnRecurrent, GRU):
    """GRU. Blocks: r, z, wₙ (from h alone) and uₙ (from x alone)."""

    type_name = "GRU"
    blocks = ((0, 0), (1, 1), (None, 2), (2, None))

    def pass_on(self, name: str, entries: Any, stack: Any) -> Sequence[Any]:
        count, n = len(entries) - 1, entries.shape[2]
        steps = self.entries_by_part(name, entries)
        both, of_h, of_x = self.view(f"by part{name}", stack, self.parts_of_stack)
        sigmoid = self.each(f"sigmoid{name}", count, primitives.matmul, ((LOGISTIC, 0.0, 0.0),))
        linear = self.each(f"linear{name}", count, primitives.matmul)
        tanh = self.each(f"tanh{name}", count, primitives.matmul, (ADD, (TANH, 0.0, 0.0)))
        for t, (open_, r, z, w, new) in enumerate(self.kept_of(name, count, n)):
            entry, h_and_1, x_and_1, h = steps[t]
            sigmoid[t](both, entry, None, open_)
            linear[t](of_h, h_and_1, None, w)
            np.multiply(r, w, out=new)
            tanh[t](of_x, x_and_1, None, new)
            mixed = steps[t + 1][3]  # n + z (h - n)
            np.subtract(h, new, out=mixed)
            np.multiply(mixed, z, out=mixed)
            np.add(mixed, new, out=mixed)
        return (steps[-1][3],)

    def parts_of_stack(self, stack: Any) -> tuple[Any, Any, Any]:
        """The rows for the two gates, for wₙ and for uₙ, without the columns that are zero."""
        size, (gates, w, u) = self.hidden_size, self.rows(2, 1, 1)
        return stack[gates], stack[w, : size + 1], stack[u, size:]

    def entries_by_part(self, name: str, entries: Any) -> list[Any]:
        """Of every entry: whole, h and 1, 1 and x, h."""
        size = self.hidden_size
        return self.steps(f"parts{name}", entries, slice(None), slice(size + 1), slice(size, None), slice(size))

    def kept_of(self, name: str, count: int, n: int) -> list[Any]:
        """Of every step r and z together, r, z, wₙ and n."""
        kept = self.buf(f"gates{name}", (count, 4 * self.hidden_size, n), life="saved")
        return self.steps(f"gates{name}", kept, self.rows(2)[0], *self.rows(1, 1, 1, 1))

    def pass_back(self, name: str, entries: Any, dlast: Sequence[Any], dout: Any, da: Any) -> Iterator[int]:
        size, count, n = self.hidden_size, len(dout), dout.shape[2]
        gates, steps = self.kept_of(name, count, n), self.entries_by_part(name, entries)
        douts = self.steps(f"dout{name}", dout)
        das = self.steps("da by gate", da, self.rows(2)[0], *self.rows(1, 1, 1, 1))
        sigmoid = self.each(f"back sigmoid{name}", count, primitives.eltwise_backward, FROM_RESULT[LOGISTIC], 0.0, 0.0)
        tanh = self.each(f"back tanh{name}", count, primitives.eltwise_backward, FROM_RESULT[TANH], 0.0, 0.0)
        kept = self.buf("stays", (size, n))
        for t in reversed(range(count)):
            (open_, r, z, w, new), (dopen, dr, dz, dw, du), dh = gates[t], das[0], douts[t]
            np.subtract(steps[t][3], new, out=dz)
            np.multiply(dz, dh, out=dz)
            np.multiply(dh, z, out=kept)
            np.subtract(dh, kept, out=du)
            tanh[t](new, du, du)
            np.multiply(du, w, out=dr)
            np.multiply(du, r, out=dw)
            sigmoid[t](open_, dopen, dopen)
            if t:
                np.add(douts[t - 1], kept, out=douts[t - 1])
            yield t
