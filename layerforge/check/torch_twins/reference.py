"""torch as a Reference: what layers and nets are compared with."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...net import Net
from ..against import Asked, Refusal
from ..one_step import OneStep
from . import TWINS, Call
from .net import answer, gradients, in_dtype, take_step, tensor, tensors

Arrays = dict[str, np.ndarray]
TYPES_OF_ARGUMENTS = re.compile(r"\w+\(\)(: argument '| received an invalid combination of arguments)")
PYTHONS_INDEX = re.compile(r"\w+ (assignment )?index out of range")  # of a list, a tuple or a text


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
    """What is computed; a Refusal where torch says, in exceptions of many kinds, what it cannot do."""
    try:
        return compute()
    except Exception as problem:
        if not _is_torchs(problem):
            raise
        raise Refusal(f"{type(problem).__name__}: {' '.join(str(problem).split())}") from problem


def _is_torchs(problem: Exception) -> bool:
    """Whether torch raised an exception, and not a line of ours that is wrong.

    torch's functions in C have no frame of their own: theirs are known by their kinds, and of those that Python raises,
    too, by their words.
    """
    last = problem.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is not None and Path(last.tb_frame.f_code.co_filename).is_relative_to(Path(torch.__file__).parent):
        return True
    if isinstance(problem, (RuntimeError, NotImplementedError)):
        return not isinstance(problem, RecursionError)
    if isinstance(problem, TypeError):
        return TYPES_OF_ARGUMENTS.search(str(problem)) is not None
    return isinstance(problem, IndexError) and PYTHONS_INDEX.fullmatch(str(problem)) is None


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
