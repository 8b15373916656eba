"""The batches of a run: how many make a step, which sizes it will meet, and whether its net takes them all.

The last batch of an epoch holds what is left over. A layer may refuse it: BatchNorm has no variance of one value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..config.data_section import DataSection, Feed
from ..contract import call
from ..data.loader import Batch
from ..net import Net
from ..plan.plan import Plan
from ..plan.planner import make_plan
from ..run.counting import LossPart, expected_counts
from ..run.splitting import reasons
from ..schema.errors import ConfigError, LayerForgeError
from ..solvers.solver import Solver, refuse_parts


def accumulated(solver: Solver[Net], group: Sequence[Batch]) -> list[LossPart]:
    """The losses of the batches of a step, whose gradients the solver has added up."""
    if len(group) > 1:
        solver.begin_step([batch.host for batch in group])
    losses: list[LossPart] = []
    for batch in group:
        solver.accumulate(**batch.blobs)
        losses += solver.net.losses()
    return losses


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


def begin_epoch(net: Net, batch: int) -> None:
    """Where an epoch begins, and not in the middle of one, let layers that carry begin from zero: the data begin anew.

    Those that a bottom tells where sequences begin go on.
    """
    for layer in net.layers.values():
        if layer.carries and not batch and not layer.told_beginnings:
            layer.carried.pop("train", None)


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
        sizes = sizes_of(feed, count, most if name == "train" else None)
        check_carrying(net, section, name, sizes)
        for size in sizes:
            try:
                plan = _plan(net, section, name, size)
            except LayerForgeError as error:
                raise _refusal(error, name, feed, size, count) from error
            if name == "train" and _are_parts(net, feed, count, most):
                refuse_parts(_not_adding_up(plan))


def check_carrying(net: Net, section: DataSection, name: str, sizes: Sequence[int]) -> None:
    """ConfigError where a layer would carry what it has of one sample to a sample that does not go on from that one."""
    feed, steps = section.feeds()[name], net.graph.phases["train" if name == "train" else "eval"].steps
    for layer in (step.node.layer for step in steps if step.node.layer.carries):
        who = f"layer '{layer.name}' is stateful"
        if len(sizes) > 1:
            message = f"{who}, and the last batch of data.{name} has {sizes[-1]} samples, not {sizes[0]}"
            raise ConfigError(message, place=feed.place, hint=f"set data.{name}.drop_last: true")
        why, hint = (None, "") if layer.told_beginnings else _torn(section, name)
        if why is not None:
            raise ConfigError(f"{who}, and {why}", place=feed.place, hint=hint)


def _torn(section: DataSection, name: str) -> tuple[str | None, str]:
    """In words, why the samples of a part do not go on from batch to batch, as far as that is known; and the remedy."""
    feed, remedy = section.feeds()[name], f"set data.{name}.streams: true: batch_size streams, side by side"
    if section.split is not None and section.split.shuffle:
        return "data.split takes samples at random", "set data.split.shuffle: false"
    if feed.source.consecutive is False:
        return f"the windows of data.{name} overlap, or leave tokens out", "remove stride"
    if feed.shuffle or feed.sampler is not None:
        return f"data.{name} is shuffled", remedy
    if feed.source.consecutive and feed.batch_size > 1 and not feed.streams:
        return f"the samples of data.{name} follow one another within a batch, not from batch to batch", remedy
    return None, ""


def _are_parts(net: Net, feed: Feed, samples: int, most: int | None) -> bool:
    """Whether some step takes more than one batch, and they are to count as one cut into pieces."""
    if net.config.solver is not None and net.config.solver.micro_batches != "one_batch":
        return False
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
