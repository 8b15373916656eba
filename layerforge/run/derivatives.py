"""Derivatives of whole nets beyond the gradient: Jacobian-vector products and Jacobians, exact, without differences.

Backward (reverse accumulation) gives Jᵀ dy for one cotangent dy at the cost of a forward; forward accumulation gives
J v for one tangent v. The whole J takes one backward per output, or one jvp per input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from itertools import zip_longest
from operator import add
from typing import Any

import numpy as np

from ..arrays.backend import Array
from ..arrays.bfloat16 import widened
from ..arrays.sparse import is_sparse, stored
from ..contract import call
from ..contract.layer import Layer, Memory
from ..schema.errors import ConfigError
from . import access
from .again import Again
from .executor import Executor
from .net_parts import NetParts
from .passes import Passes
from .turns import in_turn

BASIS_LIMIT = 4096  # outputs of a layer without its own jvp, whose rows of J are made one by one


def jvp(net: NetParts, given: Mapping[str, Any]) -> dict[str, Any]:
    """The tangents of the net's outputs for tangents of some blobs and parameters, after a forward that was kept.

    A step is skipped whose bottoms and parameters all stand still. What is recomputed for a backward is recomputed here
    too. Where a blob that was given a tangent also moves with those below it, both add up.
    """
    executor = net.passes.differentiable()
    access.demand_full_precision(executor.plan, "jvp")
    learned, others = access.parameters_among(net, given, "tangent")
    tangents = access.seeds(net, executor.plan, others, "tangent")
    by_key = {slot.key: array for slot, array in learned}
    plan, xp, moving = executor.plan, executor.xp, dict(tangents)
    again = set(plan.segments)
    for number, step in enumerate(plan.steps):
        bottoms, layer = [moving.get(i) for i in step.bottoms], step.node.layer
        params = _of_layer(net, layer, by_key) if by_key else {}
        if (all(v is None for v in bottoms) and not params) or not layer.is_differentiable():
            continue
        segment = plan.segment_of.get(number)
        if segment in again:
            again.remove(segment)
            executor.recompute(segment, apart=True)
        layer.needs_grad = tuple(v is not None for v in bottoms)
        with _apart(executor, layer):
            tops = _tangents_of(executor, step, bottoms, params)
        for index, top in zip(step.tops, tops, strict=False):
            if top is not None and plan.specs[index].is_real:
                moving[index] = xp.asarray(top) + tangents[index] if index in tangents else xp.asarray(top)
    return {
        name: moving[i].copy() if i in moving else xp.zeros(plan.specs[i].shape, dtype=executor.dtype)
        for name, i in plan.outputs.items()
        if plan.specs[i].is_real
    }


def _of_layer(net: NetParts, layer: Layer, tangents: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    """The tangents of a layer's parameters by name; those that it shares move with their owner's."""
    keys = ((name, (layer.name, name)) for name in layer.param_decls)
    owners = {name: net.parameters.shared.get(key, key) for name, key in keys}
    return {name: tangents[key] for name, key in owners.items() if key in tangents}


def _tangents_of(executor: Executor, step: Any, bottoms: list[Any], params: dict[str, Any]) -> Sequence[Any]:
    """The tangents of a step's tops: those along its bottoms and those along its parameters add up.

    Either is derived from backward where the layer does not write it down: with the basis cotangents e_i that gives
    the rows of its Jacobian, hence (J v)_i = <Jᵀ e_i, v>.
    """
    layer = step.node.layer
    parts: list[Sequence[Any]] = []
    moved = any(v is not None for v in bottoms)
    if moved and layer.has_jvp():
        parts.append(call.jvp(layer, bottoms))
        moved = False
    if params and layer.has_jvp_params():
        parts.append(call.jvp_params(layer, params))
        params = {}
    if moved or params:
        parts.append(_by_backward(executor, step, bottoms if moved else [None] * len(bottoms), params))
    return [_sum(tops) for tops in zip_longest(*parts)]


def _sum(tangents: Sequence[Any]) -> Any:
    """The sum of what is not None; None where nothing is."""
    there = [t for t in tangents if t is not None]
    return reduce(add, there) if there else None


@contextmanager
def _apart(executor: Executor, layer: Any) -> Iterator[None]:
    """Where buffers share memory, as planned for backward, a layer works in memory of its own while this lasts."""
    own = layer.memory
    if executor.layout is not None:
        layer.memory = Memory()
    try:
        yield
    finally:
        layer.memory = own


def _by_backward(executor: Executor, step: Any, bottoms: list[Any], params: Mapping[str, Any]) -> list[Any]:
    """J v of one layer from its own backward. The gradients of its parameters are left as they were."""
    xp, dtype, layer = executor.xp, executor.dtype, step.node.layer
    specs = [executor.plan.specs[i] for i in step.tops]
    outputs = sum(s.size for s in specs if s.is_real)
    if outputs > BASIS_LIMIT:
        along = " along its parameters" if params else ""
        method = "jvp_params(self, **tangents)" if params else "jvp(self, *tangents)"
        raise ConfigError(
            f"{call.owner(layer)} has no jvp of its own{along} and {outputs} outputs, more than {BASIS_LIMIT}",
            hint=f"write {method} for it, or use fewer samples",
        )
    kept = {name: grad.copy() for name, grad in layer.grads.items()}
    marks = {name: rows.marks.copy() for name, rows in layer.grad_rows.items()}
    tangents: list[Any] = [xp.zeros(s.shape, dtype=dtype) if s.is_real else None for s in specs]
    basis: list[Any] = [xp.zeros(s.shape, dtype=dtype) if s.is_real else None for s in specs]
    for k, spec in enumerate(specs):
        for position in np.ndindex(*spec.shape) if spec.is_real else ():
            basis[k][position] = 1
            for name in params:
                layer.grads[name][...] = 0
            grads = call.backward(layer, basis)
            learned = [(layer.grads[name], v) for name, v in params.items()]
            pairs = learned + [(g, v) for g, v in zip(grads, bottoms, strict=True) if g is not None and v is not None]
            tangents[k][position] = sum((g * v).sum() for g, v in pairs)
            basis[k][position] = 0  # only now: a gradient may be the memory of dy
    for name, grad in layer.grads.items():
        grad[...] = kept[name]
    for name, rows in layer.grad_rows.items():
        rows.marks[...] = marks[name]
    return tangents


@contextmanager
def adding(passes: Passes, accumulate: bool) -> Iterator[None]:
    """Add the gradients of blobs that a backward makes while this lasts to those of the calls since the last forward.

    What is there is copied first: layers use its memory again.
    """
    if not isinstance(accumulate, bool | np.bool_):
        message = f"accumulate must be true or false, got a {type(accumulate).__name__}"
        raise ConfigError(message, hint='the cotangent of a blob with this name: net.backward({"accumulate": dy})')
    executor = passes.last
    before = [None if g is None else g.copy() for g in executor.grads] if accumulate and executor is not None else []
    yield
    if before and executor is not None:
        pairs = zip(before, executor.grads, strict=True)
        executor.grads = [old if new is None else new if old is None else _added(old, new) for old, new in pairs]


def _added(a: Any, b: Any) -> Any:
    """a + b; of the gradients of a sparse blob, which have its pattern, the stored values."""
    return a.with_data(a.data + b.data) if is_sparse(a) else widened(a) + widened(b)


@in_turn
def jacobian(net: NetParts, output: str, wrt: str) -> Array:
    """The matrix of partial derivatives of a blob with respect to an input or a parameter, at the last forward.

        J[i1, ..., j1, ...] = ∂ output[i1, ...] / ∂ wrt[j1, ...]

    output  a blob, such as "fc2"
    wrt     an input with `grad: true` or another blob below, or a parameter written "fc1.weight"

    Shapes    that of `output`, followed by that of `wrt`, or by one axis for the numbers that a sparse input stores
    Cost      one backward for every element of `output`, and a forward for each where backward uses the memory of the
              forward (with an engine, if the net does not keep all blobs); all gradients, of parameters and blobs, and
              running statistics are left as they were
    Errors    ConfigError for names that do not exist and for a parameter that is frozen; BlobError before a forward
              that was kept, and where `wrt` does not lie below `output`
    """
    layer, _, name = wrt.rpartition(".")
    parameter = net.params[layer][name] if layer in net.params and name in net.params[layer] else None
    if parameter is not None and parameter.frozen:
        raise ConfigError(f"parameter '{wrt}' is frozen and has no gradient", hint="set its .frozen to False first")
    target = parameter.data if parameter is not None else stored(net.blobs[wrt].data)
    shape = tuple(net.blobs[output].data.shape)
    xp = net.backend.xp
    matrix = xp.zeros((*shape, *target.shape), dtype=net.dtype)
    cotangent = xp.zeros(shape, dtype=net.dtype)
    executor = net.passes.differentiable()
    again = Again(net, executor) if executor.layout is not None and executor.layout.spends else None
    with _gradients_as_they_were(net, again):
        for position in np.ndindex(*shape):
            if executor.spent and again is not None:
                again.forward()
            cotangent[position] = 1
            net.zero_grad()
            net.backward({output: cotangent})
            cotangent[position] = 0
            matrix[position] = parameter.grad if parameter is not None else stored(net.blobs[wrt].grad)
    return matrix


@contextmanager
def _gradients_as_they_were(net: NetParts, again: Again | None) -> Iterator[None]:
    """Put back, when this ends, the gradients of parameters, and those of blobs in the memory where they are stored.

    A forward whose memory backward uses is run again; it had no gradients of blobs.
    """
    last, parameters = net.passes.last, net.parameters.saved_gradients()
    blobs = list(last.grads) if last is not None else []
    held = [None if grad is None else stored(grad) for grad in blobs]
    copies = [None if grad is None else grad.copy() for grad in held]
    try:
        yield
    finally:
        net.parameters.put_back(parameters)
        if again is not None:
            again.forward_as_it_was()
        elif last is not None:
            last.grads = blobs
            for grad, copy in zip(held, copies, strict=True):
                if grad is not None and getattr(grad.flags, "writeable", True):  # a seed is never written to
                    grad[...] = copy
