"""What a solver.prototxt says of a run beside its updates: how long, how often, from which nets and weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...schema.locations import Place
from .message import Message
from .rules import State
from .solver_reading import Reading

IGNORED = {
    "test_initialization": "the first evaluation is after the first steps; `layerforge eval` evaluates at any time",
    "test_compute_loss": "an evaluation always computes the losses",
    "average_loss": "a row of metrics has the mean loss since the row before",
    "snapshot_diff": "gradients are not part of a checkpoint; `layerforge trace` writes them",
    "snapshot_format": "checkpoints are HDF5",
    "snapshot_after_train": "the last step always has a checkpoint",
    "solver_mode": "`backend` says where arrays live",
    "device_id": "`backend` says where arrays live",
    "debug_info": "`layerforge trace` shows every blob of a step, `train.log_layers` norms of every layer",
    "layer_wise_reduce": "it is of trainings on several devices",
    "snapshot_prefix": "checkpoints are written to the folder of the run",
    "test_net": "the net that is evaluated is the TEST net of the definition that is imported",
    "test_iter": "an evaluation takes the whole of the val data",
    "store_blobs_in_old_format": "checkpoints are HDF5",
    "eval_type": "metrics are those of the layers of the net",
    "ap_version": "metrics are those of the layers of the net",
    "show_per_class_result": "metrics are those of the layers of the net",
}
# Of forks: what changes an update unless it has the value that leaves it alone.
NEUTRAL = {
    **dict.fromkeys(("min_lr", "rampup_interval", "rampup_lr", "local_lr_auto", "larc"), (0, False)),
    "global_grad_scale": (1,),
}
SOURCES = ("net", "net_param", "train_net", "train_net_param")


@dataclass(frozen=True)
class Run:
    """What a definition says of a run.

    net            the file of the net that is trained; "" where it is not named
    train_state, test_states   for the rules of the layers of the net that is trained, and of those that are evaluated
    weights        files of weights to start from, of which the later count
    place          where the weights are named
    """

    net: str
    train_state: State
    test_states: tuple[State, ...]
    weights: tuple[str, ...]
    place: Place


def sections(reading: Reading) -> dict[str, Any]:
    """The sections of a configuration that tell how long a run is, and what it writes when."""
    found: dict[str, Any] = {}
    train: dict[str, Any] = {}
    steps = _count(reading, "max_iter")
    if steps:
        train["max_steps"] = steps
    else:
        reading.notes.append("it says no max_iter: how long to train is to be said by train.max_steps or train.epochs")
    if _count(reading, "iter_size", least=1) > 1:
        train["accumulate_grad_batches"] = reading.get("iter_size")
        reading.notes.append("a step ends with its epoch, with fewer batches than iter_size where they do not divide")
    if interval := _count(reading, "test_interval"):
        train["eval_every"] = {"steps": interval}
        reading.notes.append("an evaluation takes the whole of the val data, not test_iter batches of them")
    if display := _count(reading, "display"):
        train["log_every"] = display
    if (seed := reading.get("random_seed")) >= 0:
        found["seed"] = seed
        reading.notes.append("random numbers are others than Caffe's from the same seed")
    found["train"] = train
    if snapshot := _count(reading, "snapshot"):
        found["checkpoint"] = {"every": {"steps": snapshot}}
        reading.notes.append("of the checkpoints last and best are kept; checkpoint.keep_last keeps more")
    for name, why in IGNORED.items():
        reading.ignore(name, why)
    for name, values in NEUTRAL.items():
        if reading.get(name) in values:
            reading.ignore(name, "this value changes nothing")
        else:
            reading.unsupported(f"the field {name} is not supported", name)
    return found


def _count(reading: Reading, name: str, least: int = 0) -> int:
    """A number of things that cannot be negative."""
    value = int(reading.get(name))
    if value < least:
        reading.invalid(f"{name} must be at least {least}, got {value}", name)
    return value


def run_of(reading: Reading) -> Run:
    """What is said of nets and weights."""
    given = [name for name in SOURCES if reading.message.has(name)]
    if len(given) > 1:
        reading.invalid(f"a solver trains one net, but has {' and '.join(given)}", given[1], "leave one of them")
    for name in ("net_param", "train_net_param", "test_net_param"):
        if reading.message.has(name):
            reading.unsupported(f"a net written inside of a solver ({name})", name, "give it a file of its own")
            reading.message.clear(name)
    tests = reading.get("test_state")
    return Run(
        net=reading.get("net") or reading.get("train_net"),
        train_state=_state(reading, reading.get("train_state"), "TRAIN", "train_state"),
        test_states=tuple(_state(reading, state, "TEST", "test_state") for state in tests),
        weights=tuple(file.strip() for text in reading.get("weights") for file in text.split(",") if file.strip()),
        place=reading.message.place("weights"),
    )


def _state(reading: Reading, state: Message, phase: str, name: str) -> State:
    """The level and stages of a NetState, which is of a phase."""
    if state.get("phase", phase) != phase:
        reading.unsupported(f"a {name} of phase {state.get('phase')}", name)
    level = state.get("level") if state.has("level") else None
    return State(level, tuple(state.get("stage")))
