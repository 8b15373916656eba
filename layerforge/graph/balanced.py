"""`weight: balanced` of losses: numbers in its place, counted once among the training data.

With n labels, n_k of them of class k, and K classes, each class weighs as much as any other where

    weight of class k = n / (K n_k)      the weights of all labels have the mean 1

The configuration of the net then has the numbers, and so have config.resolved.yaml and checkpoints: whoever opens a
trained net needs no data for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..config.document import Config
from ..schema.errors import ConfigError, LayerForgeError, MissingData, flatten
from ..schema.locations import PlacedList, place_of

BALANCED = "balanced"
NUMBERS = "for example weight: [1.0, 5.0]"


def of_classes(labels: np.ndarray, classes: int | None, ignored: int | None) -> list[float]:
    """n / (K n_k) for each class, 1 for the ignored one, which counts neither in n nor in K.

    classes   how many there are; None: as many as the largest label says
    """
    found = labels.ravel().astype(np.int64)
    counts = np.bincount(found[found >= 0], minlength=classes or 0)
    mine = np.arange(len(counts)) != ignored
    _demand_all(np.where(mine, counts, 1))
    total, number = int(counts[mine].sum()), int(mine.sum())
    return [total / (number * int(n)) if counted else 1.0 for n, counted in zip(counts, mine, strict=True)]


def of_positives(targets: np.ndarray, classes: int | None, ignored: int | None) -> float | list[float]:
    """n_0 / n_1, what a positive answer must weigh for both to weigh alike, of each place on the last axis."""
    negative, positive = _answers(targets)
    ratios = [int(n) / int(p) for n, p in zip(negative, positive, strict=True)]
    return ratios if len(ratios) > 1 else ratios[0]


def of_share(targets: np.ndarray, classes: int | None, ignored: int | None) -> float:
    """n_0 / n, the factor of the answer 1 where 0 has the rest of 1."""
    negative, positive = _answers(targets)
    return int(negative.sum()) / int(negative.sum() + positive.sum())


def _answers(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many answers are 0 and 1, at each place on the last axis of a sample."""
    rows = targets.reshape(-1, targets.shape[-1] if targets.ndim > 1 else 1)
    if not ((rows == 0) | (rows == 1)).all():
        raise ConfigError("the targets are not 0 and 1", hint=f"give numbers, {NUMBERS}")
    positive = (rows == 1).sum(axis=0)
    for counts in zip(len(rows) - positive, positive, strict=True):
        _demand_all(np.array(counts))
    return len(rows) - positive, positive


def _demand_all(counts: np.ndarray) -> None:
    missing = np.flatnonzero(counts == 0)
    if len(missing):
        message = f"class {missing[0]} has no sample in data.train, so its weight would be infinite"
        raise ConfigError(message, hint=f"give numbers, {NUMBERS}")


# What stands for "balanced", by the hyper-parameter and the type of loss; "" for every other type.
RULES: dict[str, dict[str, Callable[..., Any]]] = {
    "weight": {"": of_classes},
    "pos_weight": {"": of_positives},
    "alpha": {"": of_classes, "SigmoidFocalLoss": of_share},
}


def settle_weights(config: Config) -> list[LayerForgeError]:
    """Put numbers in the place of every `balanced` of the layers of a configuration; what went wrong."""
    errors: list[LayerForgeError] = []
    for name, block in config.blocks.items():
        for layer in block.get("net") or () if isinstance(block, Mapping) else ():
            errors += [_error(layer, key, f"block '{name}'", IN_BLOCK) for key in _asking(layer)]
    for layer in config.net:
        for key in _asking(layer):
            try:
                _settle(config, layer, key)
            except LayerForgeError as error:
                errors += [_placed(each, layer, key) for each in flatten(error)]
    return errors


IN_BLOCK = ("a loss in a block cannot be balanced", "put the loss outside of the block, or give numbers")


def _asking(layer: Any) -> list[str]:
    """The hyper-parameters of a layer that are `balanced`."""
    return [key for key in RULES if layer.get(key) == BALANCED] if isinstance(layer, Mapping) else []


def _settle(config: Config, layer: Any, key: str) -> None:
    if config.data is None:
        if config.tree.get("data") is not None:  # it has errors of its own
            layer[key] = None
            return
        message = "balanced counts the classes of data.train, and there is no data section"
        raise ConfigError(message, hint=f"give numbers, {NUMBERS}")
    bottoms = layer.get("bottom")
    label = bottoms[1] if isinstance(bottoms, list) and len(bottoms) > 1 else None
    source = _source(config.data)
    specs = source.specs()
    if label not in specs:
        message = f"balanced counts the second bottom, and {label or 'nothing'} is no blob of data.train"
        raise ConfigError(message, hint=f"its blobs: {', '.join(specs)}; or give numbers, {NUMBERS}")
    known = source.labels()
    values = np.asarray((known if label in known else source.load())[label])
    if key != "pos_weight" and layer.get("type") != "SigmoidFocalLoss" and specs[label].is_real:
        raise ConfigError(f"balanced counts classes, and '{label}' holds real numbers", hint=f"give numbers, {NUMBERS}")
    rule = RULES[key].get(str(layer.get("type")), RULES[key][""])
    high = specs[label].high
    numbers = rule(values, None if high is None else int(high), layer.get("ignore_index"))
    layer[key] = PlacedList(numbers) if isinstance(numbers, list) else numbers


def _source(data: Any) -> Any:
    """The source of the training samples, or of the fallback where they are nowhere."""
    try:
        data.train.source.prepare()
    except MissingData:
        if data.fallback is None:
            raise
        return data.with_fallback().train.source
    return data.train.source


def _placed(error: LayerForgeError, layer: Any, key: str) -> LayerForgeError:
    """An error that says whose it is, and where."""
    error.message = f"layer '{layer.get('name')}' ({layer.get('type')}): {key}: {error.message}"
    error.place = error.place or place_of(layer, key)
    return error


def _error(layer: Any, key: str, owner: str, words: tuple[str, str]) -> ConfigError:
    return ConfigError(f"{owner}: {words[0]}", place=place_of(layer, key), hint=words[1])
