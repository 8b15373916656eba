"""What training saw of each input, and whether what comes later is of the same kind.

One transform serves train, val, test and predict: numbers in other units than training's would pass through it and give
wrong scores without a word. Their dtype, range and shape tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..schema.errors import DataError
from ..schema.params import parse_as

FAR = 20  # widths of training's range beyond its ends: no sample of the same units lies there ...
FEW = 0.01  # ... but for this share of all numbers
DARK = 100  # a picture whose largest number is this many times smaller than training's is in other units


@dataclass(frozen=True)
class Kind:
    """The samples of a blob before the transform: bytes or other numbers, their range, and the shape of one."""

    dtype: str
    low: float
    high: float
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: np.ndarray) -> Kind:
        """The kind of an array of samples.

        Errors   DataError where there are no numbers in it
        """
        if not array.size:
            raise DataError(f"there are no numbers in an array of the shape {array.shape}", hint="leave it out")
        return cls(str(array.dtype), float(array.min()), float(array.max()), tuple(array.shape[1:]))

    @classmethod
    def parse(cls, value: Any) -> Kind:
        """From what `plain` wrote; ValueError, TypeError or KeyError where it is something else."""
        shape = parse_as(list[int], value["shape"])
        return cls(str(value["dtype"]), parse_as(float, value["low"]), parse_as(float, value["high"]), tuple(shape))

    @property
    def plain(self) -> dict[str, Any]:
        """As plain values, for a file."""
        return {**asdict(self), "shape": list(self.shape)}

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
        if not array.size:
            return
        other = Kind.of(array)
        if other.shape != self.shape:
            raise self._unlike(name, where, f"samples of the shape {other.shape}", f"of the shape {self.shape}")
        if other.is_bytes != self.is_bytes:
            fix = "give whole numbers from 0 to 255, as uint8" if self.is_bytes else f"convert them to {self.dtype}"
            raise self._unlike(name, where, str(other), str(self), f"{fix}, in training's units")
        if not self.is_bytes and (self._is_far(array, other) or self._is_dark(other)):
            raise self._unlike(name, where, str(other), str(self), "give them in training's units")

    def _is_far(self, array: np.ndarray, other: Kind) -> bool:
        width = self.high - self.low
        low, high = self.low - FAR * width, self.high + FAR * width
        if not width or (low <= other.low and other.high <= high):
            return False
        return float(np.mean((array < low) | (array > high))) > FEW

    def _is_dark(self, other: Kind) -> bool:
        """Only where the numbers of a sample are of one sort, as pixels are; columns of a table have units each."""
        mine, theirs = (max(abs(k.low), abs(k.high)) for k in (self, other))
        return len(self.shape) > 1 and 0 < theirs * DARK <= mine

    @staticmethod
    def _unlike(name: str, where: str, came: str, seen: str, fix: str = "give them as training had them") -> DataError:
        return DataError(f"{where}: '{name}' is {came}, but training saw {seen}", hint=fix)


def kinds_of(meta: Mapping[str, Any], source: str) -> dict[str, Kind]:
    """The kinds that a checkpoint remembers; none where it is older than that.

    Errors   DataError where it holds something else
    """
    try:
        return {str(name): Kind.parse(value) for name, value in dict(meta.get("kinds") or {}).items()}
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{source} does not say what its inputs are", hint="take another checkpoint") from None
