"""The engine against the reference along a training: now and then, one step of each from the very same weights.

    scripts/compare_engine.py configs/mnist_lenet.yaml configs/cifar10_resnet20.yaml
    scripts/compare_engine.py CONFIG --steps 200 --every 20 --batch 16 --threads 2 --json FILE

Training amplifies rounding, so two long curves say nothing. Here the engine trains; every `--every` steps the reference
gets its weights, running statistics and the solver's history, both take the step, and every array is compared by its
norm. Then the whole training is repeated: with the same threads it must end in the same bits. No data set is read:
every class is a random pattern under noise. Exit code 1 where a bound is broken.

Among millions of rectifiers some are within rounding of their kink, on one side here and on the other there. Both are
right, but a single one that passes its gradient on or not moves the gradients below it by up to a hundredth. So the
reference takes the engine's side, where the two numbers differ by rounding (NEAR) only; how many did so is told.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerforge import Net, Solver

RECTIFIERS = ("ReLU", "LeakyReLU")
NEAR = 1e-4  # of the largest number of the blob: beyond that it was not rounding
BOUNDS = {"gradient": 1e-4, "weight": 1e-4, "statistic": 1e-5, "loss": 1e-4}


@dataclass(frozen=True)
class Difference:
    """How far an array of the engine is from the reference's: the norm of the difference over the norm."""

    step: int
    kind: str
    array: str
    off: float

    @property
    def ok(self) -> bool:
        """Whether it is within its bound; what is not a number is not."""
        return self.off <= BOUNDS[self.kind]


class Trainee:
    """A net with its solver."""

    def __init__(self, config: str | Mapping[str, Any], batch: int, engine: str, overrides: Sequence[str] = ()) -> None:
        if isinstance(config, Mapping):
            net = Net.from_config({**config, "engine": engine})
        else:
            net = Net.from_yaml(config, [f"data.train.batch_size={batch}", f"engine={engine}", *overrides])
        self.rectified = [n.tops[0] for n in net.graph.nodes if n.layer.type_name in RECTIFIERS]
        # The engine's net keeps nothing else, so that it fuses layers and shares memory as in a training.
        self.net = net if engine == "reference" else Net(net.config, keep=self.rectified)
        self.solver = Solver.from_config(self.net, self.net.config.solver)
        self.solver.total_iterations, self.solver.total_epochs = 10_000, 10

    def take_over(self, other: Trainee) -> None:
        """Weights, running statistics, history and place in the training of another."""
        mine = [self.net.parameters.data, *self.solver.history]
        mine += [a for s in self.net.state.values() for a in s.values()]
        theirs = [other.net.parameters.data, *other.solver.history]
        theirs += [a for s in other.net.state.values() for a in s.values()]
        for target, source in zip(mine, theirs, strict=True):
            target[...] = source
        self.solver.iteration = self.net.iteration = other.solver.iteration

    def step(self, batch: Mapping[str, Any], sides: Mapping[str, Any] | None = None) -> dict[tuple[str, str], Any]:
        """Take a step; what came of it, by kind and name. `sides` says where rectifiers at their kink shall be."""
        net, flat = self.net, self.net.parameters
        net.zero_grad()
        net.forward(**batch)
        self.moved = 0 if sides is None else sum(take_side(net.blobs[n].data, sides[n]) for n in self.rectified)
        net.backward()
        found: dict[tuple[str, str], Any] = {("loss", "loss"): np.array(net.total_loss())}
        self.solver.update()
        for (layer, name), slot in flat.slots.items():
            if not slot.frozen:
                found["gradient", f"{layer}.{name}"] = slot.view(flat.grad).copy()
                found["weight", f"{layer}.{name}"] = slot.view(flat.data).copy()
        for layer, arrays in net.state.items():
            found |= {("statistic", f"{layer}.{name}"): a.copy() for name, a in arrays.items()}
        return found


