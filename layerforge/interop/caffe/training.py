"""train.yaml of an imported model: its data, its net for both phases, its solver and how long it runs.

The layers of Caffe's TRAIN and TEST nets are translated apart and then merged: what both have alike is written once,
all else with `phase: train` or `phase: eval`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import chain
from os.path import relpath
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...config.yaml_dump import dump_yaml
from ...schema.errors import DataError, raise_all
from ...solvers.solver import Solver
from ...training.checkpoints import state_bytes
from ..emitting import Made
from ..images import Stated
from . import rules
from .conversion import Unsupported
from .feeding import Feeding, feedings, list_read, mapping_of, shapes_of
from .filled import TOLD, filled
from .learning import START_VALUES
from .message import Message
from .model import Model
from .preprocessing import hold_for
from .reading import SUFFIXES
from .rules import State, demand_phase, state_of
from .solver import SolverDefinition
from .state import load_state
from .translation import Translation, is_fed, loss_weights, translate

TRAIN, TEST = "TRAIN", "TEST"


@dataclass
class Training:
    """What train.yaml says.

    data      the data section, with absolute paths; None where no source of LayerForge reads the data
    inputs    what is given to a net without one
    net       its layers
    solver    the sections of --solver by their names; empty without it
    arrays    weights and statistics that its net starts from, as far as they were given
    notes     what is to be known of it
    """

    net: list[dict[str, Any]]
    data: tuple[Feeding, Feeding | None] | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    solver: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def mapping(self, name: str, folder: Path | None) -> dict[str, Any]:
        """The configuration; paths are relative to a folder, or absolute without one."""
        seed = {"seed": self.solver["seed"]} if "seed" in self.solver else {}
        made: dict[str, Any] = {"name": name.replace("/", "_").strip() or "net", **seed}
        if self.data is not None:
            made["data"] = mapping_of(*self.data, lambda path: path if folder is None else relpath(path, folder))
        if self.inputs:
            made["inputs"] = self.inputs
        sections = {key: value for key, value in self.solver.items() if key != "seed"}
        return {**made, "net": self.net, **sections}

    def text(
        self, name: str, folder: Path, start: str | None = None, imports: Mapping[str, list[str]] | None = None
    ) -> bytes:
        """The file.

        start     that of the weights to start from, in the same folder
        imports   the section `import`
        """
        lines = [f"# {note}" for note in self.notes]
        if start is not None:
            command = f"layerforge train {folder.name}/train.yaml --init-weights {folder.name}/{start}"
            lines += [f"# To start from the imported weights: {command}"]
        if not self.solver:
            lines += ["# No solver was given: write a section `solver: {lr: ...}`, or import with --solver."]
        if self.data is None:
            lines += ["# No source of LayerForge reads its data: write a section `data`, or give batches in Python."]
        start = "".join(f"{line}\n" for line in lines)
        return (start + dump_yaml({**(imports or {}), **self.mapping(name, folder)})).encode("utf-8", errors="replace")


def training_of(
    model: Model,
    *,
    asked: State,
    inputs: Mapping[str, Sequence[int]],
    solver: SolverDefinition | None = None,
    stated: Stated | None = None,
) -> Training | None:
    """What train.yaml of a model says; None for a definition that nothing learns from.

    asked     the level and the stages that the user asks for
    solver    what a solver.prototxt says
    stated    what the owner states of its images, in the place of what its data layers say

    Errors   ConfigErrors, all at once, for what is not supported in one of the phases
    """
    states = {phase: state_of(model.whole, state, asked) for phase, state in _states(solver).items()}
    phases = {
        phase: rules.selected(model.whole, phase, state.level or 0, state.stages) for phase, state in states.items()
    }
    fed = {phase: feedings(net, model.roots, phase, inputs) for phase, net in phases.items() if is_fed(net)}
    errors = [error for _, wrong in fed.values() for error in wrong]
    raise_all(error for error in errors if isinstance(error, DataError))  # shapes are not known either then
    if TRAIN not in fed or not (solver is not None or _learns(phases[TRAIN], fed[TRAIN][0])):
        raise_all(errors)
        return None
    for phase in fed:
        demand_phase(model.whole, phase)
    source = model.report.source
    made = {
        phase: _translated(phases[phase], phase, source, found, inputs, model.roots)
        for phase, (found, _) in fed.items()
    }
    raise_all(errors + [error for one in made.values() for error in one.errors])
    notes: list[str] = []
    if not any(one.feed for found, _ in fed.values() for one in found):
        _take_dummies(made, fed, notes)
    sources = [one for found, _ in fed.values() for one in found]
    if stated is not None and [one for one in sources if hold_for(stated, one)]:
        notes.append(f"Images are prepared as the import says with {', '.join(stated.options)}.")
    data = _section(fed, notes)
    if data is not None and data[1] is None:
        made.pop(TEST, None)
    merged = merge(made[TRAIN], made.get(TEST))
    training = Training(merged, data, solver=_sections(solver), notes=notes)
    for found, _ in fed.values():
        list_read(model.report, found)
    if solver is not None:
        model.report.notes += [f"solver: {note}" for note in [*solver.notes, *_other_net(solver, source)]]
        model.report.ignored += [(f"solver: {path}", place, why) for path, place, why in solver.ignored]
    left = {name: section for one in made.values() for name, section in one.inputs.items()}
    if data is not None and left:
        named = ", ".join(left)
        hint = "one source gives all blobs here, such as HDF5Data"
        raise Unsupported(f"beside the layer that reads data there are inputs: {named}", hint=hint)
    training.inputs = left
    if not any(any(loss_weights(layer)) for layer in phases[TRAIN].get("layer")):
        notes.append("No layer has a loss, so that nothing can be learned: import the net that Caffe trained.")
    if TEST not in made:
        notes.append("Without a val section all layers are those of the TRAIN net.")
    model.report.notes += [f"train.yaml: {note}" for note in notes]
    for one in made.values():
        twin = Model(one, model.whole, model.roots)
        twin.take(*model.taken)
        training.arrays |= twin.arrays
    return training


def _learns(net: Message, found: Sequence[Feeding]) -> bool:
    """Whether a net has data of its own to learn from, and a loss."""
    dummies = any(layer.get("type") == "DummyData" for layer in net.get("layer"))
    losses = any(any(loss_weights(layer)) for layer in net.get("layer"))
    return any(one.feed for one in found) or (dummies and not found and losses)


def _take_dummies(made: Mapping[str, Translation], fed: Mapping[str, Any], notes: list[str]) -> None:
    """Let DummyData be the source of each phase, where that can be in TRAIN."""
    for phase in (TRAIN, TEST):
        source = filled(made[phase]) if phase in made else None
        if source is not None:
            fed[phase][0].append(source)
        elif phase == TRAIN:
            return
    notes.append(f"DummyData: {TOLD}.")


def state_file(model: Model, definition: SolverDefinition, state: str | Path, weights: str | Path | None) -> bytes:
    """state.h5: where Caffe's solver was, for `layerforge train DIR/train.yaml --resume-from DIR/state.h5`.

    model     of the TRAIN phase
    state     a .solverstate or .solverstate.h5
    weights   those of the same iteration; None: the file beside it that it names

    Errors   those of state.load_state
    """
    net = model.net(keep="none")
    solver = Solver.from_config(net, definition.solver)
    load_state(model, solver, state, weights)
    return state_bytes(net, solver)


def _states(solver: SolverDefinition | None) -> dict[str, State]:
    """What the rules of layers ask for in each phase, as far as a solver says it: of several test nets the first."""
    if solver is None:
        return {TRAIN: State(), TEST: State()}
    return {TRAIN: solver.run.train_state, TEST: next(iter(solver.run.test_states), State())}


def _other_net(solver: SolverDefinition, source: str) -> list[str]:
    """A note where a solver names another net than the definition that is imported; folders may differ."""
    named = solver.run.net
    if not named or Path(source).suffix in SUFFIXES or PurePosixPath(named).name == Path(source).name:
        return []
    return [f"it is for the net {named}, and is written down for {source}, which was imported"]


def _sections(solver: SolverDefinition | None) -> dict[str, Any]:
    """The sections of a configuration that a solver says something of."""
    return {} if solver is None else {"solver": solver.solver, **solver.train}


def _translated(
    net: Message,
    phase: str,
    source: str,
    found: Sequence[Feeding],
    inputs: Mapping[str, Sequence[int]],
    roots: Sequence[Path],
) -> Translation:
    """A phase's net, whose data come from its source where it has one."""
    specs: dict[str, Spec] = {}
    shapes = shapes_of(found, inputs)
    for one in found:
        if one.feed is None:
            continue
        specs |= one.specs
        for number, top in enumerate(one.tops):
            if top in inputs and top not in one.specs:
                label = number == 1 and one.layer.get("type") != "HDF5Data"
                specs[top] = Spec(tuple(shapes[top]), role="index" if label else "real")
            elif number == 1 and top in shapes and top not in specs:
                specs[top] = Spec(tuple(shapes[top]), role="index")
    return translate(net, phase, source, shapes=shapes, feeds=specs, roots=roots)


