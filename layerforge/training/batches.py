"""The batches of a run: how many make a step, which sizes it will meet, and whether its net takes them all.

The last batch of an epoch holds what is left over. A layer may refuse it: BatchNorm has no variance of one value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..config.data_section import DataSection, Feed
from ..contract import call
from ..net import Net
from ..plan.planner import make_plan
from ..schema.errors import ConfigError, LayerForgeError


def grouped(batches: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` consecutive batches, the last one shorter where they do not divide."""
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def known_counts(section: DataSection) -> dict[str, int]:
    """How many samples the parts have, of those where that is known without reading them.

    Errors   ConfigError for a split that is empty or out of range
    """
    found = {}
    for name, feed in section.feeds().items():
        count = feed.source.count_samples(fetched=section.fallback is None)  # else the fallback may be what is used
        if count is not None:
            found[name] = count
    return found


def sizes_of(feed: Feed, samples: int, most: int | None = None) -> list[int]:
    """The sizes of the batches of an epoch, of which `most` are used."""
    whole, left = divmod(samples, feed.batch_size)
    sizes = [feed.batch_size] if whole else []
    return [*sizes, left] if left and not feed.drop_last and (most is None or most > whole) else sizes


def check_batches(net: Net, section: DataSection, samples: Mapping[str, int], most: int | None = None) -> None:
    """Hold every size of batch that occurs in train, val and test against the layers; nothing is computed.

    most   how many batches of train are used at most

    Errors   ConfigError that names the part, the size, the layer and what to do
    """
    for name, feed in section.feeds().items():
        count = samples.get(name)
        if count is None:
            continue
        for size in sizes_of(feed, count, most if name == "train" else None):
            try:
                _plan(net, section, name, size)
            except LayerForgeError as error:
                raise _refusal(error, name, feed, size, count) from error


def _plan(net: Net, section: DataSection, name: str, size: int) -> None:
    phase = "train" if name == "train" else "eval"
    specs = {n: s.with_shape((size, *s.shape)).with_dtype(net.dtype) for n, s in section.sample_specs(name).items()}
    plan = make_plan(net.graph.phases[phase], specs, None, frozenset())
    for step in plan.steps:
        call.check_phase(step.node.layer, phase, [plan.specs[index] for index in step.bottoms])


def _refusal(error: LayerForgeError, name: str, feed: Feed, size: int, count: int) -> ConfigError:
    if size == feed.batch_size:
        message = f"the net does not take a batch of data.{name}, of {size} samples: {error.message}"
        return ConfigError(message, place=error.place, hint=error.hint)
    message = (
        f"the last batch of data.{name} has {size} of its {count} samples (batch_size {feed.batch_size}),"
        f" and the net does not take it: {error.message}"
    )
    return ConfigError(message, place=error.place, hint=f"set data.{name}.drop_last: true, or another batch_size")
