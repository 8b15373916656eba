"""torch as a Reference: what layers and nets are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...net import Net
from ..against import Asked, Refusal
from ..one_step import OneStep
from . import TWINS, Call
from .net import answer, gradients, in_dtype, take_step, tensor, tensors

Arrays = dict[str, np.ndarray]


class Torch:
    """torch, on the CPU."""

    name = f"torch {torch.__version__}"

    def knows(self, type_name: str) -> bool:
        """Whether a layer has a twin."""
        return type_name in TWINS

    def layer(self, asked: Asked) -> Arrays:
        """What a layer's twin makes of the same arrays, and autograd of that."""
        return _or_refusal(lambda: _layer(asked))

    def step(self, net: Net, state: Arrays, inputs: Arrays, phase: str, ours: OneStep) -> Arrays:
        """One step of a net of twins."""
        return _or_refusal(lambda: take_step(net, state, inputs, phase, ours))


def _or_refusal(compute: Callable[[], Arrays]) -> Arrays:
    try:
        return compute()
    except Exception as problem:  # torch says in exceptions of many kinds what it cannot do
        raise Refusal(f"{type(problem).__name__}: {' '.join(str(problem).split())}") from problem


def _layer(asked: Asked) -> Arrays:
    with in_dtype("float64"):
        pairs = zip(asked.bottoms, asked.needs_grad, strict=True)
        bottoms = [tensor(x).requires_grad_(needed) for x, needed in pairs]
        learned, state = tensors(asked.params, grad=True), tensors(asked.state)
        call = Call(asked.name, asked.phase, asked.hyper, bottoms, learned | state, asked.tops, asked.seed)
        tops = answer(asked.type_name, call)
        found = {f"top[{j}]": _array(top) for j, top in enumerate(tops)} | {n: _array(t) for n, t in state.items()}
        if asked.cotangents is not None:
            leaves = {f"bottom[{i}].grad": x for i, x in enumerate(bottoms) if asked.needs_grad[i]}
            leaves |= {f"{name}.grad": array for name, array in learned.items()}
            begins = [(t, dy) for t, dy in zip(tops, asked.cotangents, strict=True) if dy is not None]
            found |= gradients(begins, leaves)
    return found


def _array(tensor: Any) -> np.ndarray:
    return np.array(tensor.detach())
