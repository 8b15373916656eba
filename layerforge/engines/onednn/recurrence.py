"""oneDNN's recurrent primitives, as makers for `Op`: one pass over time, and the way back.

A pass is described by nine arrays, in this order; those that a cell does not have are None:

    x (T, N, I), h₀ and c₀ (1, 1, N, H), W_ih (1, 1, I, G, H), W_hh (1, 1, H, G, H), bias (1, 1, B, H),
    y (T, N, H), and the last h and c (1, 1, N, H)

The steps of x and of y must be stored one behind the other, and h₀ and c₀ must be given even where they are 0:
otherwise the backward of oneDNN 3.2 takes the weights' gradients from the wrong steps or from memory that nobody wrote.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from ...arrays.bfloat16 import is_bfloat16
from . import binding as b
from .binding import Desc, Recipe, any_layout, of_array
from .primitives import Made, arguments

LSTM, GRU, RNN = "lstm", "lbr_gru", "vanilla_rnn"  # in this GRU r multiplies what comes of h, bias included
ROLES = b.SRC, b.SRC_1, b.SRC_2, b.WEIGHTS, b.WEIGHTS_1, b.BIAS, b.DST, b.DST_1, b.DST_2
FORWARDS_IN_TIME, BACKWARDS_IN_TIME = 1, 2
ADD, OVERWRITE = 0, 1  # what is done to the memory of the gradients of weights and bias


@dataclass(frozen=True)
class How:
    """Which cell, in which direction, and what makes the state of RNN."""

    cell: str
    reverse: bool
    activation: int | None = None

    @property
    def first(self) -> tuple[int, ...]:
        """The numbers that its description begins with."""
        direction = BACKWARDS_IN_TIME if self.reverse else FORWARDS_IN_TIME
        return (direction,) if self.activation is None else (self.activation, direction)

    @property
    def last(self) -> tuple[Any, ...]:
        """Those that it ends with."""
        return () if self.activation is None else (ctypes.c_float(0), ctypes.c_float(0))

    def memories(self, arrays: tuple[Any, ...], *, added: bool = False) -> tuple[Desc | None, ...]:
        """Nine arrays, or their gradients, as the cell takes them; it chooses the layout of weights, unless it is to
        add to them where they are.
        """
        x, h0, c0, *weights, bias, y, h, c = (None if a is None else of_array(a) for a in arrays)
        weights = weights if added else [any_layout(w.shape, arrays[0].dtype) for w in arrays[3:5]]
        if self.cell == LSTM:
            return x, h0, c0, *weights, None, None, bias, y, h, c  # without peepholes and projection
        return x, h0, *weights, bias, y, h


def _forward(arrays: tuple[Any, ...], how: How, prop: int) -> Recipe:
    return Recipe(f"{how.cell}_forward", prop, *how.first, *how.memories(arrays), 0, *how.last, None)


def forward(*given: Any) -> Made:
    """Write y and the last h and c. Given are the nine arrays, the workspace, and how.

    workspace  what backward needs to know; None where no backward follows
    """
    *nine, workspace, how = given
    recipe = _forward(tuple(nine), how, b.INFERENCE if workspace is None else b.TRAINING)
    return recipe, arguments(*zip(ROLES, nine, strict=True), (b.WORKSPACE, workspace))


def workspace_bytes(*given: Any) -> int:
    """The bytes of the workspace. Given are the nine arrays, and how."""
    *nine, how = given
    return _forward(tuple(nine), how, b.TRAINING).wants(b.WORKSPACE).bytes


def backward(*given: Any) -> Made:
    """Write all gradients but those of y and the last states, which it reads.

    Given are the nine arrays, their gradients in the same order, the workspace, and how. In bfloat16 those of weights
    and bias are added to what is there, and must be without gaps: oneDNN 3.2 has fast code for AMX for nothing else.
    """
    *both, workspace, how = given
    nine, gradients = tuple(both[:9]), tuple(both[9:])
    added = is_bfloat16(nine[0])
    recipe = Recipe(
        f"{how.cell}_backward", b.BACKWARD, *how.first, *how.memories(nine), *how.memories(gradients, added=added),
        ADD if added else OVERWRITE, *how.last, _forward(nine, how, b.TRAINING), None,
    )  # fmt: skip
    pairs = [(role + b.GRADIENT, gradient) for role, gradient in zip(ROLES, gradients, strict=True)]
    return recipe, arguments(*zip(ROLES, nine, strict=True), *pairs, (b.WORKSPACE, workspace))
