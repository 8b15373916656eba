"""The batches of a run: how many make a step, which sizes it will meet, and whether its net takes them all.

The last batch of an epoch holds what is left over. A layer may refuse it: BatchNorm has no variance of one value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..config.data_section import DataSection, Feed
from ..contract import call
from ..net import Net
from ..plan.plan import Plan
from ..plan.planner import make_plan
from ..run.counting import expected_counts
from ..run.splitting import reasons
from ..schema.errors import ConfigError, LayerForgeError
from ..solvers.solver import refuse_parts


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
    """Hold every size of batch that occurs in train, val and test against the layers; nothing of a batch is computed.

    Where batches of train are parts of a step, their losses must add up to that of the whole, too.

    most   how many batches of train are used at most

    Errors   ConfigError that names the part, the size, the layer and what to do
    """
    for name, feed in section.feeds().items():
        count = samples.get(name)
        if count is None:
            continue
        for size in sizes_of(feed, count, most if name == "train" else None):
            try:
                plan = _plan(net, section, name, size)
            except LayerForgeError as error:
                raise _refusal(error, name, feed, size, count) from error
            if name == "train" and _are_parts(net, feed, count, most):
                refuse_parts(_not_adding_up(plan))


def _are_parts(net: Net, feed: Feed, samples: int, most: int | None) -> bool:
    """Whether some step takes more than one batch."""
    batches = samples // feed.batch_size if feed.drop_last else -(-samples // feed.batch_size)
    return min(batches, net.config.train.accumulate_grad_batches, batches if most is None else most) > 1


def _not_adding_up(plan: Plan) -> list[str]:
    """In words, which losses can only be had from a whole batch, as far as that is seen without data."""
    try:
        return reasons(expected_counts(plan))
    except Exception:  # a user's layer that cannot count what stands for labels: the step itself will ask again
        return []


def _plan(net: Net, section: DataSection, name: str, size: int) -> Plan:
    phase = "train" if name == "train" else "eval"
    specs = {n: s.with_shape((size, *s.shape)).with_dtype(net.dtype) for n, s in section.sample_specs(name).items()}
    plan = make_plan(net.graph.phases[phase], specs, None, frozenset())
    for step in plan.steps:
        call.check_phase(step.node.layer, phase, [plan.specs[index] for index in step.bottoms])
    return plan


def _refusal(error: LayerForgeError, name: str, feed: Feed, size: int, count: int) -> ConfigError:
    if size == feed.batch_size:
        message = f"the net does not take a batch of data.{name}, of {size} samples: {error.message}"
        return ConfigError(message, place=error.place, hint=error.hint)
    message = (
        f"the last batch of data.{name} has {size} of its {count} samples (batch_size {feed.batch_size}),"
        f" and the net does not take it: {error.message}"
    )
    return ConfigError(message, place=error.place, hint=f"set data.{name}.drop_last: true, or another batch_size")
