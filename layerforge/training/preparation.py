"""What a run is made of, before its first step: net, data, solver, and the configuration as it came to be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..arrays.backend import Backend
from ..config.data_section import SampleSource
from ..config.document import Config
from ..config.sections import TrainSection
from ..config.yaml_dump import dump_yaml
from ..data.loader import Loader
from ..data.opening import OpenData, open_data
from ..graph.class_counts import compare_class_counts
from ..graph.signature import Signature
from ..graph.uses import uses_of
from ..net import Net
from ..schema.errors import ConfigError
from ..solvers.rows import refuse_rows
from ..solvers.solver import Solver
from .fingerprints import fingerprints
from .monitors import Monitors
from .resume import Resume


@dataclass(frozen=True)
class Parts:
    """What a run works with.

    monitors   the metrics that it watches
    signature  what the net takes and gives, for its checkpoints
    resolved   the configuration with everything filled in and with the data that are really used
    files      the fingerprints of what else the run depends on
    """

    config: Config
    net: Net
    data: OpenData
    monitors: Monitors
    solver: Solver
    signature: Signature
    resolved: str
    files: dict[str, Any]

    @property
    def train(self) -> Loader:
        """What the net learns from."""
        return self.data.loaders["train"]


def prepare(config: Config, backend: str | Backend | None = None, resume: Resume | None = None) -> Parts:
    """Build the net and the solver of a configuration, and open its data.

    resume   a checkpoint whose choice of data and constants of the transform bind

    Errors   ConfigError, all of the configuration's at once; DataError; BackendError
    """
    _demand_sections(config)
    net = Net(config, keep="none", backend=backend)
    assert config.solver is not None  # building the net has raised what is wrong with the configuration
    _demand_loss(net)
    refuse_rows(net, config.solver)  # before anything is fetched
    data = open_data(
        config.data,
        seed=config.top.seed,
        dtype=config.top.dtype,
        use_fallback=resume.fallback if resume else None,
        transform=resume.transform if resume else None,
        uses=uses_of(net.graph),
    )
    data.remarks.extend(compare_class_counts(net.graph, data.section.train.source.class_names))
    monitors = Monitors(config, net, bool(data.val), data.val.class_names if data.val else ())
    solver = Solver.from_config(net, config.solver)
    files = fingerprints(data.section, config.imports)
    signature = signature_for(net, data.section.train.source)
    return Parts(config, net, data, monitors, solver, signature, _resolved(config, data), files)


def signature_for(net: Net, source: SampleSource) -> Signature:
    """What a net that learns from a source takes and gives."""
    return Signature.of(net.graph, source.class_names, source.reader().plain())


def _demand_sections(config: Config) -> None:
    """Add what only training needs to the configuration's own errors; building the net raises them together."""
    for key in ("data", "solver"):
        if config.tree.get(key) is None:
            message = f"training needs a '{key}' section"
            example = {"data": "data: {train: {type: Digits}}", "solver": "solver: {lr: 0.1}"}[key]
            config.errors.append(ConfigError(message, hint=f"for example `{example}`"))


def _demand_loss(net: Net) -> None:
    """ConfigError where nothing in phase train says what to learn."""
    phase = net.graph.phases["train"]
    if phase.has_losses():
        return
    read = {i for step in phase.steps for i in step.bottoms}
    given = [b for b in phase.blobs if b.producer is None and b.index not in read]
    label = next((b.name for b in given if b.spec is not None and not b.spec.is_real), "")
    kind, target = "SoftmaxCrossEntropy", label or "label"
    if given and not label:  # the targets are numbers
        kind, target = "MSELoss", given[0].name
    scores = phase.steps[-1].node.tops[0] if phase.steps else "scores"
    line = f"- {{type: {kind}, bottom: [{scores}, {target}]}}"
    elsewhere = any(any(node.loss_weights) for node in net.graph.nodes)
    told = "the net has no loss in phase train" if elsewhere else "the net has no loss"
    raise ConfigError(f"{told}: nothing says what to learn", hint=f"add a layer to net, for example `{line}`")


def _resolved(config: Config, data: OpenData) -> str:
    tree = config.resolved()
    if data.fallback_used:
        tree["data"] = data.section.config
    return dump_yaml(tree)


def lengths(section: TrainSection, batches: int) -> tuple[int, int]:
    """The steps of an epoch of so many batches, and those of the whole run.

    Errors   ConfigError where there is no batch
    """
    if not batches:
        hint = "use fewer samples per batch, or drop_last: false"
        raise ConfigError("the training data make no batch", hint=hint)
    steps_per_epoch = -(-batches // section.accumulate_grad_batches)
    limits = [section.max_steps] if section.max_steps else []
    limits += [section.epochs * steps_per_epoch] if section.epochs else []
    return steps_per_epoch, min(limits)
