"""Hessian-vector products of a net's losses, by differences of its gradients: second derivatives are not exact here.

A layer writes down its first derivatives, forward and back. A second derivative would need the derivative of backward,
which no layer has; H v is the derivative of the gradient g along v, so that a few gradients near the parameters do:

    D(h) = (g(p + h v) - g(p - h v)) / 2h = H v + c h² + ...
    H v ≈ P = (4 D(h/2) - D(h)) / 3                                Richardson: the terms in h² cancel

Two things set P apart from H v: what is left of the Taylor series, and rounding of the gradients, which P has about
three times as much of as D(h), as D(h/2) divides it by half of h. |P - D(h)| = 4/3 |D(h/2) - D(h)| estimates either:
the first it sees in D(h), where there is more of it, and the second in both. That two differences are off by the same
is likely where they are few numbers, so the rounding that there is at least is added, eps |g| / h for each D(h).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..arrays.backend import Array
from ..arrays.sparse import is_sparse
from ..schema.errors import ConfigError
from ..schema.synonyms import did_you_mean
from . import access
from .again import Again
from .executor import Executor
from .net_parts import NetParts
from .parameters import l2_norm
from .views import numbers


class Point:
    """What the losses of the last forward were computed from: parameters, and inputs that want a gradient.

    flat    parameters as they were
    inputs  the last forward's, by name
    moving  those of them that want a gradient and are dense: number of the blob by name
    """

    def __init__(self, net: NetParts, executor: Executor) -> None:
        plan = executor.plan
        blobs = net.graph.phases[plan.phase].blobs
        self.net, self.executor, self.last = net, executor, Again(net, executor)
        self.flat, self.inputs = net.parameters.data.copy(), self.last.inputs
        specs = plan.specs
        self.moving = {
            name: i for i, name in plan.inputs if specs[i].is_real and blobs[i].needs_grad and not specs[i].sparse
        }
        self.learned = {f"{s.layer}.{s.name}": s for s in net.parameters.slots.values() if not s.frozen}

    def direction(self, v: Any) -> Direction:
        """That of a flat vector, or of arrays by name. ConfigError where names, shapes or values do not fit."""
        net, size = self.net, len(self.net.parameters.grad)
        xp = net.backend.xp
        flat: Array = xp.zeros(size, dtype=net.dtype)
        inputs: dict[str, Array] = {}
        if not isinstance(v, Mapping):
            given = numbers("the direction", v, net.backend, net.dtype)
            if given.shape != (size,):
                hint = 'one as long as net.parameters.grad, or a mapping such as {"fc.weight": v}'
                raise ConfigError(f"the direction has shape {given.shape}, expected ({size},)", hint=hint)
            for slot in self.learned.values():  # not what is stored between them, nor what is frozen by now
                slot.view(flat)[...] = slot.view(given)
            return Direction(flat, inputs)
        parameters, others = access.parameters_among(net, v, "direction")
        for slot, array in parameters:
            slot.view(flat)[...] = array
        for name, value in others.items():
            array = numbers(f"direction of '{name}'", value, net.backend, net.dtype)
            if array.shape != self._moving(name).shape:
                expected = self.inputs[name].shape
                raise ConfigError(f"direction of '{name}' has shape {array.shape}, expected {expected}")
            inputs[name] = array
        return Direction(flat, inputs)

    def _moving(self, name: str) -> Array:
        """An input that wants a gradient."""
        if name in self.moving:
            return self.inputs[name]
        if name in self.inputs and is_sparse(self.inputs[name]):
            raise ConfigError(f"input '{name}' is sparse: there is no direction along what it stores")
        if name in self.inputs:
            raise ConfigError(f"input '{name}' has no gradient", hint="declare it with `grad: true`")
        known = [*self.learned, *self.moving]
        hint = did_you_mean(name, known) or f"there are: {', '.join(known) or 'none'}"
        raise ConfigError(f"'{name}' is no parameter and no input of the last forward", hint=hint)

    def gradient(self, v: Direction, factor: float) -> Direction:
        """The gradient of the losses at factor · v from here, with the running statistics of here."""
        net, executor = self.net, self.executor
        net.parameters.data[...] = self.flat
        net.parameters.data[: len(v.flat)] += factor * v.flat
        moved = {name: x + factor * v.inputs[name] if name in v.inputs else x for name, x in self.inputs.items()}
        self.last.forward(moved)
        net.parameters.zero_grad()
        executor.backward(executor.seed_losses(1.0)[1])
        grads = executor.grads
        zeros = net.backend.xp.zeros_like
        inputs = {n: zeros(self.inputs[n]) if grads[i] is None else grads[i].copy() for n, i in self.moving.items()}
        return Direction(net.parameters.grad.copy(), inputs)

    @contextmanager
    def left_as_it_was(self) -> Iterator[None]:
        """Parameters, gradients and statistics are afterwards what they are now; nobody observes what happens here.

        The last forward is run once more, so that what it kept and its blobs are those of here again.
        """
        net, executor = self.net, self.executor
        flat_grad = net.parameters.grad.copy()
        rows = {key: known.marks.copy() for key, known in net.parameters.rows.items()}
        grads = [None if g is None else g.copy() for g in executor.grads]
        observers, executor.observers = executor.observers, ()
        seeded = executor.loss_seeds
        try:
            yield
            net.parameters.data[...] = self.flat
            self.last.forward_as_it_was()
            executor.grads = grads
        finally:
            executor.observers, executor.loss_seeds = observers, seeded
            net.parameters.data[...] = self.flat
            net.parameters.grad[...] = flat_grad
            for key, marks in rows.items():
                net.parameters.rows[key].marks[...] = marks
            net.restore_state(self.last.state)


class Direction:
    """A vector of the space of all parameters and inputs: a step through it, or a gradient."""

    def __init__(self, flat: Array, inputs: Mapping[str, Array]) -> None:
        self.flat, self.inputs = flat, inputs

    def parts(self) -> list[Array]:
        return [self.flat, *self.inputs.values()]

    def norm(self, xp: Any) -> float:
        return math.hypot(*(l2_norm(xp, part.reshape(-1)) for part in self.parts()))


def combined(factors: Sequence[float], of: Sequence[Direction]) -> Direction:
    """The linear combination."""
    pairs = list(zip(factors, of, strict=True))
    inputs = {name: sum(f * d.inputs[name] for f, d in pairs) for name in of[0].inputs}
    return Direction(sum(f * d.flat for f, d in pairs), inputs)


def hvp(net: NetParts, v: Any, step: float | None) -> tuple[Any, float]:
    """H v of the weighted sum of the losses, and an estimate of its relative error: see `Net.hvp`."""
    executor = net.passes.differentiable()
    _demand_losses(net, executor)
    access.demand_full_precision(executor.plan, "hvp")
    if step is not None and not (isinstance(step, int | float | np.number) and 0 < step < math.inf):
        hint = "leave it out, unless the estimate of the error is large"
        raise ConfigError(f"step must be a positive number, got {step!r}", hint=hint)
    xp, point = net.backend.xp, Point(net, executor)
    direction = point.direction(v)
    length = direction.norm(xp)
    if not math.isfinite(length):
        raise ConfigError("the direction, or its norm, is not finite", hint="scale it to elements of about 1")
    h = (step or _step(net, point)) / (length or 1.0)
    with point.left_as_it_was():
        (wide, rounding), (narrow, more) = (_difference(point, direction, each) for each in (h, h / 2))
    product = combined([4 / 3, -1 / 3], [narrow, wide])
    size, off = product.norm(xp), combined([1, -1], [product, wide]).norm(xp)
    error = (off + 4 / 3 * more + 1 / 3 * rounding) / size if size else math.inf if off else 0.0
    if not isinstance(v, Mapping):
        return product.flat, error
    learned = {name: slot.view(product.flat).copy() for name, slot in point.learned.items()}
    return {**learned, **product.inputs}, error


def _demand_losses(net: NetParts, executor: Executor) -> None:
    if not executor.plan.losses:
        any_at_all = any(any(node.loss_weights) for node in net.graph.nodes)
        message = "the last forward computed no loss" if any_at_all else "the net has no loss"
        hint = "the Hessian is that of the losses: give a layer a loss_weight, and let forward run it"
        raise ConfigError(f"{message}, so there is no Hessian", hint=hint)
    access.demand_losses(net, executor.plan)


def _step(net: NetParts, point: Point) -> float:
    """The length |h v|: rounding errors grow with 1/h, what Richardson leaves with h⁴; these meet at eps^(1/5).

    For parameters of size 1; where the parameters are larger on average, so is the step.
    """
    rms = l2_norm(net.backend.xp, point.flat) / math.sqrt(max(net.parameters.count, 1))
    return float(np.finfo(net.dtype).eps) ** 0.2 * max(1.0, rms)


def _difference(point: Point, v: Direction, h: float) -> tuple[Direction, float]:
    """D(h), and how far off it is at least because gradients are rounded to numbers of their dtype."""
    xp, eps = point.net.backend.xp, float(np.finfo(point.net.dtype).eps)
    plus, minus = (point.gradient(v, factor) for factor in (h, -h))
    rounding = eps * (plus.norm(xp) + minus.norm(xp)) / (2 * h)
    return combined([1 / (2 * h), -1 / (2 * h)], [plus, minus]), rounding
