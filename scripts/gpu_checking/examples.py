"""The example configurations as the stages use them: a net, a solver, and batches of the data that belong to it.

Nothing is downloaded. Where the data of an example are not on this machine its batches are random numbers of the same
shapes, from a fixed seed, and the report says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from layerforge import Net, Solver
from layerforge.arrays.backend import NUMPY, Backend
from layerforge.check.harness import draw
from layerforge.config.document import Config
from layerforge.data.opening import open_data
from layerforge.graph.uses import uses_of
from layerforge.schema.errors import ConfigError, DataError

from .device import ROOT

EXAMPLES = ("mnist_mlp", "mnist_lenet", "cifar10_resnet20", "char_lstm", "char_transformer")
OFFLINE = "LAYERFORGE_OFFLINE"
SAMPLES = "[:2000]"  # of a data set of images: more need not be prepared
LENGTH = {"total_iterations": 1000, "total_epochs": 10}  # of the run that the steps belong to, for schedules
Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Example:
    """An example configuration, changed by `overrides`.

    batch_size  how many samples a batch has here; None: as many as the configuration says
    """

    name: str
    batch_size: int | None = None
    overrides: tuple[str, ...] = ()

    def config(self, *more: str) -> Config:
        """The configuration, changed by still more."""
        size = [] if self.batch_size is None else [f"data.train.batch_size={self.batch_size}"]
        return Config.load(ROOT / "configs" / f"{self.name}.yaml", (*size, *self.overrides, *more))

    def batches(self, count: int) -> tuple[list[Batch], str]:
        """So many batches and where they are from: the name of the data set, or "random"."""
        config = self.config()
        split = str(config.tree["data"]["train"]["split"])
        if split.startswith("train["):
            config = self.config(f"data.train.split=train{SAMPLES}")
        try:
            return self._real(config, count)
        except DataError:
            return random_batches(config, count), "random"

    def _real(self, config: Config, count: int) -> tuple[list[Batch], str]:
        net = Net(config, keep="none")
        with offline():
            data = open_data(
                config.data, sections=["train"], seed=0, dtype="float32", use_fallback=False, progress=False,
                uses=uses_of(net.graph),
            )  # fmt: skip
        loader, found = data.loaders["train"], list[Batch]()
        for number in range(count):
            found.append(dict(loader.batch(number // len(loader), number % len(loader)).blobs))
        return found, data.section.train.source.title


def random_batches(config: Config, count: int) -> list[Batch]:
    """So many batches of random numbers in the shapes of a configuration's inputs; integers are classes, or words."""
    net = Net(config, keep="none")
    high, rng = classes(net), np.random.default_rng(0)
    specs = {n: s if s.is_real else replace(s, low=0, high=high) for n, s in net.graph.inputs.items()}
    return [{name: draw(spec, rng) for name, spec in specs.items()} for _ in range(count)]


def classes(net: Net) -> int:
    """How many classes the loss of a net tells apart."""
    phase = net.graph.phases["train"]
    loss = next(step for step in phase.steps if any(step.node.loss_weights))
    scores = phase.blobs[loss.bottoms[0]].spec
    assert scores is not None
    return scores.shape[1]


@contextmanager
def offline() -> Iterator[None]:
    """Nothing is downloaded in this block."""
    before = os.environ.get(OFFLINE)
    os.environ[OFFLINE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[OFFLINE]
        else:
            os.environ[OFFLINE] = before


def trainer(config: Config, backend: str | Backend) -> tuple[Net, Solver]:
    """The net and the solver of a configuration at the beginning of a run."""
    if config.solver is None:
        raise ConfigError(f"{config.path} has no solver, and so no step", hint="for example `solver: {lr: 0.1}`")
    net = Net(config, keep="none", backend=backend)
    solver = Solver.from_config(net, config.solver)
    vars(solver).update(LENGTH)
    return net, solver


@dataclass(frozen=True)
class Trajectory:
    """What came of some steps: the loss of each, and in the end parameters, statistics and history, by path."""

    losses: list[float]
    arrays: Mapping[str, np.ndarray]


def follow(
    config: Config,
    batches: Sequence[Batch],
    backend: Backend = NUMPY,
    start: Mapping[str, np.ndarray] | None = None,
    stepped: Any = lambda: None,
) -> Trajectory:
    """Train on these batches, from given parameters where there are some; `stepped` is called after each step."""
    net, solver = trainer(config, backend)
    if start is not None:
        net.load_arrays(start, "the start")
    losses = []
    for batch in batches:
        losses.append(solver.step(**batch))
        stepped()
    return Trajectory(losses, {**net.arrays(), **solver.arrays()})
