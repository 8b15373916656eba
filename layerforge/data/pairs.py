"""Pairs: two samples and whether they are of the same class, for nets that learn to compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np

from ..arrays.philox import host_generator
from ..arrays.spec import Spec, index, parse_specs
from ..config.data_section import SourceRule
from ..config.data_split import SplitSection
from ..schema.errors import ConfigError, DataError
from ..schema.params import param
from ..schema.registry import register_source
from .array_reader import HDF5, ArrayReader
from .division import Share
from .files import file_error
from .kinds import Kind
from .lazy import picked
from .reader import Blobs, Reader, demand_blobs, demand_values, of_blob
from .source import Source


class PairReader(Reader):
    """The samples of each side as the reader of the inner source reads them."""

    kind = "pairs"

    def __init__(self, specs: Mapping[str, Spec], inner: Reader) -> None:
        super().__init__(specs)
        self.inner = inner

    def plain(self) -> dict[str, Any]:
        return {**super().plain(), "inner": self.inner.plain()}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        from .readers import reader_of

        return cls(parse_specs(values["blobs"]), reader_of(values["inner"], "the reader of pairs"))

    def read(self, path: Path, blobs: Sequence[str], seen: Mapping[str, Kind]) -> Blobs:
        """A file of arrays has both sides by their names; any other is for one side."""
        demand_blobs(self, blobs)
        if len(blobs) > 1 and path.suffix.lower() in (".npz", *HDF5):
            return ArrayReader(self.specs).read(path, blobs, seen)
        if len(blobs) > 1:
            hint = f"give a .npz file with both, or a blob of one side alone: --input {blobs[0]}"
            raise file_error(path, f"is for one side, but {' and '.join(blobs)} are needed", hint)
        return {blob: self._inner(self.inner.read, path, blob, seen) for blob in blobs}

    def convert(self, value: Any, blobs: Sequence[str], seen: Mapping[str, Kind]) -> tuple[Blobs, bool]:
        demand_blobs(self, blobs)
        demand_values(value, blobs, self.specs)
        each = {blob: self._inner(self.inner.convert, of_blob(value, blob), blob, seen) for blob in blobs}
        return {blob: samples for blob, (samples, _) in each.items()}, all(single for _, single in each.values())

    def _inner(self, read: Callable[..., Any], value: Any, blob: str, seen: Mapping[str, Kind]) -> Any:
        name = blob.removesuffix("_a").removesuffix("_b")
        found = read(value, [name], {name: seen[blob]} if blob in seen else {})
        return (found[0][name], found[1]) if isinstance(found, tuple) else found[name]


@register_source
class Pairs(Source):
    """Pairs of samples of another source: for its blob `image` the blobs `image_a` and `image_b`, and `match`, 0 or 1.

    Half of the pairs match. Which samples meet depends on the seed alone, and is the same in every epoch. The split is
    that of the inner source: pairs are formed within it.
    """

    source: Annotated[Source, SourceRule] = param(help="where the samples come from; it needs labels")
    label: str = param("label", help="the blob that says which samples match")
    pairs: int | None = param(None, help="how many pairs; null: as many as there are samples", ge=2)
    seed: int = param(0, help="another seed forms other pairs", ge=0)

    def validate(self) -> None:
        if self.split is None:
            self.split = self.source.split
        elif self.split != self.source.split:
            self.source = self.source.with_split(self.split)

    def follow(self, leader: Any) -> None:
        super().follow(leader)
        if isinstance(leader, Pairs):
            self.source.follow(leader.source)

    def with_share(self, share: Share | None) -> Self:
        """Pairs within a share of the samples of the inner source, which is what is divided."""
        other = super().with_share(None)
        other.source = self.source.with_share(share)
        return other

    def divided(self, split: SplitSection) -> dict[str, Self]:
        inner = self.source.divided(split)
        return {section: self.with_share(source.share) for section, source in inner.items()}

    @property
    def parts(self) -> tuple[str, ...]:
        return self.source.parts

    @property
    def title(self) -> str:
        return self.source.title

    def specs(self) -> dict[str, Spec]:
        inner = self.source.specs()
        if self.label not in inner or inner[self.label].shape or inner[self.label].is_real:
            message = f"Pairs: {type(self.source).__name__} has no blob of class labels '{self.label}'"
            raise ConfigError(message, place=self.place, hint=f"its blobs: {', '.join(inner)}")
        specs = {f"{n}_{side}": spec for n, spec in inner.items() if n != self.label for side in "ab"}
        return {**specs, "match": index((), 2)}

    def reader(self) -> Reader:
        """The samples of either side, as the inner source reads them."""
        return PairReader(self.specs(), self.source.reader())

    def prepare(self, progress: bool | None = None) -> None:
        self.source.prepare(progress)

    def count_samples(self, fetched: bool = False) -> int | None:
        return self.pairs or self.source.count_samples(fetched)

    def load(self, progress: bool | None = None) -> dict[str, np.ndarray]:
        self.specs()
        arrays = self.source.load(progress)
        labels = arrays.pop(self.label)
        first, second, match = form_pairs(labels, self.pairs or len(labels), self.seed)
        sides = (("a", first), ("b", second))
        pairs = {f"{n}_{side}": picked(a, who) for n, a in arrays.items() for side, who in sides}
        return {**pairs, "match": match}

    def normalised(self) -> list[tuple[str, ...]]:
        """Both sides of a pair share their statistics: one net sees both."""
        return [tuple(f"{n}_{side}" for n in group for side in "ab") for group in self.source.normalised()]


def form_pairs(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blobs a and b of each pair and whether they match (count,), half of them, in random order.

    a goes through all samples; b is drawn from a's class without a itself, or from all other classes.

    Errors   DataError where no two samples match, or all do
    """
    classes, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise DataError(f"Pairs needs samples of at least two classes, all {len(labels)} are of class {classes[0]}")
    several = np.flatnonzero(sizes[inverse] > 1)
    if not len(several):
        raise DataError("Pairs needs two samples of the same class, every class here has one")
    by_class = np.argsort(inverse, kind="stable")
    start = np.cumsum(sizes) - sizes
    rank = np.empty_like(by_class)
    rank[by_class] = np.arange(len(labels)) - start[inverse[by_class]]

    bits = host_generator(seed, "pairs").bit_generator
    match = np.arange(count) % 2
    first = np.where(match, several[np.arange(count) // 2 % len(several)], np.arange(count) // 2 % len(labels))
    own, size = inverse[first], sizes[inverse[first]]
    draw = (bits.random_raw(count) >> np.uint64(11)) * 2.0**-53  # uniform in [0, 1)
    partner = start[own] + (rank[first] + 1 + (draw * (size - 1)).astype(np.int64)) % size
    other = (draw * (len(labels) - size)).astype(np.int64)
    other += np.where(other >= start[own], size, 0)
    second = by_class[np.where(match, partner, other)]
    order = np.argsort(bits.random_raw(count), kind="stable")
    return first[order], second[order], match[order]
