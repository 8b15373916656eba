"""Whether oneDNN has fast code for what a layer would run in bfloat16: it is planned once, and nothing is computed.

Where there is none, oneDNN takes code that is written to be understood, or says that there is nothing at all. Such a
layer is better off in float32. What was found is remembered by hyper-parameters and shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...arrays.bfloat16 import BFLOAT16
from ...arrays.spec import Spec
from ...contract.layer import Memory, Run
from ...contract.namespaces import Flags, Grads, Params, State
from ...schema.errors import BackendError, LayerForgeError
from .binding import DryRun, Primitive, runtime

SLOW = "ref"  # what oneDNN calls its plain code begins so
FOUND: dict[tuple[Any, ...], str | None] = {}
MOST = 4096  # of them, so that nets of ever new shapes do not fill the memory


def without_fast_code(layer: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
    """Why a layer had better not compute in bfloat16 with these shapes; None where it may."""
    fields = tuple((name, repr(getattr(layer, name))) for name in type(layer).fields)
    key = type(layer), fields, tuple((s.shape, s.dtype) for s in (*bottoms, *tops)), layer.lower_products
    if key not in FOUND:
        if len(FOUND) >= MOST:
            FOUND.clear()
        FOUND[key] = _tried(layer, bottoms, tops)
    return FOUND[key]


def _tried(layer: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
    try:
        made = planned(layer, bottoms, tops)
    except BackendError as error:
        return f"oneDNN has no code for it in bfloat16 ({error.message})"
    except LayerForgeError:
        return None  # what it refuses, such as a batch of one sample, it refuses in either precision
    slow = {p.recipe.kind: p.recipe.implementation() for p in made if p.recipe.implementation().startswith(SLOW)}
    return next((f"oneDNN has no fast code for {kind} in bfloat16 ({code})" for kind, code in slow.items()), None)


def planned(layer: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> list[Primitive]:
    """The primitives of forward and backward of a layer's double in bfloat16, on memory that nobody looks at."""
    double, skipped = _double(layer), layer.no_grad_bottoms
    double.needs_grad = tuple(s.is_real and i not in skipped for i, s in enumerate(bottoms))
    xs = [_memory(s, halved=i not in skipped) for i, s in enumerate(bottoms)]
    with _only_planning() as watch, np.errstate(all="ignore"):
        double.begin_forward()
        double.forward(*xs)
        double.backward(*(_memory(s, halved=True) for s in tops))
        return list(watch.made.values())


def _double(layer: Any) -> Any:
    """The same layer with memory and parameters of its own."""
    double = object.__new__(type(layer))
    vars(double).update(vars(layer), memory=Memory(), kept=None, draws=0, ops={}, views={}, scripts={}, run=Run())
    vars(double).update(params=Params(), grads=Grads(), state=State(), needs_param_grad=Flags())
    double.halve()
    double.operands = Params()
    for name, decl in layer.param_decls.items():
        for space, dtype in ((double.params, "float32"), (double.grads, "float32"), (double.operands, BFLOAT16)):
            space.bind(name, np.empty(decl.shape, dtype))
        double.needs_param_grad.bind(name, True)
    for name, decl in layer.state_decls.items():
        double.state.bind(name, np.zeros(decl.shape, decl.dtype or "float32"))
    return double


def _memory(spec: Spec, *, halved: bool) -> Any:
    """An array as the layer would read it."""
    return np.zeros(spec.shape, BFLOAT16 if spec.is_real and halved else spec.dtype)


@contextmanager
def _only_planning() -> Iterator[DryRun]:
    """While this lasts, primitives are made and nothing is computed."""
    watch = runtime().watch
    outer, watch.dry_run = watch.dry_run, DryRun()
    try:
        yield watch.dry_run
    finally:
        watch.dry_run = outer
