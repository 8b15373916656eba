"""How far a layer in bf16-mixed may be from float64, by its roundings and the length of its sums.

Bottoms, upstream gradients and parameters of several axes are numbers that bfloat16 can hold, so that they have no
error. With u = 2⁻⁸ for a rounding to bfloat16 and S = Σ|a||b| for the absolute values of a sum's n terms:

    stored in bfloat16 (tops, gradients of bottoms)     e + half the distance of its numbers about |truth| + e, at most
                                                        u (|truth| + e)
    stored in float32 (gradients of parameters, state)  e

where e is the error before the result is stored, by what the layer does:

    products, sums, means   (n + 4) 2⁻²⁴ S, in whatever order float32 adds them up. S is what the layer computes of the
                            absolute values of all it is given. n is at most the size of the weights, of which a sum
                            sees each once, and of a gradient of weights that of dy or x
    poolings                the same. Where k windows overlap, 1 < k <= 4 (arrays/bfloat16.py, `SHARES`), k - 1 shares
                            of dx may be added in bfloat16, which is (k - 1) u S (1 + u)ᵏ more. Of a MaxPool S are the
                            absolute gradients that met in one place
    attention               q, k, v, the weights, their gradients and those of the scores are stored in bfloat16 on the
                            way: attention_error.py carries their errors on
    an engine's LSTM, GRU   h, the gates and their gradients are: recurrent_error.py carries their errors on through
    and RNN                 time
    anything else           what the contract allows float32 (case.py, `rounding`; engines.py, `FLOOR`). Where backward
                            reads y, as Tanh and Sigmoid do, |∂dx/∂y| u |y| and its square besides
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays.bfloat16 import EPSILON, SHARES
from ..arrays.sparse import CSR, stored
from .accuracy import UNDERFLOW
from .attention_error import ATTENTION
from .case import rounding
from .engines import FLOOR
from .harness import Probe
from .recurrent_error import CELLS, recurrent
from .running_error import Approx, of_sum

LINEAR = frozenset(
    [
        "Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
        "AvgPool1d", "AvgPool2d", "AvgPool3d", "GlobalAvgPool2d", "Add", "Dropout", "Dropout2d", "Flatten", "Reshape",
        "MaxPool1d", "MaxPool2d", "MaxPool3d", "ReLU", "LeakyReLU",
    ]
)  # fmt: skip
# The derivative of dx = dy f'(y) by y, by dy and y: of what keeps its top.
BY_TOP: dict[str, Callable[[Any, Any], Any]] = {
    "Tanh": lambda dy, y: (2 * y * dy, dy),
    "Sigmoid": lambda dy, y: ((1 - 2 * y) * dy, dy),
}


def allowed(truth: Probe, results: dict[str, Any], dys: Sequence[Any], *, by_kernels: bool) -> dict[str, Any]:
    """By the name of a result of the truth, which is in float64, how far one in bf16-mixed may be off.

    by_kernels  whether an engine computes it, and not the layer's own text between roundings
    """
    kind = truth.layer.type_name
    if kind in LINEAR:
        errors = _of_sums(truth, results, dys)
    elif kind in ATTENTION:
        errors = {name: found.error for name, found in ATTENTION[kind](truth, dys).items()}
    elif kind in CELLS and by_kernels:
        errors = {name: found.error for name, found in recurrent(truth, dys).items()}
    else:
        errors = _of_float32(truth, results, dys)
    for name, right in results.items():
        if right is None or right.dtype.kind != "f":
            continue
        error = np.broadcast_to(errors[name], right.shape)
        in_halves = name.startswith(("top", "bottom"))
        errors[name] = (Approx(right, error).rounded().error if in_halves else error) + UNDERFLOW
    return errors


def named_results(probe: Probe, dys: Sequence[Any]) -> dict[str, Any]:
    """Tops, state and gradients of one pass by name, on the host."""
    probe.zero_grad()
    tops = probe.forward()
    found = {f"top[{i}]": probe.host(top) for i, top in enumerate(tops)}
    found |= {f"state {name}": probe.host(array) for name, array in probe.layer.state.items()}
    return found | probe.named(probe.backward(dys))


def _of_sums(truth: Probe, results: dict[str, Any], dys: Sequence[Any]) -> dict[str, Any]:
    """The errors of sums, by what the layer makes of absolute values."""
    probe = Probe(type(truth.layer), truth.example, phase=truth.layer.phase)
    layer: Any = probe.layer
    chooses = layer.type_name.startswith("MaxPool") or layer.type_name in ("ReLU", "LeakyReLU")
    probe.bottoms = list(truth.bottoms) if chooses else [_absolute(b) for b in truth.bottoms]
    for name, array in layer.params.items():
        array[...] = np.abs(truth.layer.params[name])
    if getattr(layer, "coeff", None) is not None:
        layer.coeff = [abs(c) for c in layer.coeff]
    weights = [array.size for _, array in layer.params.items()]
    given = [array.size for array in (*map(stored, probe.bottoms), *dys) if array is not None]
    longest = {name: max(given if name in layer.params else weights or given) for name in results}
    found = named_results(probe, [None if dy is None else np.abs(dy) for dy in dys])
    errors = {name: None if s is None else of_sum(longest[name]) * np.abs(s) for name, s in found.items()}
    if "Pool" in layer.type_name and errors.get("bottom[0]") is not None:
        errors["bottom[0]"] = errors["bottom[0]"] + _of_shares(layer, probe.bottoms[0]) * found["bottom[0]"]
    return errors


def _of_shares(layer: Any, bottom: Any) -> float:
    """What adding up a few overlapping windows' shares in bfloat16 may cost, relative to the sum of their sizes."""
    if layer.type_name.startswith("Global"):
        return 0.0
    shares = math.prod(-(-axis.kernel // axis.stride) for axis in layer.windows(bottom.shape[2:]).axes)
    return (shares - 1) * EPSILON * (1 + EPSILON) ** shares if shares <= SHARES else 0.0


def _absolute(bottom: Any) -> Any:
    """Its absolute values."""
    return bottom.with_data(np.abs(bottom.data)) if isinstance(bottom, CSR) else np.abs(bottom)


def _of_float32(truth: Probe, results: dict[str, Any], dys: Sequence[Any]) -> dict[str, Any]:
    """The errors that float32 may have, and those of backward where it reads a top in bfloat16."""
    relative = rounding([truth.host(b) for b in truth.bottoms])
    floor = FLOOR * max((float(np.abs(dy).max(initial=0.0)) for dy in dys if dy is not None), default=0.0)
    errors: dict[str, Any] = {
        name: None if right is None else relative * np.abs(right).max(initial=0.0) + floor
        for name, right in results.items()
    }
    by_top = BY_TOP.get(truth.layer.type_name)
    if by_top is not None and "bottom[0]" in errors:
        y = results["top[0]"]
        slope, curvature = by_top(dys[0], y)
        moved = EPSILON * np.abs(y)
        errors["bottom[0]"] = errors["bottom[0]"] + np.abs(slope) * moved + np.abs(curvature) * moved**2
    return errors
