"""Trials: a random net and what is done with it. Everything follows from a seed and a number, and is JSON."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from layerforge.schema.precisions import BF16_MIXED, FULL, MEDIUM

from .growing import Growing

SHARE_OF_BFLOAT16 = 0.25  # of the nets
SHARE_OF_MEDIUM = 0.1
SHARE_OF_REPEATED = 0.5  # of both: the others have batches of changing size, too
DISGUISES = ("plain", "fortran", "reversed", "strided", "transposed", "ones", "float64", "float16", "int64", "uint8")


@dataclass
class Action:
    """One thing done with a net.

    kind       "pass", or "step" of a solver
    backwards  of a pass: what each backward starts from, None for the losses, or the names of blobs with a + between
    disguise   how the inputs are stored, or of which type they are
    """

    kind: str
    batch: int
    data: int
    disguise: str = "plain"
    phase: str = "train"
    backwards: list[str | None] = field(default_factory=list)


@dataclass
class Trial:
    """A configuration, the actions in order, and how its nets are built and run.

    watched   the blobs that are asked to be kept
    keeps     of the reference and of the second net on the engine: "all", "none" or "watched"
    threads   whether all nets run at once
    ranges    of inputs that are indices: how many values they have
    precision what the net is asked to compute in, or in bfloat16 its products alone (MEDIUM)
    """

    config: dict[str, Any]
    actions: list[Action]
    watched: list[str]
    keeps: list[str]
    threads: bool
    ranges: dict[str, int] = field(default_factory=dict)
    precision: str = FULL

    def as_json(self) -> dict[str, Any]:
        """What json.dumps takes; `from_json` makes a trial of it again."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Trial:
        """The trial that was written down."""
        return cls(**{**tree, "actions": [Action(**action) for action in tree["actions"]]})


def draw(seed: int, number: int) -> Trial:
    """The trial of that number."""
    rng = random.Random(f"{seed}/{number}")
    while True:
        net = Growing(rng)
        for _ in range(rng.choice((1, 2, 3, 4, 5, 6))):
            net.grow()
        net.end()
        if net.layers:
            break
    real = [name for name, spec in net.blobs.items() if spec.is_real]
    config = {"seed": rng.randrange(100), "inputs": net.inputs, "net": net.layers}
    actions = [_action(rng, real, net.losses > 0) for _ in range(rng.choice((2, 3, 4)))]
    watched = sorted(rng.sample(real, min(len(real), rng.choice((0, 1, 2)))))
    keeps = [rng.choice(("all", "none", "watched")), rng.choice(("none", "none", "watched"))]
    threads = rng.random() < 0.25
    lot = rng.random()
    precision = BF16_MIXED if lot < SHARE_OF_BFLOAT16 else MEDIUM if lot < SHARE_OF_BFLOAT16 + SHARE_OF_MEDIUM else FULL
    if precision != FULL and rng.random() < SHARE_OF_REPEATED:
        for action in actions:  # the very same passes are what can be replayed
            action.kind, action.batch, action.phase = actions[0].kind, actions[0].batch, actions[0].phase
            action.backwards = list(actions[0].backwards)
    return Trial(config, actions, watched, keeps, threads, net.ranges, precision)


def _action(rng: random.Random, blobs: list[str], with_loss: bool) -> Action:
    batch = rng.choice((1, 1, 2, 3, 3, 5))
    data, disguise = rng.randrange(1000), rng.choice(DISGUISES)
    if with_loss and rng.random() < 0.35:
        return Action("step", batch, data, disguise)
    starts: list[str | None] = [None] if with_loss else [rng.choice(blobs)]
    if rng.random() < 0.5:
        starts.append(rng.choice([*blobs, *starts]))
    if rng.random() < 0.3:
        starts = starts[::-1]
    if len(blobs) > 1 and rng.random() < 0.3:  # mostly first: what is not kept allows one backward only
        several = "+".join(rng.sample(blobs, rng.choice((2, min(3, len(blobs))))))
        starts = [several, *starts] if rng.random() < 0.7 else [*starts, several]
    phase = rng.choice(("train", "train", "eval"))
    return Action("pass", batch, data, disguise, phase, starts if rng.random() < 0.85 else [])
