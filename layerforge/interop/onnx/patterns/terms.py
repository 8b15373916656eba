"""Formulas of single numbers, as integers: the same formula is the same integer.

An array of them has the shape of the value that it stands for, and operators that only move numbers move them. So a
formula is the same however it is spread over operators: three products or one that is split, sums in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..folding import fold
from ..graph import Node
from ..values import Attributes, Known
from .looking import NotThis

MOVES = ("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Concat", "Slice", "Split")
FUNCTIONS = ("Sigmoid", "Tanh", "Relu")
LARGEST = 1 << 16  # formulas of a value

Term = tuple[str | int | float, ...]


class Terms:
    """Formulas, each with its number.

    held       learned numbers, whose formulas are 0, 1, 2, ...: name, first number, and array
    sources    the inputs: name, first number and shape
    terms      what the others are: an operation and what it is of, such as ("Sum", 7, 12)
    matrices   what rows of the inputs are multiplied by

    ("Dot", source, row, matrix, column) is a row of an input times a column of a matrix of learned numbers.
    """

    def __init__(self) -> None:
        self.held: list[tuple[str, int, np.ndarray]] = []
        self.sources: list[tuple[str, int, tuple[int, int]]] = []
        self.terms: dict[int, Term] = {}
        self.matrices: list[np.ndarray] = []
        self.count = 0
        self._known: dict[Term, int] = {}
        self._products: dict[tuple[tuple[int, ...], bytes], int] = {}

    # What formulas are made of ------------------------------------------------------------------------------------

    def learn(self, name: str, array: np.ndarray) -> np.ndarray:
        """Learned numbers; all of them come before the rest."""
        self.held.append((name, self.count, array))
        return self._leaves(array.shape)

    def source(self, name: str, shape: tuple[int, int]) -> np.ndarray:
        """An input of rows."""
        self.sources.append((name, self.count, shape))
        return self._leaves(shape)

    def _leaves(self, shape: tuple[int, ...]) -> np.ndarray:
        made = np.arange(self.count, self.count + int(np.prod(shape)), dtype=np.int64).reshape(shape)
        self.count += made.size
        return made

    def is_learned(self, one: int) -> bool:
        """Whether a formula is a learned number."""
        _, first, last = self.held[-1] if self.held else ("", 0, np.zeros(0))
        return one < first + last.size

    def numbers(self, array: np.ndarray) -> np.ndarray:
        """Constant numbers. Errors: NotThis where they are too many."""
        return self._each(array, lambda value: self.number(float(value)))

    def number(self, value: float) -> int:
        """A constant number."""
        return self._term("Number", value)

    def _term(self, *term: str | int | float) -> int:
        if term not in self._known:
            self._known[term] = self.count
            self.terms[self.count] = term
            self.count += 1
        return self._known[term]

    # Sums and products --------------------------------------------------------------------------------------------

    def parts(self, one: int) -> tuple[int, ...]:
        """What a formula is the sum of: itself, where it is no sum."""
        return self.of(one, "Sum") or (one,)

    def of(self, one: int, op: str) -> tuple[int, ...]:
        """What an operation is of; nothing where a formula is another one."""
        term = self.terms.get(one, ("",))
        return tuple(int(part) for part in term[1:]) if term[0] == op else ()

    def plus(self, one: int, other: int) -> int:
        """A sum."""
        nothing = self.number(0.0)
        parts = sorted(part for part in (*self.parts(one), *self.parts(other)) if part != nothing)
        return self._term("Sum", *parts) if len(parts) > 1 else (parts or [nothing])[0]

    def minus(self, one: int) -> int:
        """With the other sign."""
        term = self.terms.get(one, ("",))
        if term[0] == "Number":
            return self.number(-float(term[1]))
        return int(term[1]) if term[0] == "Neg" else self._term("Neg", one)

    def times(self, one: int, other: int) -> int:
        """A product."""
        single = self.number(1.0)
        if single in (one, other):
            return other if one == single else one
        return self._term("Mul", *sorted((one, other)))

    # Operators ----------------------------------------------------------------------------------------------------

    def run(
        self, node: Node, read: Sequence[np.ndarray], known: Sequence[Known | None], opset: int
    ) -> list[np.ndarray]:
        """What a node makes of formulas.

        read    the formulas of its inputs
        known   those that are known

        Errors   NotThis for an operator that is not among these
        """
        if node.op in MOVES:
            moved = [Known((one,)) for one in (read if node.op == "Concat" else read[:1])]
            rest = [] if node.op == "Concat" else list(known[1:])
            if any(one is not None and not one.fixed for one in rest):
                raise NotThis(node.op)
            return [one.array for one in fold(node, Attributes(node), [*moved, *rest], opset, 1)]
        if node.op in FUNCTIONS:
            return [self._each(read[0], lambda one: self._term(node.op, one))]
        if node.op == "Neg":
            return [self._each(read[0], self.minus)]
        if node.op == "Sub":
            return [self._joined(read[0], self._each(read[1], self.minus), self.plus)]
        if node.op in ("Add", "Mul") and len(read) == 2:
            return [self._joined(read[0], read[1], self.plus if node.op == "Add" else self.times)]
        if node.op == "MatMul":
            return [self._product(*read)]
        if node.op == "Gemm":
            return [self._gemm(node, read)]
        raise NotThis(node.op)

    def _each(self, array: np.ndarray, function: Callable[[int], int]) -> np.ndarray:
        if array.size > LARGEST:
            raise NotThis(f"{array.size} formulas")
        return np.array([function(one) for one in array.reshape(-1).tolist()], np.int64).reshape(array.shape)

    def _joined(self, one: np.ndarray, other: np.ndarray, function: Callable[[int, int], int]) -> np.ndarray:
        try:
            shape = np.broadcast_shapes(one.shape, other.shape)
        except ValueError:
            raise NotThis(f"{one.shape} and {other.shape}") from None
        if np.prod(shape) > LARGEST:
            raise NotThis(f"{shape} formulas")
        pairs = zip(*(np.broadcast_to(each, shape).reshape(-1).tolist() for each in (one, other)), strict=True)
        return np.array([function(*pair) for pair in pairs], np.int64).reshape(shape)

    def _gemm(self, node: Node, read: Sequence[np.ndarray]) -> np.ndarray:
        told = node.attributes
        if told.get("transA", 0) or any(told.get(factor, 1.0) != 1 for factor in ("alpha", "beta")):
            raise NotThis("Gemm")
        product = self._product(read[0], read[1].T if told.get("transB", 0) else read[1])
        return self._joined(product, read[2], self.plus) if len(read) > 2 else product

    def _product(self, rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """Rows of an input, whole and in their order, times a matrix of learned numbers."""
        fits = rows.ndim > 1 and matrix.ndim == 2 and rows.shape[-1] == len(matrix) and matrix.size
        if not fits or not self.is_learned(int(matrix.max())):
            raise NotThis(f"{rows.shape} times {matrix.shape}")
        key = (matrix.shape, matrix.tobytes())
        if key not in self._products:
            self._products[key] = len(self.matrices)
            self.matrices.append(matrix)
        number, width = self._products[key], matrix.shape[1]
        made = [self._dots(row, number, width) for row in rows.reshape(-1, rows.shape[-1])]
        return np.array(made, np.int64).reshape(*rows.shape[:-1], width)

    def _dots(self, row: np.ndarray, matrix: int, width: int) -> list[int]:
        for name, first, shape in self.sources:
            place, rest = divmod(int(row[0]) - first, shape[1])
            whole = 0 <= place < shape[0] and not rest and len(row) == shape[1]
            if whole and np.array_equal(row, np.arange(len(row)) + row[0]):
                return [self._term("Dot", name, place, matrix, column) for column in range(width)]
        raise NotThis("a product with what is no row of an input")
