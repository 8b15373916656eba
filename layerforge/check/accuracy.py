"""How exact an engine's layers are on inputs that cost digits: offsets, tiny and huge values, long sums.

The truth is the reference in float64, on the same float32 values. What an engine may be off by is

    4 max(error of the reference in float32, error of torch in float32) + 4 eps max |truth|

torch's errors are in accuracy.json, which scripts/make_accuracy.py writes; nobody needs torch to read them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.backend import NUMPY, Backend
from ..arrays.spec import Spec, index
from ..contract.layer import Example
from ..schema.registry import LAYERS
from .case import Case, demand, differentiable, engine_check
from .engines import engine_cases
from .harness import Probe, reference_of

RECORD = Path(__file__).with_name("accuracy.json")
EPS = float(np.finfo("float32").eps)
UNDERFLOW = 1e-30  # what is left of products of denormal numbers, which processors may take for 0
SEED = 30_000

# What is done to normal random numbers.
HARD: dict[str, Callable[[Any], Any]] = {
    "normal": lambda x: x,
    "offset": lambda x: x + 1000,
    "constant": lambda x: np.full_like(x, 3.3),
    "tiny": lambda x: x * 1e-20,
    "huge": lambda x: x * 1e6,
    "wide": lambda x: x * 20,
}
IMAGES, LONG = Spec((16, 4, 16, 16)), ("normal", "constant")
LONG_ROWS = 50_000
SEQUENCE = Spec((6, 8, 5))


@dataclass(frozen=True)
class Use:
    """A layer on bottoms of some shapes, and what its values are like."""

    type_name: str
    params: dict[str, Any]
    bottoms: tuple[Spec, ...]
    kinds: tuple[str, ...] = tuple(HARD)

    @property
    def name(self) -> str:
        """Its name in the record."""
        shapes = " ".join("x".join(map(str, s.shape)) for s in self.bottoms)
        return f"{self.type_name} {json.dumps(self.params)} {shapes}"

    @property
    def example(self) -> Example:
        return Example(self.params, list(self.bottoms))


USES = [
    Use("BatchNorm", {}, (IMAGES,)),
    Use("BatchNorm", {"momentum": 1.0}, (Spec((100, 24)),)),
    Use("BatchNorm", {}, (Spec((1000, 6)),)),
    Use("BatchNorm", {}, (Spec((LONG_ROWS, 2)),), LONG),
    Use("LayerNorm", {"normalized_shape": [24]}, (Spec((50, 24)),)),
    Use("LayerNorm", {"normalized_shape": [2048]}, (Spec((8, 2048)),)),
    Use("LayerNorm", {"normalized_shape": [4]}, (Spec((LONG_ROWS, 4)),), LONG),
    Use("LocalResponseNorm", {"size": 5}, (IMAGES,)),
    Use("Linear", {"out_features": 6}, (Spec((500, 16)),)),
    Use("Linear", {"out_features": 2}, (Spec((LONG_ROWS, 2)),), LONG),
    Use("Conv2d", {"out_channels": 6, "kernel_size": 3, "padding": 1}, (IMAGES,)),
    Use("Conv2d", {"out_channels": 2, "kernel_size": 1}, (Spec((50, 2, 64, 64)),), LONG),
    Use("Conv1d", {"out_channels": 6, "kernel_size": 3}, (Spec((8, 4, 50)),)),
    Use("Conv3d", {"out_channels": 4, "kernel_size": 3}, (Spec((4, 3, 6, 7, 8)),)),
    Use("ConvTranspose1d", {"out_channels": 6, "kernel_size": 3}, (Spec((8, 4, 50)),)),
    Use("ConvTranspose1d", {"out_channels": 2, "kernel_size": 4, "stride": 2}, (Spec((50, 2, 2000)),), LONG),
    Use("ConvTranspose2d", {"out_channels": 6, "kernel_size": 3}, (IMAGES,)),
    Use("ConvTranspose3d", {"out_channels": 4, "kernel_size": 3, "stride": 2, "padding": 1}, (Spec((4, 3, 5, 6, 7)),)),
    Use("GlobalAvgPool2d", {}, (Spec((2, 3, 8, 8)),)),
    Use("GlobalAvgPool2d", {}, (Spec((2, 3, 100, 100)),)),
    Use("AvgPool1d", {"kernel_size": 500, "stride": 1}, (Spec((2, 3, 600)),)),
    Use("AvgPool2d", {"kernel_size": 8}, (Spec((2, 3, 16, 16)),)),
    Use("AvgPool2d", {"kernel_size": 30}, (Spec((2, 3, 60, 60)),)),
    Use("AvgPool3d", {"kernel_size": [8, 10, 12]}, (Spec((2, 2, 16, 10, 12)),)),
    Use("Softmax", {}, (Spec((50, 100)),)),
    Use("Softmax", {"dim": 0}, (Spec((5000, 2)),), LONG),
    Use("LogSoftmax", {}, (Spec((50, 100)),)),
    Use("LogSoftmax", {"dim": 0}, (Spec((LONG_ROWS, 2)),), LONG),
    Use("SoftmaxCrossEntropy", {}, (Spec((200, 10)), index((200,), 10))),
    Use("SoftmaxCrossEntropy", {}, (Spec((LONG_ROWS, 2)), index((LONG_ROWS,), 2)), LONG),
    Use("SoftmaxCrossEntropy", {"label_smoothing": 0.1}, (Spec((200, 10)), index((200,), 10))),
    Use("SoftmaxCrossEntropy", {"label_smoothing": 0.1}, (Spec((20, 100, 8)), index((20, 8), 100))),
    Use("SoftmaxCrossEntropy", {"ignore_index": 1, "weight": [0.5, 2.0, 3.0]}, (Spec((50, 3, 9)), index((50, 9), 3))),
    Use("MSELoss", {}, (Spec((50, 40)), Spec((50, 40)))),
    Use("MSELoss", {}, (Spec((LONG_ROWS, 20)), Spec((LONG_ROWS, 20), low=-1, high=1)), LONG),
    Use("EuclideanLoss", {}, (Spec((3, 4, 6, 7)), Spec((3, 4, 6, 7)))),
    Use("BCEWithLogitsLoss", {}, (Spec((50, 40)), Spec((50, 40), low=0, high=1)), ("normal", "wide")),
    Use("Add", {}, (Spec((50, 40)), Spec((50, 40)))),
    Use("LSTM", {"hidden_size": 8}, (SEQUENCE,), ("normal", "wide")),
    Use("GRU", {"hidden_size": 8}, (SEQUENCE,), ("normal", "wide")),
    Use("RNN", {"hidden_size": 8}, (SEQUENCE,), ("normal", "wide")),
    Use("ScaledDotProductAttention", {}, (Spec((2, 2, 24, 8)),) * 3, ("normal", "constant", "tiny")),
    Use("MultiheadAttention", {"num_heads": 2}, (Spec((2, 24, 8)),), ("normal", "constant", "tiny")),
]


@functools.cache
def recorded() -> dict[str, dict[str, float]]:
    """torch's errors by use and kind, then by array; nothing where the file is not there."""
    return json.loads(RECORD.read_text())["errors"] if RECORD.exists() else {}


