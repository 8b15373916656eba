"""The states of Caffe's solvers: what a .solverstate holds, as the state of a Solver here, and written back.

    model = load_model("net.prototxt", phase="train")
    solver = Solver.from_config(model.net(), load_solver("solver.prototxt"))
    load_state(model, solver, "x_iter_100.solverstate")
    solver.step(...)                                      # the 101st
    save_state(model, solver, "y_iter_101.solverstate", "y_iter_101.caffemodel")

A state holds how many updates were made, how often a multistep policy has changed the rate, the name of the weights
that belong to it, and the histories: an array for each parameter that no other layer owns, frozen ones and the
statistics of BatchNorm included, in the order of the net and in Caffe's layout; AdaDelta and Adam have all of their
first moments before all of their second. Caffe's histories and the ones here are the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...run import carried
from ...schema.errors import ConfigError, DataError
from ...snapshot import atomic_write
from ...solvers.schedules import MultiStep, StepDecay
from ...solvers.solver import Solver
from . import binary, hdf5, loading
from .blobs import array, blob
from .conversion import BlobMap
from .message import Message
from .model import Model
from .reading import Weights, read_weights

WEIGHTS = (".caffemodel", ".caffemodel.h5")


@dataclass
class SolverState:
    """What a .solverstate or .solverstate.h5 holds.

    iteration      updates that were made
    current_step   changes of the rate that a multistep policy had made
    learned_net    the file of weights, as Caffe called it when it wrote both
    history        in Caffe's order and layout
    """

    source: str
    iteration: int
    current_step: int
    learned_net: str
    history: list[np.ndarray]


def read_state(path: str | Path) -> SolverState:
    """Read a .solverstate or .solverstate.h5. Errors: DataError for a damaged file, with the byte."""
    message = loading.load_state(path)
    counts = {name: int(message.get(name)) for name in ("iter", "current_step")}
    for name, count in counts.items():
        if count < 0:
            raise DataError(f"{name} is {count}", place=message.place(name))
    arrays = [array(values) for values in message.get("history")]
    return SolverState(str(path), counts["iter"], counts["current_step"], message.get("learned_net"), arrays)


def load_state(model: Model, solver: Solver, path: str | Path, weights: str | Path | None = None) -> SolverState:
    """Go on where Caffe's solver was: iteration, schedule, histories and weights. Returns what was in the file.

    model     whose net the solver drives, opened with phase="train"; the weights become its own
    solver    of the type that the state is of, which the file does not say
    path      a .solverstate or .solverstate.h5
    weights   the .caffemodel of the same iteration; by default the one beside it that it names, or of its own name

    Errors   DataError for a damaged file, and for histories or weights that do not fit; ConfigError where there are no
             weights. Solver and net are as before then
    """
    state = read_state(path)
    file = Path(weights) if weights is not None else weights_beside(state)
    histories = histories_of(model, solver, state)
    given = read_weights(file)
    _demand_all(model, given)
    model.take(given)
    model.fill(solver.net)
    counts = {"iteration": state.iteration, "updates": state.iteration, "nonfinite": 0}
    begun = {"current_step": state.current_step, "since": state.iteration}
    schedule = begun if isinstance(solver.schedule, MultiStep) else solver.schedule.state()
    solver.load_state({"type": solver.rule.type_name, **counts, "schedule": schedule}, histories, state.source)
    carried.load(solver.net, {})  # Caffe's recurrent layers begin from zero
    return state


def _demand_all(model: Model, weights: Weights) -> None:
    """DataError where the weights of a layer are missing, which would begin anew in the middle of a training."""
    own = {place.layer for place in model.owned()}
    missing = [
        layer
        for layer, places in model.blob_maps.items()
        if not weights.layers.get(layer) and any(place.layer in own for place in places)
    ]
    if missing:
        told = ", ".join(f"'{layer}'" for layer in missing)
        raise DataError(f"{weights.source} has no weights for {told}", hint="name the .caffemodel of the same net")


def weights_beside(state: SolverState) -> Path:
    """The weights that belong to a state: in its folder, by the name that it says, or its own.

    Errors   ConfigError where there are none
    """
    path = Path(state.source)
    stem = path.name.split(".solverstate")[0]
    names = [state.learned_net.replace("\\", "/").rpartition("/")[2], *(f"{stem}{end}" for end in WEIGHTS)]
    for name in names:
        if name not in ("", ".", "..") and (path.parent / name).is_file():
            return path.parent / name
    told = f"its weights '{state.learned_net}' are" if state.learned_net else "its weights are"
    raise ConfigError(f"{path}: {told} not beside it", hint="name the .caffemodel of the same iteration")


def histories_of(model: Model, solver: Solver, state: SolverState) -> dict[str, np.ndarray]:
    """The histories of a state by their paths in a solver's arrays; those of what does not learn are left out.

    Errors   DataError where their number or a shape does not fit
    """
    places, rounds = model.owned(), len(solver.history)
    if len(state.history) != rounds * len(places):
        raise DataError(
            f"{state.source} has {len(state.history)} histories, {rounds} for each of {len(places)} blobs are"
            f" {rounds * len(places)}",
            hint=f"it is of another net, or of another type of solver than {solver.rule.type_name}",
        )
    arrays = solver.arrays()
    for number, values in enumerate(state.history):
        turn, index = divmod(number, len(places))
        place = places[index]
        if not place.fits(values.shape):
            told = f"{state.source}: history {number} has shape {values.shape}"
            raise DataError(f"{told}, the blob '{place.path}' has {place.shape}", hint="it is of another net")
        target = arrays.get(_path(turn, place))
        if target is not None:
            place.put(values, target)
    return arrays


def history(model: Model, solver: Solver) -> list[np.ndarray]:
    """The histories of a solver as Caffe has them: in its order and layout, zeros of what does not learn."""
    arrays, found = solver.arrays(), []
    for turn in range(len(solver.history)):
        for place in model.owned():
            held = arrays.get(_path(turn, place))
            zeros = np.zeros(place.shape, dtype=np.float32)
            found.append(zeros if held is None else np.array(place.get(held), dtype=np.float32))
    return found


def _path(turn: int, place: BlobMap) -> str:
    """Where a solver has the history of a blob; nowhere, for statistics."""
    return f"history/{turn}/{place.path.removeprefix('params/')}"


# Writing --------------------------------------------------------------------------------------------------------------


def save_state(model: Model, solver: Solver, path: str | Path, weights: str | Path = "") -> None:
    """Write the state of a solver as Caffe would: a .solverstate, or in HDF5 a .solverstate.h5.

    weights   the file of weights that Caffe shall load with it: write that with `save_model`
    """
    state = Message("SolverState")
    state.set("iter", solver.iteration)
    state.set("learned_net", str(weights))
    state.set("history", [blob(values) for values in history(model, solver)])
    state.set("current_step", _current_step(solver.schedule, solver.iteration))
    in_hdf5 = str(path).endswith((".h5", ".hdf5"))
    atomic_write(path, hdf5.state_bytes(state) if in_hdf5 else binary.serialize(state))


def _current_step(schedule: Any, iteration: int) -> int:
    """What Caffe counts of a policy: changes of the rate, as the last update saw them."""
    last = max(0, iteration - 1)
    if isinstance(schedule, MultiStep):
        return schedule.changes(last) if iteration else 0
    return last // schedule.step_size if isinstance(schedule, StepDecay) else 0
