"""Whether nets train from their start values: ours, He's everywhere, and those that torch draws by default.

    python scripts/starting_values.py                        the whole table, in a few minutes on one core
    python scripts/starting_values.py --only LeNet --lr 0.05

Small nets are trained on MNIST for 150 steps of 64 samples by SGD with momentum 0.9. A setting is a net and a learning
rate; it is passed where both of two seeds end finite and with a validation accuracy of at least 0.8. The table is
printed in Markdown, for docs/config.md.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from layerforge import DivergedError, LayerForgeError, Net, Solver
from layerforge.arrays import threads
from layerforge.contract.fillers import fan
from layerforge.data.mnist import MNIST

RATES = (0.01, 0.05, 0.1)
SEEDS = (0, 1)
STEPS, BATCH, MOMENTUM = 150, 64, 0.9
PASSED = 0.8  # validation accuracy
VALIDATION = 5000  # samples, the last ones

Layers = list[dict[str, Any]]


# The nets -------------------------------------------------------------------------------------------------------------


def linear(out_features: int, activation: str = "") -> Layers:
    return [{"type": "Linear", "out_features": out_features}, *([{"type": activation}] if activation else [])]


def conv(out_channels: int, kernel_size: int, activation: str = "", **more: Any) -> Layers:
    layer = {"type": "Conv2d", "out_channels": out_channels, "kernel_size": kernel_size, **more}
    return [layer, *([{"type": activation}] if activation else [])]


FLAT: Layers = [{"type": "Flatten"}]
POOL: Layers = [{"type": "MaxPool2d", "kernel_size": 2, "stride": 2}]
NETS: Mapping[str, Layers] = {
    "MLP": [*FLAT, *linear(256, "ReLU"), *linear(128, "ReLU"), *linear(10)],
    "tanh MLP": [*FLAT, *linear(256, "Tanh"), *linear(128, "Tanh"), *linear(10)],
    "8-layer MLP": [*FLAT, *linear(128, "ReLU") * 7, *linear(10)],
    "LeNet": [*conv(20, 5), *POOL, *conv(50, 5), *POOL, *FLAT, *linear(500, "ReLU"), *linear(10)],
    "VGG-like": [
        *conv(16, 3, "ReLU", padding=1) * 2, *POOL,
        *conv(32, 3, "ReLU", padding=1) * 2, *POOL,
        *FLAT, *linear(128, "ReLU"), *linear(10),
    ],
}  # fmt: skip


def net_of(layers: Layers, seed: int, engine: str) -> Net:
    """The net of a classifier of MNIST that ends in these layers' last one."""
    named = [{"name": f"{layer['type'].lower()}{i}", **layer} for i, layer in enumerate(layers)]
    scores = named[-1]["name"]
    loss = {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": [scores, "label"]}
    accuracy = {"name": "accuracy", "type": "Accuracy", "bottom": [scores, "label"], "phase": "eval"}
    inputs = {"image": {"shape": [BATCH, 1, 28, 28]}, "label": {"shape": [BATCH], "dtype": "int64"}}
    mapping = {"seed": seed, "engine": engine, "inputs": inputs, "net": [*named, loss, accuracy]}
    return Net.from_config(mapping, keep="none")


# Start values ---------------------------------------------------------------------------------------------------------


def ours(net: Net, seed: int) -> None:
    """By what follows: those that the net has."""


def he(net: Net, seed: int) -> None:
    """N(0, 2 / fan_in) for every weight."""
    rng = np.random.default_rng(seed)
    for named in learned(net):
        named["weight"][...] = rng.normal(0, math.sqrt(2 / fan(named["weight"].shape, "fan_in")), named["weight"].shape)


def torchs(net: Net, seed: int) -> None:
    """U(±1 / sqrt fan_in) for weights and biases, as torch.nn.Linear and torch.nn.Conv2d draw them."""
    rng = np.random.default_rng(seed)
    for named in learned(net):
        bound = 1 / math.sqrt(fan(named["weight"].shape, "fan_in"))
        for values in named.values():
            values[...] = rng.uniform(-bound, bound, values.shape)


def learned(net: Net) -> list[dict[str, Any]]:
    """The parameters of each layer that has any, by name."""
    return [dict(layer.params.items()) for layer in net.layers.values() if layer.param_decls]


Start: TypeAlias = Callable[[Net, int], None]
SCHEMES: Mapping[str, Start] = {"by what follows": ours, "He's everywhere": he, "torch's": torchs}


# Training -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """Of one training: its first loss, and the validation accuracy; NaN where it diverged."""

    first: float
    accuracy: float

    @property
    def passed(self) -> bool:
        return self.accuracy >= PASSED


def trained(layers: Layers, start: Start, lr: float, seed: int, engine: str, data: Mapping[str, np.ndarray]) -> Outcome:
    """Train a net from start values of a kind."""
    net = net_of(layers, seed, engine)
    start(net, seed)
    solver = Solver(net, type="SGD", lr=lr, momentum=MOMENTUM)
    chosen = np.random.default_rng(seed).permutation(len(data["image"]) - VALIDATION)[: STEPS * BATCH]
    first = math.nan
    for step, samples in enumerate(chosen.reshape(STEPS, BATCH)):
        try:
            loss = solver.step(**{name: array[samples] for name, array in data.items()})
        except DivergedError:
            return Outcome(first, math.nan)
        first = float(loss) if step == 0 else first
    held_out = {name: array[-VALIDATION:] for name, array in data.items()}
    with np.errstate(all="ignore"):  # of a net that is about to diverge
        return Outcome(first, float(net.forward(phase="eval", **held_out)["accuracy"]))


def mnist() -> dict[str, np.ndarray]:
    """All training images, from 0 to 1, and their labels."""
    source = MNIST(split="train")
    source.prepare()
    arrays = source.load()
    return {"image": np.float32(arrays["image"]) / 255, "label": np.int64(arrays["label"])}


# The table ------------------------------------------------------------------------------------------------------------


def cell(outcomes: Sequence[Outcome]) -> str:
    """What the seeds came to: their accuracies, in bold where all passed."""
    words = " ".join("diverged" if math.isnan(o.accuracy) else f"{o.accuracy:.2f}" for o in outcomes)
    return f"**{words}**" if all(o.passed for o in outcomes) else words


def table(nets: Sequence[str], rates: Sequence[float], engine: str) -> Iterator[str]:
    """The lines of the table in Markdown, each as soon as it is known."""
    data, passed = mnist(), dict.fromkeys(SCHEMES, 0)
    firsts: dict[str, list[float]] = {name: [] for name in SCHEMES}
    yield f"| net | lr | {' | '.join(SCHEMES)} |"
    yield f"|---|---|{'---|' * len(SCHEMES)}"
    for net, lr in itertools.product(nets, rates):
        cells = []
        for name, start in SCHEMES.items():
            outcomes = [trained(NETS[net], start, lr, seed, engine, data) for seed in SEEDS]
            passed[name] += all(o.passed for o in outcomes)
            firsts[name] += [o.first for o in outcomes]
            cells.append(cell(outcomes))
        yield f"| {net} | {lr} | {' | '.join(cells)} |"
    counts = [f"{passed[name]} of {len(nets) * len(rates)}" for name in SCHEMES]
    yield f"| passed | | {' | '.join(counts)} |"
    ranges = [f"{np.nanmin(firsts[name]):.2f} to {np.nanmax(firsts[name]):.2f}" for name in SCHEMES]
    yield f"| first losses (ln 10 = 2.30) | | {' | '.join(ranges)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=NETS, default=list(NETS), metavar="NET", help=", ".join(NETS))
    parser.add_argument("--lr", nargs="+", type=float, default=list(RATES), help="learning rates")
    parser.add_argument("--engine", default="auto", help="auto, onednn or reference")
    args = parser.parse_args()
    threads.use(1)  # nets of this size gain nothing from more
    try:
        for line in table(args.only, args.lr, args.engine):
            print(line, flush=True)
    except LayerForgeError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
