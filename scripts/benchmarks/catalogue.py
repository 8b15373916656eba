"""The nets, our ways of computing them, and the competitors: what a benchmark can be asked for.

The nets are configurations in nets/; the competitors' twins have parameters of the same names (`worker.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
LAYOUTS = ("contiguous", "channels_last")
INFERENCE_BATCHES = (1, 64)


@dataclass(frozen=True)
class NetEntry:
    """A net.

    variants  the ways that torch is tried in; the fastest counts
    draws     a step draws random numbers: nobody's are ours, so that gradients cannot be compared
    extra     measured only where it is asked for
    coarse    how far gradients and updates may be from float32's where products are rounded to bfloat16, relative to
              their norms: more than torch.autocast's are, which are 0.004 to 0.10 away, and 0.44 in resnet20, as many
              ReLUs one upon the other get inputs of the other sign
    """

    name: str
    title: str
    variants: tuple[str, ...] = ("eager",)
    draws: bool = False
    extra: bool = False
    coarse: float = 0.25

    @property
    def config(self) -> Path:
        return FOLDER / "nets" / f"{self.name}.yaml"


NETS = {
    net.name: net
    for net in (
        NetEntry("mlp", "MLP 784-256-128-10, batch 64"),
        NetEntry("mlp_bn", "the same with BatchNorm"),
        NetEntry("mlpwide", "MLP 784-1024-1024-10, batch 128"),
        NetEntry("mlpwide_bn", "the same with BatchNorm"),
        NetEntry("lenet", "LeNet, batch 64", LAYOUTS),
        NetEntry("quick", "cifar10_quick, batch 100", LAYOUTS),
        NetEntry("resnet20", "ResNet-20 (CIFAR), batch 128", LAYOUTS, coarse=0.6),
        NetEntry("lstm", "LSTM, T 28, hidden 128, batch 64", ("batch_first", "time_first")),
        NetEntry("tblock", "transformer block, d 128, T 64, batch 32", ("module", "functional")),
        NetEntry("mobile", "MobileNet block, 64 x 32 x 32, batch 32", LAYOUTS),
        NetEntry("mlp_drop", "mlp with Dropout", draws=True, extra=True),
    )
}
STANDARD = [name for name, net in NETS.items() if not net.extra]


# Our ways -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """How we compute a net.

    overrides  changes of its configuration
    keep       which blobs can be read after a pass: "none" or "all"
    coarse     products are rounded to bfloat16
    """

    overrides: tuple[str, ...] = ()
    keep: str = "none"
    coarse: bool = False


OURS = "layerforge"
KEEPS = ("none", "all")
OUR_WAYS = {
    "float32": Way(),
    "bf16-mixed": Way(("precision=bf16-mixed",), coarse=True),
    "medium": Way(("matmul_precision=medium",), coarse=True),
    "reference": Way(("engine=reference",)),
}
KEEPING_ALL = ", keep=all"
WAYS = {
    name + end: Way(way.overrides, keep, way.coarse)
    for keep, end in zip(KEEPS, ("", KEEPING_ALL), strict=True)
    for name, way in OUR_WAYS.items()
}


def ways(names: Sequence[str], keeps: Sequence[str]) -> list[str]:
    """Of WAYS: these with each `keep`; the first is what others are compared with.

    Only a net that an engine computes is planned differently for another `keep`: the reference comes once.
    """
    return [
        name if keep == "none" else name + KEEPING_ALL
        for name in names
        for keep in keeps
        if name != "reference" or keep == keeps[0]
    ]


# Competitors ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Competitor:
    """Who competes: the module in competitors/, and whether it needs the environment of --torch-python.

    varies      it is tried in all variants of a net
    coarse      it rounds to bfloat16
    modes       what it can be measured at
    options     what its module's `build` is told
    """

    module: str
    foreign: bool = False
    varies: bool = False
    coarse: bool = False
    modes: tuple[str, ...] = ("train", "infer")
    options: Mapping[str, Any] = field(default_factory=dict)


def _torch(precision: str, compiled: bool = False, modes: tuple[str, ...] = ("train", "infer")) -> Competitor:
    options = {"precision": precision, "compiled": compiled}
    return Competitor("torch_step", True, True, precision != "float32", modes, options)


COMPETITORS = {
    OURS: Competitor("ours"),
    "torch": _torch("float32"),
    "torch-medium": _torch("medium"),
    "torch-autocast": _torch("autocast"),
    "torch-bfloat16": _torch("bfloat16", modes=("infer",)),
    "torch-compile": _torch("float32", compiled=True),
    "torch-compile-autocast": _torch("autocast", compiled=True),
    "jax": Competitor("jax_jit", foreign=True),
    "numpy": Competitor("numpy_plain"),
}

FLOAT32, ANY = "float32", "any"
EAGER = ("torch", "torch-medium", "torch-autocast", "torch-bfloat16")
COMPILED = ("torch-compile", "torch-compile-autocast")
# Who we are measured against: of a group counts whoever is fastest on a net.
GROUPS = {
    FLOAT32: ("torch",),
    ANY: EAGER,
    "compiled float32": ("torch-compile",),
    "compiled": COMPILED,
    "all of torch": EAGER + COMPILED,
    "jax": ("jax",),
    "numpy": ("numpy",),
}