def take_side(mine: np.ndarray, theirs: np.ndarray) -> int:
    """Move the elements of a rectified blob that are at the kink to where another has them; how many there are."""
    other = ((mine > 0) != (theirs > 0)) & (np.abs(mine - theirs) <= NEAR * np.abs(theirs).max())
    mine[other] = theirs[other]
    return int(other.sum())


def batches(net: Net, count: int, samples: int, seed: int = 0) -> Iterator[dict[str, np.ndarray]]:
    """Batches for a classifier: a random pattern for each class, under as much noise again.

    A third of the labels are drawn at random. Otherwise the loss would soon be near 0, where p - 1 of the right class
    is nothing but rounding in float32, the reference's as well.
    """
    rng = np.random.default_rng(seed)
    loss = next(node for node in net.graph.nodes if any(node.loss_weights))
    classes = net.graph.phases["train"].current[loss.bottoms[0]].spec.shape[1]
    image, label = (next(n for n, s in net.graph.inputs.items() if s.is_real is real) for real in (True, False))
    patterns = rng.normal(size=(classes, *net.graph.inputs[image].shape[1:]))
    for _ in range(count):
        t = rng.integers(0, classes, samples)
        x = 0.1 * (patterns[t] + rng.normal(size=(samples, *patterns.shape[1:])))
        labels = np.where(rng.random(samples) < 1 / 3, rng.integers(0, classes, samples), t)
        yield {image: x.astype("float32"), label: labels}


def compare(
    config: str | Mapping[str, Any], steps: int, every: int, samples: int, overrides: Sequence[str] = ()
) -> tuple[list[Difference], int, np.ndarray]:
    """Train with the engine; the differences of the steps that both took, rectifiers moved, the weights at the end."""
    mine, theirs = (Trainee(config, samples, engine, overrides) for engine in ("auto", "reference"))
    differences, moved = [], 0
    for number, batch in enumerate(batches(mine.net, steps, samples)):
        if every and number % every == 0:
            theirs.take_over(mine)
            got = mine.step(batch)
            want = theirs.step(batch, {name: mine.net.blobs[name].data for name in mine.rectified})
            moved += theirs.moved
            differences += [Difference(number, *key, relative(got[key], value)) for key, value in want.items()]
        else:
            mine.step(batch)
    return differences, moved, mine.net.parameters.data.copy()


def relative(got: np.ndarray, want: np.ndarray) -> float:
    """|got - want| / |want|, in float64; equal zeros are equal."""
    off = float(np.linalg.norm(got.astype("float64") - want))
    return off / float(np.linalg.norm(want.astype("float64"))) if off else 0.0


def summary(differences: Sequence[Difference]) -> list[str]:
    """A line for each kind: the worst of all steps, and of which array."""
    lines = []
    for kind, bound in BOUNDS.items():
        own = [d for d in differences if d.kind == kind]
        if own:
            worst = max(own, key=lambda d: d.off if d.off == d.off else np.inf)
            count = len({d.step for d in own})
            verdict = "ok" if all(d.ok for d in own) else "TOO FAR"
            where = f"{worst.array} at step {worst.step}"
            lines.append(f"  {kind:<10} {worst.off:.1e} of {bound:.0e}  {verdict:<8} {where}, of {count} steps")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", metavar="CONFIG")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=20, help="steps from one comparison to the next")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", type=Path, help="all differences as JSON")
    args = parser.parse_args(argv)
    overrides = [] if args.threads is None else [f"threads={args.threads}"]
    everything, good = {}, True
    for config in args.configs:
        differences, moved, weights = compare(config, args.steps, args.every, args.batch, overrides)
        *_, again = compare(config, args.steps, 0, args.batch, overrides)
        equal = np.array_equal(weights, again)
        good &= equal and all(d.ok for d in differences)
        everything[config] = {"repeats": equal, "moved": moved, "differences": [asdict(d) for d in differences]}
        print(f"{config}: {args.steps} steps of {args.batch}")
        print("\n".join([*summary(differences), f"  {moved} rectifiers at their kink took the engine's side"]))
        print(f"  repeated: {'the same bits' if equal else 'OTHER BITS'}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(everything, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
