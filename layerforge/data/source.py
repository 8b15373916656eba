"""Source: where samples come from. A file, a generator or arrays; `split` says which of its samples."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np

from ..arrays.sparse import CSR, places, stored
from ..arrays.spec import Spec
from ..config.data_section import FEED_KEYS
from ..config.data_split import SplitSection
from ..config.scalars import shorten
from ..schema.errors import ConfigError, DataError
from ..schema.locations import Place, place_of
from ..schema.params import Declared, param
from ..schema.synonyms import did_you_mean
from .division import Division, Share, column_of
from .lazy import Lazy, picked
from .learned import Learned
from .reader import Reader

SPLIT = re.compile(r"(?P<part>[A-Za-z_]\w*)(\[(?P<start>-?[0-9]{1,18}%?)?:(?P<stop>-?[0-9]{1,18}%?)?\])?")


@dataclass(frozen=True)
class Split:
    """Which samples of a set: a part and a slice of it, as `train`, `train[:55000]`, `test[-100:]`, `all[:80%]`."""

    text: str
    part: str
    start: str | None = None
    stop: str | None = None

    @classmethod
    def of(cls, text: str) -> Split:
        """From its text; ConfigError where it is not one."""
        match = SPLIT.fullmatch(text.replace(" ", ""))
        if match is None:
            hint = 'write "train", "train[:55000]", "train[-100:]" or "train[:80%]"'
            raise ConfigError(f"split '{shorten(text)}' is not understood", hint=hint)
        return cls(text, match["part"], match["start"], match["stop"])

    def range(self, count: int, owner: str = "the set", place: Place | None = None) -> tuple[int, int]:
        """First and one-past-last sample among `count`; ConfigError where that is empty or outside."""
        start, stop = self._position(self.start, 0, count), self._position(self.stop, count, count)
        if not (0 <= start <= count and 0 <= stop <= count):
            raise ConfigError(f"split '{self.text}' is out of range: {owner} has {count} samples", place=place)
        if start >= stop:
            raise ConfigError(
                f"split '{self.text}' is empty: it goes from {start} to {stop} of {owner}'s {count} samples",
                place=place,
            )
        return start, stop

    @staticmethod
    def _position(text: str | None, default: int, count: int) -> int:
        if text is None:
            return default
        negative, number = text.startswith("-"), int(text.strip("-%"))
        offset = count * number // 100 if text.endswith("%") else number
        return count - offset if negative else offset


class SplitRule:
    """The rule for the text of a split; for null the source fills in its first part."""

    description = 'a split such as "train", "train[:55000]" or "all[80%:]" or null'

    @staticmethod
    def parse(value: Any) -> Any:
        """Check the form of the text and return it."""
        if value is None:
            return None
        if not isinstance(value, str):
            raise TypeError
        Split.of(value)
        return value


class Source(Declared):
    """Base of all data sources. One's own takes these lines, and is then named `type: Moons` in YAML:

        from layerforge import Spec, param, register_source
        from layerforge.data import Source
        import numpy as np

        @register_source
        class Moons(Source):
            \"\"\"Two half circles that interlock: blobs `x` (2,) and `label`.\"\"\"
            samples: int = param(1000, help="how many points", ge=2)

            def specs(self):
                return {"x": Spec((2,)), "label": Spec((), role="index", low=0, high=2)}

            def read(self, part, progress=None):
                t, label = np.linspace(0, np.pi, self.samples), np.arange(self.samples) % 2
                x = np.stack([np.cos(t) + label, np.sin(t) * (1 - 2 * label)], axis=1)
                return {"x": x, "label": label}

    The framework cuts out the split, checks the arrays against `specs` (shapes, kinds, ranges of indices), scales bytes
    by 1/255, makes batches and shuffles. A source with several parts says `parts = ("train", "test")`; one that can
    read a range without the rest overrides `count` and `read_range`; one that fetches files overrides `prepare`.
    Where samples do not fit into memory, `read` gives a `Lazy` (data/lazy.py) in place of a blob's array: it has shape
    and dtype, and reads the samples of a batch when the loader wants them, in as many threads as `workers` says.
    """

    parts: ClassVar[tuple[str, ...]] = ("all",)
    published: ClassVar[Mapping[str, int]] = {}  # how many samples the parts of a public set have
    leader: Any = None  # a Source or Learned: see follow
    share: Share | None = None  # which samples of the split it has, where `data.split` divides them
    divisible: ClassVar[bool] = True  # whether its samples may be divided at random

    @property
    def title(self) -> str:
        """What messages call the set."""
        return type(self).__name__

    @property
    def consecutive(self) -> bool | None:
        """Whether each sample goes on where the one before it ends, as windows of a text do; None: not known."""
        return None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The words of the classes by number; () where they have none. A subclass may write a plain attribute."""
        return ()

    @property
    def channels(self) -> str:
        """The colours of images of three channels in their order: rgb or bgr; gray where there are none."""
        return "rgb"

    split: Annotated[str, SplitRule] = param(
        None, help="which samples: train, train[:55000], all[80%:]; null: the first part"
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in cls.fields:
            if name in FEED_KEYS:
                raise ConfigError(f"{cls.__name__}: '{name}' is a key of every feed and cannot be a source's own")

    def _assign(self, values: Mapping[str, Any], owner: str) -> None:
        super()._assign(values, owner)
        if self.split is None:
            self.split = self.parts[0]
        part = self.part
        if part not in self.parts:
            raise ConfigError(
                f"{owner}: there is no part '{part}' in {type(self).__name__}",
                place=place_of(values, "split"),
                hint=did_you_mean(part, self.parts) or f"parts: {', '.join(self.parts)}",
            )

    @property
    def part(self) -> str:
        """The part that the split is taken from."""
        return Split.of(self.split).part

    def specs(self) -> dict[str, Spec]:
        """The blobs of one sample (no batch axis). Reads no file, or its header at most."""
        raise NotImplementedError(f"{type(self).__name__} needs specs()")

    def follow(self, leader: Any) -> None:
        """Take the numbers of words, and the order of columns, from `leader`: the source of data.train.

        It is called for the sources of val and test before anything is read. A source that numbers what it finds uses
        `self.leader` instead of numbering anew: a source of its own type, what a run has learned of one (`Learned`,
        where its files are gone; it too has `class_names` and `reader()`), or None.
        """
        other = leader.source if isinstance(leader, Learned) else leader
        self.leader = leader if type(other) is type(self) and leader is not self else None

    def reader(self) -> Reader:
        """What reads samples as this source does, after training too: by default arrays of the shapes of `specs`."""
        from .array_reader import ArrayReader

        return ArrayReader(self.specs())

    def prepare(self, progress: bool | None = None) -> None:
        """Bring the files here where they have to be fetched; MissingData where they cannot. Nothing by default.

        progress: True and False show and hide the bar of a download; None shows it on a terminal.
        """

    def read(self, part: str, progress: bool | None = None) -> dict[str, np.ndarray]:
        """All samples of a part, one array per blob with the samples along the first axis."""
        raise NotImplementedError(f"{type(self).__name__} needs read(part, progress)")

    def count(self, part: str) -> int | None:
        """How many samples a part has, where that is known without reading it."""
        return None

    def count_samples(self, fetched: bool = False) -> int | None:
        """How many samples the split has, where that is known without fetching or making anything.

        fetched   whether a public set that is not here counts as the one that would be fetched

        Errors   ConfigError for a split that is empty or out of range
        """
        split = Split.of(self.split)
        count = self.count(split.part)
        if count is None and fetched:
            count = self.published.get(split.part)
        if count is None:
            return None
        start, stop = split.range(count, f"{type(self).__name__} {split.part}", self.place)
        return stop - start if self.share is None else self.share.size(stop - start)

    def divided(self, split: SplitSection) -> dict[str, Self]:
        """The sources of train, val and test that a split makes of this one. Nothing is read for it.

        Errors   ConfigError where the samples cannot be divided
        """
        if not self.divisible:
            hint = "use slices: train: {split: 'all[:90%]'}, val: {split: 'all[90%:]'}"
            raise ConfigError(f"split: {type(self).__name__} cannot be divided", place=split.place, hint=hint)
        division = Division(self.with_share(None), split)
        return {section: self.with_share(Share(division, section)) for section in split.sections}

    def with_share(self, share: Share | None) -> Self:
        """The same source with some samples of its split alone; None: with all of them."""
        other = copy.copy(self)
        other.share = share
        return other

    def rows(self, count: int) -> np.ndarray:
        """The positions of its samples, the split and its share of it, among the `count` samples of its part.

        What is fitted to the training data looks at these alone.
        """
        split = Split.of(self.split)
        start, stop = split.range(count, f"{type(self).__name__} {split.part}", self.place)
        return np.arange(start, stop) if self.share is None else start + self.share.positions

    def column(self, name: str) -> np.ndarray:
        """A value for each sample: the blob of that name, or what the file has beside its blobs under it.

        Errors   DataError where there is none
        """
        labels = self.labels()
        return column_of(name, labels if name in labels else self.load(), self.title)

    def read_range(self, part: str, start: int, stop: int, progress: bool | None = None) -> dict[str, np.ndarray]:
        """The samples start <= i < stop of a part whose count is known."""
        return {name: picked(array, slice(start, stop)) for name, array in self.read(part, progress).items()}

    def load(self, progress: bool | None = None) -> dict[str, np.ndarray]:
        """The samples of the split as host arrays, checked against `specs`; images stay bytes.

        Errors   ConfigError for a split that is empty or out of range; DataError for files and arrays that are wrong
        """
        split, name = Split.of(self.split), type(self).__name__
        count = self.count(split.part)
        if count is not None:
            start, stop = split.range(count, f"{name} {split.part}", self.place)
            arrays = self.read_range(split.part, start, stop, progress)
            check_arrays(name, self.specs(), arrays)
            return self.dealt(arrays)
        arrays = self.read(split.part, progress)
        check_arrays(name, self.specs(), arrays)
        return self.cut(arrays)

    def cut(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The samples of the split, out of all the samples of its part."""
        split = Split.of(self.split)
        owner = f"{type(self).__name__} {split.part}"
        start, stop = split.range(len(next(iter(arrays.values()))), owner, self.place)
        return self.dealt({blob: picked(array, slice(start, stop)) for blob, array in arrays.items()})

    def dealt(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The samples that it has, out of those of its split."""
        if self.share is None:
            return dict(arrays)
        return {blob: picked(array, self.share.positions) for blob, array in arrays.items()}

    def labels(self) -> dict[str, np.ndarray]:
        """The blobs of one integer per sample, of the split; {} where they are not in a file of the user's.

        `layerforge check` looks at them. Nothing is downloaded or made for it.
        """
        return {}

    def read_files(self) -> list[str] | None:
        """The files that its samples are in, where these are not just what its parameters name; None by default.

        A run keeps their fingerprints. Errors   DataError where it cannot be told
        """
        return None

    def notes(self) -> list[str]:
        """What has to be said of the numbers that a net learns from them; nothing by default."""
        return []

    def fitted(self) -> list[str]:
        """What training's samples said, a line for each column; nothing by default."""
        return []

    def normalised(self) -> list[tuple[str, ...]]:
        """The blobs that `data.transform` applies to, in groups that share statistics: by default all real ones."""
        return [(name,) for name, spec in self.specs().items() if spec.is_real]

    def with_split(self, split: str) -> Self:
        """The same source with another split."""
        values = {name: getattr(self, name) for name in self.fields}
        return type(self).from_config({**values, "split": split}, place=self.place)


def check_arrays(owner: str, specs: Mapping[str, Spec], arrays: Mapping[str, np.ndarray]) -> None:
    """DataError where arrays are not what the specs promise: names, counts, shapes, kinds, ranges, finite numbers."""
    if set(arrays) != set(specs):
        raise DataError(f"{owner} gives the blobs {', '.join(arrays)}, but its specs say {', '.join(specs)}")
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        text = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise DataError(f"{owner}: the blobs have different numbers of samples ({text})")
    if not next(iter(counts.values()), 0):
        raise DataError(f"{owner} has no samples")
    for name, array in arrays.items():
        check_array(f"{owner}: blob '{name}'", specs[name], array)


def check_array(owner: str, spec: Spec, array: np.ndarray) -> None:
    """DataError where an array of samples does not fit the Spec of one sample."""
    if isinstance(array, CSR) != bool(spec.sparse):
        raise DataError(f"{owner} must be {'a CSR' if spec.sparse else 'an array'}, got {type(array).__name__}")
    if array.shape[1:] != spec.shape:
        raise DataError(f"{owner} must have samples of shape {spec.shape}, got {array.shape[1:]}")
    if array.dtype.kind not in ("biu" if not spec.is_real else "fiu"):
        wanted = "numbers" if spec.is_real else "integers"
        raise DataError(f"{owner} must hold {wanted}, got {array.dtype}")
    if isinstance(array, Lazy):  # its numbers are checked when they are read
        return
    if spec.is_real:
        numbers = stored(array)
        if array.dtype.kind == "f" and not np.isfinite(numbers).all():
            where = places(array)[~np.isfinite(numbers)] if spec.sparse else np.argwhere(~np.isfinite(numbers))
            sample = int(where[0][0])
            raise DataError(f"{owner}: sample {sample} is not finite", hint="remove NaN and infinity from the data")
        return
    low, high = spec.low, spec.high
    if high is None and array.dtype == np.uint64:
        high = 2**63  # the net counts in int64: what is larger would become negative
    bad = np.zeros(array.shape, bool) if low is None else array < low
    if high is not None:
        bad |= array >= high
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        allowed = f"{'...' if low is None else int(low)} to {'...' if high is None else int(high) - 1}"
        raise DataError(f"{owner}: sample {at[0]} has the value {array[at]}, allowed are {allowed}")


def infer_spec(shape: tuple[int, ...], dtype: np.dtype) -> Spec:
    """What the samples of an array (samples first) mean, by kind: the one rule for NPZ, HDF5 and arrays.

    Floats are real. Bytes with at least one axis beside the samples are pixels: real, later scaled by 1/255. All other
    integers and booleans are indices.
    """
    sample = tuple(shape[1:])
    if dtype.kind == "f" or (dtype == np.uint8 and sample):
        return Spec(sample)
    return Spec(sample, role="index")