def drawn(use: Use, kind: str) -> list[np.ndarray]:
    """The bottoms, real ones in float32."""
    probe = Probe(LAYERS.get(use.type_name), use.example, dtype="float32", seed=SEED)
    return [HARD[kind](b).astype(b.dtype) if b.dtype.kind == "f" else b for b in probe.bottoms]


def prepared(use: Use, cls: Any, bottoms: list[np.ndarray], dtype: str, backend: Backend = NUMPY) -> Probe:
    """A layer of a class on these bottoms, in a dtype, with parameters and statistics that are float32 values."""
    probe = Probe(cls, use.example, dtype=dtype, backend=backend, seed=SEED)
    probe.bottoms = [backend.from_host(b.astype(dtype) if b.dtype.kind == "f" else b.copy()) for b in bottoms]
    for _, array in (*probe.layer.params.items(), *probe.layer.state.items()):
        if array.dtype.kind == "f":
            array[...] = array.astype("float32")
    return probe


def cotangents(tops: Any) -> list[np.ndarray]:
    """Upstream gradients that are float32 values and do not cancel in a sum."""
    rng = np.random.default_rng(SEED)
    return [(0.5 + rng.normal(size=t.shape)).astype("float32") for t in tops]


def results(
    use: Use, cls: Any, bottoms: list[np.ndarray], dtype: str, backend: Backend = NUMPY
) -> dict[str, np.ndarray]:
    """Tops, statistics and gradients, by name, of a training step."""
    probe = prepared(use, cls, bottoms, dtype, backend)
    tops = probe.forward()
    found = {f"top[{i}]": probe.host(t) for i, t in enumerate(tops)}
    grads = probe.gradients([probe.device(dy) for dy in cotangents(tops)])
    if dict(probe.layer.state.items()):
        probe = prepared(use, cls, bottoms, dtype, backend)  # the statistics have followed twice
        probe.forward()
    found |= {name: probe.host(array) for name, array in probe.layer.state.items()}
    return found | {f"{name}.grad": grad for name, grad in grads.items()}


def errors(got: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest error of each array of the truth."""
    return {name: float(np.abs(got[name] - t).max(initial=0.0)) for name, t in truth.items() if name in got}


def verdicts(cls: Any, type_name: str, backend: Backend = NUMPY) -> Iterator[str]:
    """A sentence about every array of the hard uses of a type that a class is too far from the truth with.

    The truth is NumPy's, in float64; the class computes on the backend.
    """
    reference = LAYERS.get(type_name)
    for use in (u for u in USES if u.type_name == type_name):
        for kind in (k for k in use.kinds if f"{use.name} {k}" in recorded()):
            bottoms = drawn(use, kind)
            truth, theirs = (results(use, reference, bottoms, dtype) for dtype in ("float64", "float32"))
            mine = results(use, cls, bottoms, "float32", backend)
            torchs, ours = recorded()[f"{use.name} {kind}"], errors(theirs, truth)
            for name, error in errors(mine, truth).items():
                largest = float(np.abs(truth[name]).max(initial=0.0))
                allowed = 4 * max(ours[name], torchs.get(name, 0.0)) + 4 * EPS * largest + UNDERFLOW
                if not error <= allowed:
                    yield f"{name}: off by {error:.1e}, allowed are {allowed:.1e} ({use.name}, {kind})"


def has_hard_uses(case: Case) -> str | None:
    """Condition of the check of accuracy, whose inputs belong to no example."""
    mine: Any = case.cls
    reference = reference_of(mine)
    if not any(use.type_name == reference.type_name for use in USES):
        return "no inputs that cost digits are recorded for it"
    first = next(engine_cases(reference, mine.engine, case.backend), None)
    once = first is not None and first[1].example is case.example
    return None if once else "once for a layer is enough"


@engine_check(differentiable, has_hard_uses)
def check_accurate(case: Case) -> None:
    """On inputs that cost digits it is off by hardly more than the reference or torch, both in float32."""
    sentence = next(verdicts(case.cls, reference_of(case.cls).type_name, case.backend), None)
    demand(sentence is None, sentence or "")
