"""Division of one source into train, val and test, or into folds (`data.split`).

Without groups every class gives each part its share of the part's size, rounded by largest remainders, so that the
parts have exactly the sizes that were asked for. Groups go one after the other to where they are missed most, which
keeps sizes, and the shares of classes where they count too, as well as whole groups allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.philox import host_generator
from ..config.data_split import SplitSection
from ..schema.errors import ConfigError, DataError


class Division:
    """Which samples of a source train, val and test have. The same for the same samples and the same split.

    source   what is divided: all samples of its own split
    """

    def __init__(self, source: Any, split: SplitSection) -> None:
        self.source = source
        self.split = split
        self._parts: dict[str, np.ndarray] | None = None

    def positions(self, section: str) -> np.ndarray:
        """The positions of a section's samples among those of the source, ascending.

        Errors   ConfigError where a part would be empty, or what is stratified or grouped by is no such thing
        """
        if self._parts is None:
            self._parts = self._divide()
        return self._parts[section]

    def size(self, section: str, count: int) -> int | None:
        """How many of `count` samples a section has; None where that depends on their groups."""
        if self.split.group is not None:
            return None
        sizes = self.split.sizes(count)
        return sum(size for part, size in enumerate(sizes) if self.split.section_of(part) == section)

    def _divide(self) -> dict[str, np.ndarray]:
        split = self.split
        classes = self._codes(split.stratify, "stratify")
        groups = self._codes(split.group, "group")
        known = classes if classes is not None else groups
        count = self._count() if known is None else len(known)
        order = np.arange(count)
        if split.shuffle:
            order = np.argsort(host_generator(split.seed, "split").bit_generator.random_raw(count), kind="stable")
        sizes = split.sizes(count)
        strata = np.zeros(count, np.int64) if classes is None else classes
        if groups is None and split.folds and split.stratify:
            parts = by_turns(order, strata, sizes, split.folds)
        elif groups is None:
            parts = by_shares(order, strata, sizes)
        else:
            found = int(groups.max()) + 1
            if found < len(sizes):
                message = f"split: '{split.group}' has {found} groups, too few for {len(sizes)} parts"
                raise ConfigError(message, place=split.place)
            parts = by_groups(order, strata, groups, sizes)
        names = [split.section_of(part) for part in range(len(sizes))]
        return {
            section: np.sort(np.concatenate([p for name, p in zip(names, parts, strict=True) if name == section]))
            for section in split.sections
        }

    def _count(self) -> int:
        known = self.source.count_samples()
        return len(next(iter(self.source.load().values()))) if known is None else known

    def _codes(self, name: str | None, key: str) -> np.ndarray | None:
        """The values of a column as numbers from 0."""
        if name is None:
            return None
        values = np.asarray(self.source.column(name))
        if values.dtype.kind == "f" and not (values == np.floor(values)).all():
            hint = "name a blob or column of classes, or remove it"
            raise ConfigError(f"split: {key}: '{name}' holds real numbers", place=self.split.place, hint=hint)
        return np.unique(values, return_inverse=True)[1].reshape(-1)


@dataclass(frozen=True)
class Share:
    """What a section has of a division."""

    division: Division
    section: str

    @property
    def positions(self) -> np.ndarray:
        """The positions of its samples among those of the divided source."""
        return self.division.positions(self.section)

    def size(self, count: int) -> int | None:
        """How many samples it has of `count`, where that is known without reading them."""
        return self.division.size(self.section, count)


def by_shares(order: np.ndarray, classes: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """The samples of parts of exactly these sizes; each class goes to them in `order`, in nearly equal shares."""
    left = np.bincount(classes)
    counts = np.empty((len(sizes), len(left)), np.int64)
    for part in range(len(sizes) - 1, 0, -1):
        counts[part] = largest_remainders(left, sizes[part])
        left = left - counts[part]
    counts[0] = left
    ends = np.cumsum(counts, axis=0)
    rank = np.empty(len(order), np.int64)  # of each sample within its class, in order
    by_class = order[np.argsort(classes[order], kind="stable")]
    total = np.bincount(classes)
    rank[by_class] = np.arange(len(order)) - np.repeat(np.cumsum(total) - total, total)
    part_of = (rank[None] >= ends[:, classes]).sum(axis=0)
    return [np.flatnonzero(part_of == part) for part in range(len(sizes))]


def by_turns(order: np.ndarray, classes: np.ndarray, sizes: Sequence[int], folds: int) -> list[np.ndarray]:
    """Folds of these sizes, and what follows them: each gets of every class as many as the next, or one more or less.

    The samples, class by class, go to the folds in turns.
    """
    rest, *others = by_shares(order, classes, [sum(sizes[:folds]), *sizes[folds:]])
    left = order[np.isin(order, rest)]
    by_class = left[np.argsort(classes[left], kind="stable")]
    return [*(np.sort(by_class[folds - 1 - fold :: folds]) for fold in range(folds)), *others]


def largest_remainders(counts: np.ndarray, size: int) -> np.ndarray:
    """`size` things taken out of classes of these counts, from each its share: rounded down, then up where most is cut.

    Of classes that lose as much the first one is rounded up.
    """
    whole, rest = np.divmod(counts * size, counts.sum())
    whole[np.argsort(-rest, kind="stable")[: size - whole.sum()]] += 1
    return whole


def by_groups(order: np.ndarray, classes: np.ndarray, groups: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """The samples of parts of about these sizes, and of about the same shares of classes, by whole groups.

    A group g of which class c has g_c samples goes to the part p with the least Σ_c g_c (h_pc + g_c / 2) / t_pc: h is
    what the part has, t what it should have, its share of the class. So Σ (h - t)² / t grows least.
    """
    total = np.bincount(classes)
    held = np.zeros((len(sizes), len(total)))
    wanted = np.asarray(sizes)[:, None] * total / len(order)
    members = np.zeros((int(groups.max()) + 1, len(total)), np.int64)
    np.add.at(members, (groups, classes), 1)
    first = np.unique(groups[order], return_index=True)[1]  # groups in the order in which they come
    part_of = np.empty(len(members), np.int64)
    empty = np.ones(len(sizes), bool)
    for done, group in enumerate(np.argsort(first, kind="stable")):
        cost = (members[group] * (held + members[group] / 2) / wanted).sum(axis=1)
        if len(members) - done == empty.sum():  # no part stays empty
            cost[~empty] = np.inf
        part = int(np.argmin(cost))
        part_of[group], empty[part] = part, False
        held[part] += members[group]
    return [np.flatnonzero(part_of[groups] == part) for part in range(len(sizes))]


def column_of(name: str, arrays: Any, owner: str) -> np.ndarray:
    """The blob of that name, with one value for each sample.

    Errors   DataError where there is none, or where it has more values
    """
    if name not in arrays:
        raise DataError(f"{owner} has no blob or column '{name}'", hint=f"it has: {', '.join(arrays)}")
    array = arrays[name]
    if array.ndim != 1:
        raise DataError(f"{owner}: '{name}' has samples of shape {array.shape[1:]}, one value for each is needed")
    return array
