"""`layerforge trace`: one step of a net, every array of it in a file, to be compared with that of another run.

The file is a snapshot with the arrays of layerforge/check/one_step.py and these meta data:

    kind, order       "trace", and the paths of the arrays in the order in which they came about
    made_by           "layerforge" or what it was compared with, such as "torch 2.13.0"
    name, seed, dtype, precision, backend, engine, weights, loss
                           what the step was; loss is null in a net without one
    batch, samples         where its inputs are from
    config, environment    the resolved configuration; versions
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import snapshot
from ..check.against import Reference
from ..check.draws import random_inputs
from ..check.harness import SEED
from ..check.one_step import statistics_of, take_step
from ..config.document import Config
from ..config.yaml_dump import dump_yaml
from ..data.opening import open_data
from ..data.transform import InputTransform
from ..graph.uses import uses_of
from ..inference.trained import transform_of
from ..net import Net
from ..plan.precision import computing_in
from ..run.weights_file import read_weights
from ..schema.errors import ConfigError, DataError
from ..training.environment import environment
from ..training.rundir import weights_of

KIND = "trace"


@dataclass
class Trace:
    """A step: its arrays by path, in the order in which they came about, and what it was."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any] = field(default_factory=dict)

    def write(self, path: str | Path) -> None:
        """Write it as a snapshot, atomically. DataError (exit 3) where that cannot be done."""
        snapshot.write_snapshot(path, self.arrays, {**self.meta, "kind": KIND, "order": list(self.arrays)})


def read_trace(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], source: str) -> Trace:
    """The trace in the content of a snapshot. DataError (exit 3) where its list of arrays is not that of its arrays."""
    order = meta.get("order")
    if not isinstance(order, list) or set(order) != set(arrays):
        raise DataError(f"{source} is a trace whose list of arrays is wrong", hint="make it again")
    return Trace({path: arrays[path] for path in order}, dict(meta))


def trace(config: Config, *, weights: str | Path | None = None, reference: Reference | None = None) -> Trace:
    """One step of the net of a configuration: forward and backward in train, no update.

    The batch is the first that training would see; without a data section it is random. Start values are those of
    training, or `weights`, a file of weights or a run. With a `reference`, that makes the step instead.

    Errors   ConfigError, DataError, BackendError; LayerForgeError where the reference lacks a layer
    """
    net = Net(config)
    described, transform = "start values", None
    if weights is not None:
        file = weights_of(weights)
        given = read_weights(file)
        net.load_arrays(given.whole(net), str(file))
        described, transform = str(file), transform_of(given.arrays, given.meta, str(file))
    if reference is not None:
        _demand_all(net, reference)
    inputs, batch, samples = first_batch(net, config, transform)
    before = statistics_of(net)
    step = take_step(net, inputs)
    found = step.arrays if reference is None else reference.step(net, before, inputs, "train", step)
    meta = {
        "made_by": "layerforge" if reference is None else reference.name,
        "name": config.name,
        "seed": net.seed,
        "dtype": net.dtype,
        "precision": _precision(net, reference),
        "backend": net.backend.name if reference is None else reference.name,
        "engine": _engines(net) if reference is None else {reference.name: "all"},
        "batch": batch,
        "samples": samples,
        "weights": described,
        "loss": _loss(net, found),
        "config": dump_yaml(config.resolved()),
        "environment": environment(net),
    }
    return Trace(found, meta)


def _precision(net: Net, reference: Reference | None) -> dict[str, Any]:
    """As `layerforge check` says it; another program computes in the net's dtype."""
    known = computing_in(net.engine_request, net.graph.nodes)
    return known if reference is None else {**known, "mixed": [], "why": f"{reference.name} computes in {net.dtype}"}


def _engines(net: Net) -> dict[str, str]:
    """The layers that each engine computed."""
    found: dict[str, list[str]] = {}
    for layer, engine in net.engines.items():
        found.setdefault(engine, []).append(layer)
    return {engine: ", ".join(layers) for engine, layers in found.items()}


def _loss(net: Net, arrays: Mapping[str, np.ndarray]) -> float | None:
    """The weighted sum of the losses; None where there are none."""
    nodes = [step.node for step in net.graph.phases["train"].steps]
    weights = {top: w for node in nodes for top, w in zip(node.tops, node.loss_weights, strict=True) if w}
    values = (w * float(arrays[f"blobs/{snapshot.escape(top)}/data"].sum()) for top, w in weights.items())
    return sum(values) if weights else None


def _demand_all(net: Net, reference: Reference) -> None:
    lacking = [n for n in net.graph.nodes if n.runs_in("train") and not reference.knows(n.layer.type_name)]
    if lacking:
        names = ", ".join(f"'{n.name}' ({n.layer.type_name})" for n in lacking)
        hint = "`layerforge test CONFIG --against torch` compares the other layers one by one"
        raise ConfigError(f"{reference.name} has nothing like {names}", place=lacking[0].place, hint=hint)


def first_batch(
    net: Net, config: Config, transform: InputTransform | None = None
) -> tuple[dict[str, Any], dict[str, Any], list[int]]:
    """The first batch of training, where it is from, and which samples of the training data it holds.

    Without a data section it is random. It comes in the net's dtype; `transform` is that of its weights.

    Errors   DataError where the data is not to be had
    """
    if config.data is None:
        return random_inputs(net, few=False), {"from": "random numbers", "seed": SEED}, []
    data = open_data(
        config.data,
        sections=("train",),
        seed=config.top.seed,
        dtype=net.dtype,
        transform=transform,
        uses=uses_of(net.graph),
    )
    batch = data.loaders["train"].batch(0, 0)
    source = {"from": data.section.train.source.title, "notice": data.notice}
    return batch.blobs, {**source, "epoch": 0, "batch": 0}, batch.samples.tolist()
