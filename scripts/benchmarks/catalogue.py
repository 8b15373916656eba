"""The nets and the competitors: what a benchmark can be asked for.

The nets are configurations in nets/; the competitors' twins have parameters of the same names (`worker.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
LAYOUTS = ("contiguous", "channels_last")


@dataclass(frozen=True)
class NetEntry:
    """A net.

    goal      the ratio to torch's time for a training step with 2 threads that is to be reached; a net without one is
              measured only where it is asked for
    variants  the ways that torch is tried in; the fastest counts
    draws     a step draws random numbers: nobody's are ours, so that gradients cannot be compared
    """

    name: str
    title: str
    goal: float | None
    variants: tuple[str, ...] = ("eager",)
    draws: bool = False

    @property
    def config(self) -> Path:
        return FOLDER / "nets" / f"{self.name}.yaml"


NETS = {
    net.name: net
    for net in (
        NetEntry("mlp", "MLP 784-256-128-10, batch 64", 0.40),
        NetEntry("mlp_bn", "the same with BatchNorm", 0.40),
        NetEntry("mlpwide", "MLP 784-1024-1024-10, batch 128", 0.78),
        NetEntry("mlpwide_bn", "the same with BatchNorm", 0.65),
        NetEntry("lenet", "LeNet, batch 64", 0.75, LAYOUTS),
        NetEntry("quick", "cifar10_quick, batch 100", 0.75, LAYOUTS),
        NetEntry("resnet20", "ResNet-20 (CIFAR), batch 128", 0.75, LAYOUTS),
        NetEntry("lstm", "LSTM, T 28, hidden 128, batch 64", 0.80, ("batch_first", "time_first")),
        NetEntry("tblock", "transformer block, d 128, T 64, batch 32", 0.90, ("module", "functional")),
        NetEntry("mobile", "MobileNet block, 64 x 32 x 32, batch 32", 0.90, LAYOUTS),
        NetEntry("mlp_drop", "mlp with Dropout", None, draws=True),
    )
}
WITH_GOALS = [name for name, net in NETS.items() if net.goal is not None]
OURS = "layerforge"
GEOMETRIC_GOALS = {1: 0.75, 2: 0.68}  # by threads
INFERENCE_BATCHES = (1, 64)


@dataclass(frozen=True)
class Competitor:
    """Who competes: the module in competitors/, and whether it needs the environment of --torch-python.

    varies   it is tried in all variants of a net
    """

    module: str
    foreign: bool = False
    varies: bool = False


COMPETITORS = {
    OURS: Competitor("ours"),
    "layerforge-keep-all": Competitor("ours_keeping"),
    "torch": Competitor("torch_eager", foreign=True, varies=True),
    "torch-compile": Competitor("torch_compiled", foreign=True, varies=True),
    "jax": Competitor("jax_jit", foreign=True),
    "numpy": Competitor("numpy_plain"),
}
