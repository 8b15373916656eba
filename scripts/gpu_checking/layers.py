"""One example of each type of layer on the device: checks of the contract that a device can fail, and NumPy's numbers.

The whole contract on a device is `pytest --backend cupy`, which takes long where no kernel is compiled yet. Here each
type has its first example, and the types that most nets are made of come first, in case that time is up.
"""

from __future__ import annotations

from layerforge.arrays.backend import NUMPY
from layerforge.check import contract
from layerforge.check.case import Case, close, compare
from layerforge.contract.layer import Layer
from layerforge.schema.registry import LAYERS

from .stages import Check

CHECKS = (
    *("shapes_and_dtypes", "deterministic", "noncontiguous", "float32"),
    *("indices", "kernels_agree", "agrees_with_numpy"),
)
QUICK = ("shapes_and_dtypes", "indices", "agrees_with_numpy")
FIRST = (
    "Linear", "SoftmaxCrossEntropy", "ReLU", "BatchNorm", "Conv2d", "MaxPool2d", "AvgPool2d", "GlobalAvgPool2d", "Add",
    "Flatten", "Embedding", "LayerNorm", "MultiheadAttention", "GELU", "Dropout", "LSTM", "MSELoss", "Softmax",
    "Concat", "Accuracy", "GRU", "ConvTranspose2d", "CTCLoss", "Gather", "ScatterAdd", "Inverse", "Solve", "Sort",
)  # fmt: skip


def layers(check: Check) -> None:
    """For each type of layer: checks of the contract on the device, and agreement with NumPy."""
    names = types()
    for number, name in enumerate(names):
        check.reached(f"{number} of {len(names)} types")
        examine(check, LAYERS.get(name))
    check.finished(f"{len(names)} types")


def types() -> list[str]:
    """All types, those first that most nets are made of."""
    return [*FIRST, *(name for name in LAYERS.names() if name not in FIRST)]


def examine(check: Check, cls: type[Layer]) -> None:
    """A type's first example."""
    if not cls.examples:
        return
    case = Case(cls, cls.examples[0], check.backend)
    wanted = QUICK if check.options.quick else CHECKS
    known = [name for name in wanted if name in case.checks and contract.why_not(name, case) is None]
    for name in known:
        sentence = contract.run(name, case)
        check.demand(sentence is None, f"{cls.type_name}, {name}: {sentence}")
    with check.guarded(f"{cls.type_name}, running statistics"):
        statistics(case)
        check.outcome.checks += 1


def statistics(case: Case) -> None:
    """What a layer remembers of a forward in train is NumPy's up to rounding, in float64.

    Errors   CheckFailed where it is not
    """
    here, there = Case(case.cls, case.example, NUMPY).probe(), case.probe()
    for probe in (here, there):
        probe.forward()
    mine, right = ({name: probe.host(a) for name, a in probe.layer.state.items()} for probe in (there, here))
    compare(mine, right, close, "not what it is on NumPy")
