"""The smallest trial that still fails: actions, layers and backwards are left out one by one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from layerforge import Net
from layerforge.schema.errors import LayerForgeError

from .growing import bottoms, read_ones
from .trials import Trial

TRIES = 120


def shrunk(trial: Trial, fails: Callable[[Trial], bool]) -> Trial:
    """A trial from which nothing can be left out; of a hundred tries at most."""
    tries, smaller = 0, True
    while smaller:
        smaller = False
        for candidate in candidates(trial):
            tries += 1
            if tries > TRIES:
                return trial
            if valid(candidate) and fails(candidate):
                trial, smaller = candidate, True
                break
    return trial


def candidates(trial: Trial) -> Iterator[Trial]:
    """The same trial without one of its parts."""
    if trial.threads:
        yield changed(trial, lambda t: setattr(t, "threads", False))
    for i in range(len(trial.actions)):
        if len(trial.actions) > 1:
            yield changed(trial, lambda t, i=i: t.actions.pop(i))
    for i in reversed(range(len(trial.config["net"]))):
        if not bottoms(trial.config["net"][i]):
            continue
        yield changed(trial, lambda t, i=i: without_layer(t, i))
    for i, action in enumerate(trial.actions):
        for j in range(len(action.backwards)):
            yield changed(trial, lambda t, i=i, j=j: t.actions[i].backwards.pop(j))
        if action.disguise != "plain":
            yield changed(trial, lambda t, i=i: setattr(t.actions[i], "disguise", "plain"))
    for i, item in enumerate(trial.config["net"]):
        for key in ("recompute", "freeze", "loss_weight"):
            if key in item:
                yield changed(trial, lambda t, i=i, key=key: t.config["net"][i].pop(key))
    for i in range(len(trial.watched)):
        yield changed(trial, lambda t, i=i: t.watched.pop(i))


def changed(trial: Trial, change: Callable[[Trial], Any]) -> Trial:
    """A changed copy."""
    copied = copy.deepcopy(trial)
    change(copied)
    return copied


def without_layer(trial: Trial, i: int) -> None:
    """Leave a layer out: who read its top reads what it read first."""
    layers = trial.config["net"]
    gone = layers.pop(i)
    first = bottoms(gone)[0]
    for item in layers:
        renamed = [first if name == gone["name"] else name for name in bottoms(item)]
        if renamed:
            item["bottom"] = renamed if len(renamed) > 1 else renamed[0]
    trial.config["inputs"], trial.config["net"] = read_ones(trial.config["inputs"], layers)
    trial.watched = [name for name in trial.watched if name != gone["name"]]
    for action in trial.actions:
        action.backwards = [renamed_start(start, gone["name"], first) for start in action.backwards]


def renamed_start(start: str | None, gone: str, first: str) -> str | None:
    """What a backward starts from without that layer: each blob once."""
    if start is None:
        return None
    return "+".join(dict.fromkeys(first if name == gone else name for name in start.split("+")))


def valid(trial: Trial) -> bool:
    """Whether it is a net at all."""
    try:
        Net.from_config(trial.config)
    except LayerForgeError:
        return False
    return True
