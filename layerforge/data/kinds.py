"""What training saw of each input, and whether what comes later is of the same kind.

One transform serves train, val, test and predict: numbers in other units than training's would pass through it and give
wrong scores without a word. Their dtype, range, shape and usual sizes tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..arrays.sparse import CSR, stored
from ..schema.errors import DataError
from ..schema.params import parse_as
from .lazy import Lazy, at_hand

FAR = 20  # widths of training's range beyond its ends: no sample of the same units is there ...
FEW = 0.01  # ... but for this share of all values
OUTSIDE = 3  # widths beyond which there are ...
SOME = 0.05  # ... outliers at most: not more than this share of all values,
ENOUGH = 8  # and not more than a few values at all; so many are needed for a judgement
NEGATIVE = 0.25  # widths below 0, for values of one sort of which training had none below 0
DARK = 100  # a picture whose largest number is this many times smaller than training's is in other units
MANY = 16  # columns that may be one sort of number, as pixels in a row are
MOST_COLUMNS = 1000  # of which each has a usual size of its own
MOST_NUMBERS = 1_000_000  # that the usual sizes are taken from


@dataclass(frozen=True)
class Kind:
    """The samples of a blob before the transform: bytes or other numbers, their range, and the shape of one.

    typical   of samples with one axis: the median size |x| of the elements that are not 0, per column (0: there are
              none); of all columns together where they are many. () of other samples, and where it is not known
    """

    dtype: str
    low: float
    high: float
    shape: tuple[int, ...]
    typical: tuple[float, ...] = ()

    @classmethod
    def of(cls, array: np.ndarray) -> Kind:
        """The kind of an array of samples; of a Lazy as a few of them tell, unless it is to be measured.

        Errors   DataError where there are no numbers in it
        """
        if isinstance(array, Lazy) and array.is_measured:
            return cls._measured(array)
        array = at_hand(array)
        if isinstance(array, CSR):  # most of its values are 0
            low, high = (float(end(array.data, initial=0.0)) for end in (np.min, np.max))
            return cls(str(array.dtype), low, high, tuple(array.shape[1:]))
        if not array.size:
            raise DataError(f"there are no numbers in an array of the shape {array.shape}", hint="leave it out")
        typical = _typical(array) if array.ndim == 2 else ()
        return cls(str(array.dtype), float(array.min()), float(array.max()), tuple(array.shape[1:]), typical)

    @classmethod
    def _measured(cls, lazy: Lazy) -> Kind:
        """As of the same samples in memory, which are gone through once."""
        low, high, step, kept = np.inf, -np.inf, _step(lazy.shape), []
        size = max(1, MOST_NUMBERS // lazy.shape[1])
        for start in range(0, len(lazy), size):
            some = lazy[start : start + size]
            low, high = min(low, float(some.min())), max(high, float(some.max()))
            kept.append(some[-start % step :: step].copy())  # a view would hold all of them
        return cls(str(lazy.dtype), low, high, tuple(lazy.shape[1:]), _typical(np.concatenate(kept)))

    @classmethod
    def parse(cls, value: Any) -> Kind:
        """From what `plain` wrote; ValueError, TypeError or KeyError where it is something else."""
        shape = parse_as(list[int], value["shape"])
        low, high = (parse_as(float, value[end]) for end in ("low", "high"))
        dtype = np.dtype(str(value["dtype"]))
        if dtype.kind not in "biuf":
            raise ValueError(dtype)
        return cls(dtype.name, low, high, tuple(shape), tuple(parse_as(list[float], value.get("typical", []))))

    @property
    def plain(self) -> dict[str, Any]:
        """As plain values, for a file."""
        return {**asdict(self), "shape": list(self.shape), "typical": list(self.typical)}

    @property
    def is_bytes(self) -> bool:
        """Bytes are scaled by 1/255, other numbers are not."""
        return self.dtype == "uint8"

    def __str__(self) -> str:
        return f"{self.dtype} from {self.low:g} to {self.high:g}"

    def check(self, name: str, array: np.ndarray, where: str) -> None:
        """DataError where samples of a blob are of another kind than those that training saw.

        where   what holds the samples, for the message
        """
        array = at_hand(array)
        if self._plainly_fits(array):
            return
        numbers = stored(array)
        if not numbers.size:
            return
        other = Kind.of(array)
        if other.shape != self.shape:
            raise self._unlike(name, where, f"samples of the shape {other.shape}", f"of the shape {self.shape}")
        if other.is_bytes != self.is_bytes:
            fix = "give whole numbers from 0 to 255, as uint8" if self.is_bytes else f"convert them to {self.dtype}"
            raise self._unlike(name, where, str(other), str(self), f"{fix}, in training's units")
        if self._is_far(numbers, other) or self._is_dark(other) or self._is_rescaled(numbers, other):
            raise self._unlike(name, where, str(other), str(self), "give them in training's units")

    def _plainly_fits(self, array: Any) -> bool:
        """Whether a look at dtype, shape and range is enough, as it is for nearly every single sample."""
        dtype, bytes_from_0, columns, least = self._thresholds
        if type(array) is not np.ndarray or array.shape[1:] != self.shape or array.dtype != dtype or not array.size:
            return False
        if columns and array.size >= ENOUGH:  # usual sizes of columns are compared
            return False
        high = float(np.maximum.reduce(array, axis=None))
        low = 0.0 if bytes_from_0 else float(array.min())
        if low < self.low or high > self.high:
            return False
        return high > least or -low > least or high == low == 0

    @cached_property
    def _thresholds(self) -> tuple[np.dtype, bool, bool, float]:
        """Dtype; whether these are bytes from 0 on; whether there are columns; and what is large enough, for images."""
        least = max(abs(self.low), abs(self.high)) / DARK if len(self.shape) > 1 else -1.0
        return np.dtype(self.dtype), self.is_bytes and self.low == 0, len(self.shape) == 1, least

    @property
    def is_of_one_sort(self) -> bool:
        """Whether the elements of a sample are of one sort, as pixels are; columns of a table have units each."""
        if len(self.shape) != 1:
            return len(self.shape) > 1
        sizes = np.array([size for size in self.typical if size])
        if self.shape[0] < MANY or not len(sizes):
            return False
        return bool(np.mean(np.abs(np.log10(sizes / np.median(sizes))) < 1) > 0.9)

    def _is_far(self, array: np.ndarray, other: Kind) -> bool:
        width = self.high - self.low
        if not width or (self.low <= other.low and other.high <= self.high):
            return False
        far = _beyond(array, self.low - FAR * width, self.high + FAR * width)
        if self.is_bytes or far > FEW * array.size:  # bytes go to 255, whatever training saw of them
            return far > FEW * array.size
        below = above = OUTSIDE
        if self.is_of_one_sort:
            below, above = (NEGATIVE if self.low >= 0 else 1), 1
        outside = _beyond(array, self.low - below * width, self.high + above * width)
        return outside >= ENOUGH and outside > SOME * array.size

    def _is_dark(self, other: Kind) -> bool:
        """Only pictures: among the columns of a table one may be large, and 0 in what comes."""
        mine, theirs = (max(abs(k.low), abs(k.high)) for k in (self, other))
        return len(self.shape) > 1 and 0 < theirs * DARK <= mine

    def _is_rescaled(self, array: np.ndarray, other: Kind) -> bool:
        """Whether most columns of a table have other sizes than in training, all of them the same way."""
        if not self.typical or len(self.typical) != len(other.typical) or np.count_nonzero(array) < ENOUGH:
            return False
        ratios = [theirs / mine for mine, theirs in zip(self.typical, other.typical, strict=True) if mine and theirs]
        return bool(ratios) and not 1 / DARK < float(np.median(ratios)) < DARK

    @staticmethod
    def _unlike(name: str, where: str, came: str, seen: str, fix: str = "give them as training had them") -> DataError:
        return DataError(f"{where}: '{name}' is {came}, but training saw {seen}", hint=fix)


def _beyond(array: np.ndarray, low: float, high: float) -> int:
    """How many elements are outside of a range."""
    return int(np.count_nonzero((array < low) | (array > high)))


def _typical(array: np.ndarray) -> tuple[float, ...]:
    """The median size of the elements that are not 0, per column or of all of them, from rows in equal steps."""
    sizes = np.abs(array[:: _step(array.shape)].astype(np.float64))
    columns = sizes.T if array.shape[1] <= MOST_COLUMNS else [sizes.ravel()]
    return tuple(float(np.median(column[column > 0])) if (column > 0).any() else 0.0 for column in columns)


def _step(shape: tuple[int, ...]) -> int:
    """From one row to the next, of those that the usual sizes are taken from."""
    return -(-shape[0] // max(1, MOST_NUMBERS // shape[1]))


def kinds_of(meta: Mapping[str, Any], source: str) -> dict[str, Kind]:
    """The kinds that a checkpoint remembers; none where it is older than that.

    Errors   DataError where it holds something else
    """
    try:
        return {str(name): Kind.parse(value) for name, value in dict(meta.get("kinds") or {}).items()}
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{source} does not say what its inputs are", hint="take another checkpoint") from None
