"""Cells of recurrent layers, recognised in the formulas of a step (terms.py): GRU, LSTM, and the RNN of Elman.

RNN    h' = f(u + w)                     f is tanh or ReLU; u is linear in the step's input x, w in the state h
GRU    h' = (1 - z) g + z h              z, r = σ(u + w),  g = tanh(u + r w)
LSTM   h' = o tanh(c'),  c' = f c + i g  i, f, o = σ(u + w),  g = tanh(u + w)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .looking import NotThis
from .terms import Terms

X = "x"  # the source that is the step's input


@dataclass
class Found:
    """A layer that formulas are of, as ONNX's operators have it. Learned numbers by those of their formulas.

    op           LSTM, GRU, RNN
    order        which of the states h is, and which c
    w, r         matrices of the gates, one below the other in ONNX's order: (gates · H, D), (gates · H, H)
    b, rb        their biases (gates · H,); None for none
    activation   of an RNN
    """

    op: str
    order: tuple[int, ...]
    w: np.ndarray
    r: np.ndarray
    b: np.ndarray | None
    rb: np.ndarray | None
    activation: str = ""


@dataclass
class Gate:
    """u + w of one feature: a column of a matrix for each, and biases."""

    below: tuple[int, int]
    before: tuple[int, int]
    b: int | None
    rb: int | None


def _two(biases: Sequence[int]) -> tuple[int | None, int | None]:
    """Two biases, of which one or both may be missing."""
    return (biases[0] if biases else None), (biases[1] if len(biases) > 1 else None)


class Feature:
    """One feature of one sample: what its formulas are made of."""

    def __init__(self, terms: Terms, row: int, state: str, h: int, c: int = -1, cell: int = -1) -> None:
        """h, of the source `state`, and c are before the step, `cell` is what becomes of c."""
        self.terms = terms
        self.row = row
        self.state = state
        self.h = h
        self.c = c
        self.cell = cell

    # Pieces -------------------------------------------------------------------------------------------------------

    def argument(self, one: int, op: str) -> int:
        """What a function is of."""
        found = self.terms.of(one, op)
        if not found:
            raise NotThis(op)
        return found[0]

    def two(self, parts: Sequence[int]) -> tuple[int, int]:
        if len(parts) != 2:
            raise NotThis(f"{len(parts)} parts")
        return parts[0], parts[1]

    def other(self, one: int, factor: int) -> int:
        """A product without one of its two factors."""
        factors = self.terms.of(one, "Mul")
        if factor not in factors:
            raise NotThis("a product of others")
        return factors[1] if factors[0] == factor else factors[0]

    def apart(self, one: int, state: int) -> tuple[int, int]:
        """Of a sum of two products what the state is multiplied by, and the other product."""
        first, second = self.two(self.terms.parts(one))
        if state not in self.terms.of(first, "Mul"):
            first, second = second, first
        return self.other(first, state), second

    def linear(self, parts: Iterable[int]) -> tuple[dict[str, tuple[int, int]], list[int]]:
        """The products with x and with h, by their sources, and the biases of a sum."""
        columns, biases = dict[str, tuple[int, int]](), list[int]()
        for part in parts:
            term = self.terms.terms.get(part, ("",))
            if term[0] == "Dot" and term[2] == self.row and str(term[1]) not in columns:
                columns[str(term[1])] = (int(term[3]), int(term[4]))
            elif self.terms.is_learned(part):
                biases.append(part)
            else:
                raise NotThis("a sum of others")
        return columns, sorted(biases)

    def gate(self, one: int) -> Gate:
        """u + w."""
        columns, biases = self.linear(self.terms.parts(one))
        if set(columns) != {X, self.state} or len(biases) > 2:
            raise NotThis("no gate")
        return Gate(columns[X], columns[self.state], *_two(biases))

    def squashed(self, one: int) -> Gate:
        """σ(u + w)."""
        return self.gate(self.argument(one, "Sigmoid"))

    # Cells: their gates in ONNX's order ---------------------------------------------------------------------------

    def rnn(self, one: int, activation: str) -> list[Gate]:
        """f(u + w)."""
        return [self.gate(self.argument(one, activation))]

    def gru(self, one: int, _: str) -> list[Gate]:
        """(1 - z) g + z h."""
        z, second = self.apart(one, self.h)
        g = self.other(second, self.terms.plus(self.terms.number(1.0), self.terms.minus(z)))
        parts = self.terms.parts(self.argument(g, "Tanh"))
        reset = [part for part in parts if self.terms.of(part, "Mul")]
        if len(reset) != 1:
            raise NotThis("no reset gate")
        r, w = self.terms.of(reset[0], "Mul")
        if not self.terms.of(r, "Sigmoid"):
            r, w = w, r
        below, b = self.linear(part for part in parts if part != reset[0])
        before, rb = self.linear(self.terms.parts(w))
        if set(below) != {X} or set(before) != {self.state} or max(len(b), len(rb)) > 1:
            raise NotThis("no new state")
        new = Gate(below[X], before[self.state], _two(b)[0], _two(rb)[0])
        return [self.squashed(z), self.squashed(r), new]

    def lstm(self, one: int, _: str) -> list[Gate]:
        """o tanh(f c + i g)."""
        o = next((part for part in self.terms.of(one, "Mul") if self.terms.of(part, "Sigmoid")), -1)
        if self.argument(self.other(one, o), "Tanh") != self.cell:
            raise NotThis("another cell")
        f, second = self.apart(self.cell, self.c)
        i, g = self.two(self.terms.of(second, "Mul"))
        if not self.terms.of(i, "Sigmoid"):
            i, g = g, i
        gates = [self.squashed(part) for part in (i, o, f)]
        return [*gates, self.gate(self.argument(g, "Tanh"))]


GatesOf = Callable[[Feature, int, str], list[Gate]]

# By the number of states: the cells, what reads their gates, and the activation of an RNN; which state is h, which c.
CELLS: dict[int, list[tuple[str, GatesOf, str]]] = {
    1: [("GRU", Feature.gru, ""), ("RNN", Feature.rnn, "Tanh"), ("RNN", Feature.rnn, "Relu")],
    2: [("LSTM", Feature.lstm, "")],
}
ORDERS: dict[int, list[tuple[int, ...]]] = {1: [(0,)], 2: [(0, 1), (1, 0)]}


def found(terms: Terms, states: Sequence[str], befores: Sequence[np.ndarray], afters: Sequence[np.ndarray]) -> Found:
    """The layer whose step makes states of those before it, each (samples, H): h, or h and c in any order.

    states   what the sources are called that they are

    Errors   NotThis where it is none
    """
    if len(states) not in CELLS or any(one.shape != befores[0].shape for one in (*befores, *afters)):
        raise NotThis("no states of one size")
    for order in ORDERS[len(states)]:
        samples = _features(terms, states, befores, afters, order)
        for op, gates_of, activation in CELLS[len(states)]:
            try:
                gates = [[gates_of(one, after, activation) for one, after in features] for features in samples]
            except NotThis:
                continue
            if all(of_sample == gates[0] for of_sample in gates):
                return _layer(terms, op, order, gates[0], activation)
    raise NotThis("no cell")


def _features(
    terms: Terms,
    states: Sequence[str],
    befores: Sequence[np.ndarray],
    afters: Sequence[np.ndarray],
    order: tuple[int, ...],
) -> list[list[tuple[Feature, int]]]:
    """Of each sample its features, each with what becomes of its h."""
    h, *others = order
    samples, size = befores[h].shape

    def feature(n: int, j: int) -> Feature:
        cell = [int(side[c][n, j]) for c in others for side in (befores, afters)]
        return Feature(terms, n, states[h], int(befores[h][n, j]), *cell)

    return [[(feature(n, j), int(afters[h][n, j])) for j in range(size)] for n in range(samples)]


def _layer(terms: Terms, op: str, order: tuple[int, ...], features: list[list[Gate]], activation: str) -> Found:
    gates = [gate for gates in zip(*features, strict=True) for gate in gates]  # all features of one, then of the next
    w, r = (
        np.stack([terms.matrices[matrix][:, column] for matrix, column in columns])
        for columns in ([gate.below for gate in gates], [gate.before for gate in gates])
    )
    b, rb = ([gate.b for gate in gates], [gate.rb for gate in gates])
    return Found(op, order, w, r, _biases(b), _biases(rb), activation)


def _biases(ones: list[int | None]) -> np.ndarray | None:
    """The biases of all, or none at all."""
    there = [one for one in ones if one is not None]
    if there and len(there) < len(ones):
        raise NotThis("gates with biases and without")
    return np.array(there, np.int64) if there else None