def _section(fed: Mapping[str, tuple[list[Feeding], Any]], notes: list[str]) -> tuple[Feeding, Feeding | None] | None:
    """The sources of train and val; val is left out, with a note, where its samples are not transformed as train's."""
    sources = {phase: next((one for one in found if one.feed), None) for phase, (found, _) in fed.items()}
    train, val = sources.get(TRAIN), sources.get(TEST)
    if train is None or val is None:
        return None if train is None else (train, None)
    differing = []
    if train.tops != val.tops:
        differing.append(f"tops {', '.join(train.tops)} and {', '.join(val.tops)}")
    for key in sorted({*train.transform, *val.transform}):
        if train.transform.get(key) != val.transform.get(key):
            differing.append(f"{key} {train.transform.get(key, 'none')} and {val.transform.get(key, 'none')}")
    if train.crop != val.crop:
        differing.append(f"crop_size {train.crop or 'none'} and {val.crop or 'none'}")
    if differing:
        told = "; ".join(differing)
        notes.append(f"There is no val section: one transform serves train and val, TRAIN and TEST have {told}.")
        return train, None
    return train, val


# Merging --------------------------------------------------------------------------------------------------------------


def merge(train: Translation, test: Translation | None) -> list[dict[str, Any]]:
    """The layers of two phases in one list: those that both have alike once, the others with their phase.

    A layer that both have with other hyper-parameters is two layers; the one of eval takes the parameters of the other.

    Errors   Unsupported for a layer with statistics that is not the same in both phases
    """
    if test is None:
        return [dict(item) for item in train.layers]
    _unite_statistics(train, test)
    ours, theirs = [_key(item) for item in train.layers], [_key(item) for item in test.layers]
    merged: list[dict[str, Any]] = []
    twins = {made.name: made for site in train.sites for made in site.made}
    own = {made.name: made for site in test.sites for made in site.made}
    taken = {*twins, *own}
    for what, a0, a1, b0, b1 in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if what == "equal":
            merged += [dict(item) for item in train.layers[a0:a1]]
            continue
        merged += [_phased(item, "train") for item in train.layers[a0:a1]]
        merged += [_eval_only(own[item["name"]], twins.get(item["name"]), taken) for item in test.layers[b0:b1]]
    return merged


