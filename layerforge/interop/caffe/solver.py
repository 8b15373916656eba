"""Caffe's solvers: a solver.prototxt as the sections of a configuration.

    definition = read_solver("solver.prototxt")
    definition.solver      the section `solver`, which Solver.from_config takes
    definition.train       the sections that tell how long to train, and what to write: seed, train, checkpoint
    definition.ignored     the fields that change nothing here, and why

Rules and schedules are Caffe's own here, so every number is carried over as it is; what Caffe leaves unsaid is written
down with Caffe's default. What would be computed differently is refused, all of it at once, with line and column.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...config.sections import SolverSection
from ...schema.errors import ConfigError, LayerForgeError, flatten, raise_all
from ...schema.locations import PlacedDict, PlacedList
from ...schema.synonyms import did_you_mean
from . import loading, solver_run
from .solver_reading import Reading

TYPES: dict[str, dict[str, str]] = {  # Caffe's types: which of the fields below they read, and what those are here
    "SGD": {"momentum": "momentum"},
    "Nesterov": {"momentum": "momentum"},
    "AdaGrad": {"delta": "eps"},
    "RMSProp": {"rms_decay": "rms_decay", "delta": "eps"},
    "AdaDelta": {"momentum": "momentum", "delta": "eps"},
    "Adam": {"momentum": "momentum", "momentum2": "momentum2", "delta": "eps"},
}
OF_TYPES = ("momentum", "momentum2", "delta", "rms_decay")
WITHOUT_MOMENTUM = ("AdaGrad", "RMSProp")  # Caffe refuses it
POLICIES: dict[str, dict[str, str]] = {  # the same of learning rate policies
    "fixed": {},
    "step": {"gamma": "gamma", "stepsize": "step_size"},
    "multistep": {"gamma": "gamma", "stepvalue": "milestones"},
    "exp": {"gamma": "gamma"},
    "inv": {"gamma": "gamma", "power": "power"},
    "poly": {"power": "power", "max_iter": "total_iters"},
    "sigmoid": {"gamma": "gamma", "stepsize": "step_size"},
}
OF_POLICIES = ("gamma", "power", "stepsize", "stepvalue")
NEEDED = {"step": ("gamma", "stepsize"), "multistep": ("gamma",), "exp": ("gamma",), "poly": ("max_iter",)}  # above 0


@dataclass
class SolverDefinition:
    """A solver of Caffe as a configuration has it.

    solver       the section `solver`
    train        the sections seed, train and checkpoint, as far as the definition says something of them
    run          the rest that it says of a run: its nets, their states, the weights to start from
    ignored      (field, place, why): what changes nothing here
    notes        what is done in another way than by Caffe
    """

    solver: dict[str, Any]
    train: dict[str, Any]
    run: solver_run.Run
    ignored: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def load_solver(path: str | Path) -> dict[str, Any]:
    """The mapping for Solver.from_config of a solver.prototxt; it is the section `solver` of a configuration.

        solver = Solver.from_config(net, load_solver("solver.prototxt"))

    A step is then `solver.step(...)`; with iter_size: k it is `solver.accumulate(...)` k times and `solver.update()`.

    Errors   ConfigError (exit 2) for everything that is invalid or not supported, all at once with line and column
    """
    return read_solver(path).solver


def read_solver(path: str | Path) -> SolverDefinition:
    """All that a solver.prototxt says. Errors: see load_solver."""
    problems: list[LayerForgeError] = []
    reading = Reading(loading.load_solver(path, problems), problems)
    solver = _solver(reading)
    train = solver_run.sections(reading)
    run = solver_run.run_of(reading)
    reading.finish()
    try:
        SolverSection.from_config(solver)
    except ConfigError as error:
        # What is missing has been told of already, where there is anything.
        told = {one.place for one in problems} | ({reading.message.place()} if problems else set())
        problems += [one for one in flatten(error) if one.place not in told]
    raise_all(problems)
    return SolverDefinition(solver, train, run, reading.ignored, reading.notes)


# The section ----------------------------------------------------------------------------------------------------------


def _solver(reading: Reading) -> PlacedDict:
    """The section `solver`."""
    solver = PlacedDict(place=reading.message.place())
    kind = reading.get("type")
    reading.put(solver, "type", "type")
    if kind not in TYPES:
        hint = did_you_mean(kind, TYPES) or f"there are {', '.join(TYPES)}"
        reading.invalid(f"there is no solver of type '{kind}'", "type", hint)
    _positive(reading, "base_lr", "a solver")
    reading.put(solver, "lr", "base_lr")
    _rule(reading, solver, kind)
    reading.put(solver, "weight_decay", "weight_decay")
    _regularization(reading, solver)
    clip = reading.get("clip_gradients")
    if clip == 0:
        reading.invalid("clip_gradients is 0: nothing would be learned", "clip_gradients", "-1 limits nothing")
    elif clip > 0:
        reading.put(solver, "clip_grad_norm", "clip_gradients")
        solver["clip_order"] = "caffe"
    if reading.get("iter_size") > 1:
        reading.put(solver, "micro_batches", "iter_size", "mean")
    reading.put(solver, "schedule", "lr_policy", _schedule(reading))
    return solver


def _rule(reading: Reading, solver: PlacedDict, kind: str) -> None:
    """The options of the update rule."""
    wanted = TYPES.get(kind, {})
    for name in OF_TYPES:
        if name in wanted:
            reading.put(solver, wanted[name], name)
        elif name == "momentum" and kind in WITHOUT_MOMENTUM and reading.get(name):
            hint = "remove it, or use RMSProp's rms_decay" if kind == "RMSProp" else "remove it"
            reading.invalid(f"momentum {reading.get(name):g}: {kind} has none", name, hint)
        elif kind in TYPES:
            reading.ignore(name, f"type {kind} does not use it")
        else:
            reading.get(name)
    if "delta" in wanted:
        _positive(reading, "delta", f"type {kind}", "type")


def _regularization(reading: Reading, solver: PlacedDict) -> None:
    """L1 or L2; anything else is only an error in Caffe where there is decay."""
    kind = reading.get("regularization_type")
    if kind in ("L1", "L2"):
        if reading.message.has("regularization_type"):
            reading.put(solver, "regularization", "regularization_type")
    elif reading.get("weight_decay"):
        reading.invalid(f"there is no regularization_type '{kind}'", "regularization_type", "there are L2 and L1")
    else:
        reading.ignore("regularization_type", "there is no weight_decay")


def _schedule(reading: Reading) -> PlacedDict:
    """The learning rate policy as a schedule."""
    policy = reading.get("lr_policy")
    schedule = PlacedDict({"type": policy}, place=reading.message.place("lr_policy"))
    if policy not in POLICIES:
        _refuse_policy(reading, policy)
        schedule["type"] = "fixed"
        for name in OF_POLICIES:
            reading.get(name)
        return schedule
    for name in NEEDED.get(policy, ()):
        if policy != "multistep" or reading.get("stepvalue"):
            _positive(reading, name, f"lr_policy {policy}", "lr_policy")
    used = POLICIES[policy]
    for name in OF_POLICIES:
        if name not in used:
            reading.ignore(name, f"lr_policy {policy} does not use it")
    for name, key in used.items():
        reading.put(schedule, key, name)
    if policy == "multistep":
        return _multistep(reading, schedule)
    if policy == "poly" and not reading.get("power"):  # (1 - i / max_iter)^0
        reading.notes.append("lr_policy poly with power 0 is a fixed learning rate")
        return PlacedDict({"type": "fixed"}, place=schedule.place)
    return schedule


def _refuse_policy(reading: Reading, policy: str) -> None:
    known = ", ".join(POLICIES)
    if not policy:
        reading.invalid("lr_policy is not given", hint=f"there are {known}")
        return
    hint = did_you_mean(policy, POLICIES) or f"there are {known}"
    reading.unsupported(f"lr_policy '{policy}' is not supported", "lr_policy", hint)


def _multistep(reading: Reading, schedule: PlacedDict) -> PlacedDict:
    """Milestones in an order: Caffe waits for each of them before it looks at the next."""
    given = reading.get("stepvalue")
    if not given:
        reading.notes.append("lr_policy multistep without a stepvalue is a fixed learning rate")
        return PlacedDict({"type": "fixed"}, place=schedule.place)
    milestones = PlacedList(place=reading.message.place("stepvalue"))
    for value in given:
        milestones.append(max([0, value, *milestones[-1:]]))
    if milestones != given:
        reading.notes.append(f"stepvalue {list(given)} takes effect as {list(milestones)}: one after the other")
    schedule["milestones"] = milestones
    return schedule


def _positive(reading: Reading, name: str, who: str, by: str | None = None) -> None:
    """An error unless a number is there and greater than 0. `by` is the field that asks for it."""
    value = reading.get(name)
    if not reading.message.has(name) and not value:
        reading.invalid(f"{who} needs {name}", by, hint=f"write {name}: ..., a number greater than 0")
    elif not value > 0:
        reading.invalid(f"{name} must be greater than 0, got {value:g}", name)
