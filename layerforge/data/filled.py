"""Filled: blobs of constants and random numbers, to try a net without data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from ..arrays.philox import host_generator
from ..arrays.spec import Spec, index
from ..config.data_mapping import DataMapping
from ..contract.fillers import Constant, Filler
from ..schema.errors import ConfigError, DataError
from ..schema.params import param
from ..schema.registry import register_source
from .lazy import Lazy
from .source import Source

MOST_ELEMENTS = 1 << 26  # in a sample
MOST_SINGLE = 1 << 24  # samples where a blob of theirs is a single number: these are made at once
TRIED = 1 << 16  # elements of a blob that is filled once to see whether its filler takes the shape


class FilledBlob(DataMapping):
    """A blob: the shape of a sample, and what fills it."""

    noun = "blob"
    description = "a mapping such as {shape: [3, 32, 32], filler: gaussian}"

    shape: list[int] = param(help="of a sample, without the batch axis; []: a single number", ge=1)
    filler: Annotated[Filler, Filler] = param(Constant(), help="what its numbers are: a filler, as of a weight")
    classes: int | None = param(
        None, help="makes it an index from 0 to classes - 1: the filler's numbers, rounded down", ge=1
    )

    @property
    def spec(self) -> Spec:
        """Of a sample."""
        return Spec(tuple(self.shape)) if self.classes is None else index(tuple(self.shape), self.classes)


class BlobsRule:
    """The rule for blobs by their names."""

    description = "a mapping of blobs to {shape:, filler:, classes:}"

    @staticmethod
    def parse(value: Any) -> dict[str, FilledBlob]:
        if not isinstance(value, Mapping) or not value:
            raise TypeError
        return {str(name): FilledBlob.parse(each) for name, each in value.items()}


@register_source
class Filled(Source):
    """Blobs of constants and random numbers, as Caffe's DummyData makes them.

        blobs: {data: {shape: [3, 32, 32], filler: {type: gaussian, std: 1}}, label: {shape: [], classes: 10}}

    A sample is a function of `seed`, its blob and its number: it is the same in every epoch and in every batch.
    """

    blobs: Annotated[dict[str, FilledBlob], BlobsRule] = param(help="the blobs: {NAME: {shape:, filler:, classes:}}")
    samples: int = param(1000, help="how many", ge=1)
    seed: int = param(0, help="another seed gives other numbers", ge=0)

    def validate(self) -> None:
        single = [name for name, blob in self.blobs.items() if not blob.shape]
        if single and self.samples > MOST_SINGLE:
            told = f"samples is {self.samples}, with '{single[0]}', a single number, it is at most {MOST_SINGLE}"
            raise ConfigError(told, hint="give the blob the shape [1], or name fewer samples")
        for name, blob in self.blobs.items():
            count = np.prod(blob.shape, dtype=float)
            if count > MOST_ELEMENTS:
                raise ConfigError(f"blobs: '{name}' has more than {MOST_ELEMENTS} numbers in a sample")
            if count <= TRIED:
                self._fill(name, 0)

    def _fill(self, name: str, sample: int) -> np.ndarray:
        """A blob of a sample (1, ...)."""
        blob = self.blobs[name]
        generator = host_generator(self.seed, f"filled/{name}/{sample}")
        return blob.filler.fill(generator, (1, *blob.shape))

    def _singles(self, name: str) -> np.ndarray:
        """A blob that is a single number, of all samples (samples,), one drawn after the other."""
        filler, generator = self.blobs[name].filler, host_generator(self.seed, f"filled/{name}")
        values = np.array([filler.fill(generator, (1,))[0] for _ in range(self.samples)])
        spec = self.blobs[name].spec
        return values.astype(np.float32) if spec.is_real else _classes(name, spec, values)

    def specs(self) -> dict[str, Spec]:
        return {name: blob.spec for name, blob in self.blobs.items()}

    def count(self, part: str) -> int:
        return self.samples

    def read(self, part: str, progress: bool | None = None) -> dict[str, Any]:
        return {n: FilledSamples(self, n) if blob.shape else self._singles(n) for n, blob in self.blobs.items()}

    @property
    def config(self) -> dict[str, Any]:
        return {**super().config, "blobs": {name: blob.config for name, blob in self.blobs.items()}}


class FilledSamples(Lazy):
    """A blob of Filled, made when a batch wants it."""

    def __init__(self, source: Filled, name: str) -> None:
        self.spec = source.blobs[name].spec
        super().__init__((source.samples, *self.spec.shape), np.float32 if self.spec.is_real else np.int64)
        self.source = source
        self.name = name

    def read(self, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for position, row in enumerate(rows):
            values = self.source._fill(self.name, int(row))[0]
            out[position] = values if self.spec.is_real else _classes(self.name, self.spec, values)
        return out


def _classes(name: str, spec: Spec, values: np.ndarray) -> np.ndarray:
    """Numbers rounded down to classes. DataError for those that are none of the blob's."""
    found = np.floor(values)
    if not (np.isfinite(found).all() and found.min() >= 0 and found.max() < (spec.high or 0)):
        most = int(spec.high or 1)
        hint = f"classes are from 0 to {most - 1}: filler: {{type: uniform, max: {most}}}"
        raise DataError(f"Filled: '{name}' gets {values.min():g} to {values.max():g} from its filler", hint=hint)
    return found.astype(np.int64)