def _unite_statistics(train: Translation, test: Translation) -> None:
    """What normalises in train and what in eval is said by one layer, where two differ in nothing else."""
    switches = ("use_running_stats", "use_batch_stats")  # of train, and of eval
    ours = {item["name"]: item for item in train.layers if item["type"] == "BatchNorm"}
    for theirs in test.layers:
        mine = ours.get(theirs["name"], {})
        rest = [{key: value for key, value in item.items() if key not in switches} for item in (mine, theirs)]
        if rest[0] == rest[1]:
            said = {name: True for item, name in zip((mine, theirs), switches, strict=True) if item.get(name)}
            for item in (mine, theirs):
                item.update(said)


def _key(item: Mapping[str, Any]) -> str:
    return json.dumps(item, sort_keys=True, default=str)


def _phased(item: Mapping[str, Any], phase: str) -> dict[str, Any]:
    """The layer for one phase, which stands behind its name and type."""
    head = {key: item[key] for key in ("name", "type")}
    return {**head, "phase": phase, **{key: value for key, value in item.items() if key not in head}}


def _eval_only(made: Made, twin: Made | None, taken: set[str]) -> dict[str, Any]:
    """The layer for eval alone, under another name where train has one of its name, whose parameters it takes then."""
    item = _phased(made.item, "eval")
    if twin is None:
        return item
    own = made.name
    name, number = f"{own}.eval", 2
    while name in taken:
        name, number = f"{own}.eval{number}", number + 1
    taken.add(name)
    item["name"] = name
    item.setdefault("top", own)
    decls = made.layer.param_decls
    if made.layer.state_decls or any(
        key not in twin.layer.param_decls or twin.layer.param_decls[key].shape != decl.shape
        for key, decl in decls.items()
    ):
        told = f"layer '{own}' ({item['type']}) is another one in the TEST phase, and its weights do not fit both"
        raise Unsupported(told, place=made.layer.place)
    if decls:
        item["share"] = {key: f"{own}.{key}" for key in decls}
        for key in (*chain(*START_VALUES.values()), "lr_mult", "decay_mult"):
            item.pop(key, None)
    return item
