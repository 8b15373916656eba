"""Which layers of a definition a net has: `include` and `exclude` rules on phase, level and stages."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ...schema.errors import ConfigError, LayerForgeError, raise_all
from .conversion import Unsupported
from .message import Message

PHASES = {"TRAIN": "train", "TEST": "eval"}  # what Caffe's are called here


@dataclass(frozen=True)
class State:
    """What the rules of layers are held against beside a phase: a level, None where nothing says one, and stages."""

    level: int | None = None
    stages: tuple[str, ...] = ()


def state_of(net: Message, solver: State, asked: State) -> State:
    """The state of a net that Caffe's solver makes: stages add up; of levels that which is asked for counts, then the
    solver's, then that of the net's own `state`, which is 0 unless it says one.
    """
    own = net.get("state").get("level")
    level = next((one for one in (asked.level, solver.level) if one is not None), own)
    return State(level, (*asked.stages, *solver.stages))


def demand_phase(net: Message, phase: str) -> None:
    """Refuse a net whose own `state` has another phase than the one that it is to be trained or evaluated in.

    Errors   Unsupported, as Caffe's solver would run both nets in the phase of the definition
    """
    state = net.get("state")
    if state.get("phase", phase) != phase:
        told = f"the net's own state has phase {state.get('phase')}: Caffe's solver would run its {phase} net so, too"
        raise Unsupported(told, place=state.place("phase"), hint="remove phase from state { }")


def selected(net: Message, phase: str, level: int = 0, stages: Collection[str] = ()) -> Message:
    """The net with those of its layers that belong to a state; `net`, in the present form, stays as it is.

    A layer is there if any of its `include` rules matches, or none of its `exclude` rules does. A rule matches where
    the phase is its phase, min_level <= level <= max_level, all its stages are given and none of its not_stages.

    phase    "TRAIN" or "TEST"
    level    in the place of that of the net's own `state`
    stages   beside those of the net's own `state`

    Errors   ConfigErrors with the places of layers that have rules of both kinds
    """
    net = net.copy()
    given = {*stages, *net.get("state").get("stage")}
    for name in ("phase", "level"):  # as in Caffe, what is asked for counts
        net.get("state").has(name)
    problems: list[LayerForgeError] = []
    kept = []
    for layer in net.get("layer"):
        includes, excludes = layer.get("include"), layer.get("exclude")
        if includes and excludes:
            problems.append(
                ConfigError(
                    f"layer '{layer.get('name')}' has both include and exclude rules",
                    place=layer.place("exclude"),
                    hint="a layer has rules of one kind",
                )
            )
        # All are asked, so that all their fields count as read.
        included = [matches(rule, phase, level, given) for rule in includes]
        excluded = [matches(rule, phase, level, given) for rule in excludes]
        if any(included) or (not includes and not any(excluded)):
            kept.append(layer)
    raise_all(problems)
    net.values["layer"] = kept
    return net


def matches(rule: Message, phase: str, level: int, stages: Collection[str]) -> bool:
    """Whether a NetStateRule matches a state."""
    wanted, unwanted = rule.get("stage"), rule.get("not_stage")
    low, high = rule.get("min_level", level), rule.get("max_level", level)
    return (
        rule.get("phase", phase) == phase
        and low <= level <= high
        and all(stage in stages for stage in wanted)
        and not any(stage in stages for stage in unwanted)
    )
