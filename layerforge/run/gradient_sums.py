"""Gradients that several layers send down to one blob, and those that nobody sends down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..arrays.sparse import CSR
from ..arrays.spec import Spec
from ..contract.layer import Memory
from ..engines.rounding import NEAREST


class GradientSums:
    """Adds up gradients at forks, in memory that is neither a layer's nor another blob's.

    memory   where the sums are stored, by the number of the blob
    planned  a layout says where: they are to be found there in every pass that begins from the blobs it was made for
    apart    this pass does not: a sum may be needed before its memory is free, and is stored beside
    adder    what makes an engine's sum of two gradients; without it the array library adds
    rounded  the blobs whose sums are rounded, as those of engines are that store them so, and to which precision
    """

    def __init__(self, xp: Any, dtype: str, adder: Callable[[], Any] | None, rounded: Mapping[int, str]) -> None:
        self.xp = xp
        self.dtype = dtype
        self.adder = adder
        self.rounded = rounded
        self.memory = Memory()
        self.planned = False
        self.apart = False
        self.beside: dict[int, Any] = {}
        self.adders: dict[tuple[int, int], Any] = {}  # by step, and by which of its bottoms
        self.zeros: dict[int, Any] = {}  # gradients of tops that nobody differentiated
        self.scripts: list[Any] = []  # of the present step: how its sums can be repeated, or None

    def add(self, place: tuple[int, int], index: int, before: Any, grad: Any) -> Any:
        """before + grad, the gradient of blob `index`. `place` is the step and which of its bottoms."""
        if isinstance(grad, CSR):  # of one blob, so both have its pattern
            self.scripts.append(None)
            return grad.with_data(before.data + grad.data)
        total = self._total(index, grad)
        if self.adder is None:
            self.xp.add(before, grad, out=total)
            self.scripts.append(None)
            return self._rounded(index, total)
        add = self.adders.get(place)
        if add is None:
            add = self.adders[place] = self.adder()
        self.scripts.append(add(before, grad, total))
        return self._rounded(index, total)

    def _rounded(self, index: int, total: Any) -> Any:
        """The sum, rounded where it is to be."""
        if index in self.rounded:
            total[...] = NEAREST[self.rounded[index]](self.xp, total)
            self.scripts.append(None)
        return total

    def _total(self, index: int, like: Any) -> Any:
        """Where a sum is stored."""
        totals = self.beside if self.apart else self.memory.arrays
        total = totals.get(index)
        if total is None or total.shape != like.shape:
            total = totals[index] = self.xp.empty_like(like)
        return total

    def where_planned(self, index: int, grad: Any) -> Any:
        """The gradient of a blob in the memory that the layout has for its sum, also where only one of its parts came.

        A pass may begin from other blobs than the dry run did. From a sum on, layers may hand its memory down as that
        of their own gradients; that of its parts is given to others by then.
        """
        planned = self.memory.arrays.get(index) if self.planned else None
        if planned is None or planned.shape != grad.shape:
            return grad
        total = self._total(index, grad)
        if grad is total:
            return grad
        total[...] = grad
        self.scripts.append(None)
        return total

    def zeros_for(self, index: int, spec: Spec, top: Any) -> Any:
        """The gradient of a real top that nobody differentiated, in its order in memory where it is still there."""
        zeros = self.zeros.get(index)  # a layer does not write into what it is given, so they stay zeros
        if zeros is None:
            new = self.xp.zeros(spec.shape, dtype=self.dtype) if top is None else self.xp.zeros_like(top)
            zeros = self.zeros[index] = fixed(new)
        return zeros


def fixed(array: Any) -> Any:
    """An array that passes share: whoever would write to it, as to a gradient, gets an error. CuPy cannot say no."""
    if isinstance(array, np.ndarray):
        array.flags.writeable = False
    return array
