"""Readers: how samples come from what people have, in training and ever after.

Every source has one. It holds whatever training found out about its files - the order of columns, the numbers of words,
the size of images - and travels in checkpoints as plain values: a prediction reads a file, or an object of Python, as
training did, and needs none of the training data for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ..arrays.spec import Spec, parse_specs, plain_specs
from ..schema.errors import DataError
from .kinds import Kind

Blobs = dict[str, Any]  # raw samples by blob, with the samples along the first axis


class Reader:
    """Base of all readers: raw samples of some blobs, out of a file or an object, still to be transformed.

    specs   one sample of each blob that the source gives, targets included (no batch axis)
    """

    kind: ClassVar[str]
    suffix: ClassVar[str] = ".csv"  # what a text on standard input is read as

    def __init__(self, specs: Mapping[str, Spec]) -> None:
        self.specs = dict(specs)

    def read(self, path: Path, blobs: Sequence[str], seen: Mapping[str, Kind]) -> Blobs:
        """The samples of a file.

        blobs   those that are wanted: inputs of the net; targets need not be in the file
        seen    what training saw of them, as far as that is known

        Errors   DataError where the file cannot be read, or its samples are not as training's
        """
        raise NotImplementedError(f"{type(self).__name__} has no read(path, blobs, seen)")

    def convert(self, value: Any, blobs: Sequence[str], seen: Mapping[str, Kind]) -> tuple[Blobs, bool]:
        """The samples that an object of Python holds, and whether it is a single one without an axis of samples.

        Errors   DataError for an object that holds none, and for samples that are not as training's
        """
        raise NotImplementedError(f"{type(self).__name__} has no convert(value, blobs, seen)")

    def plain_sample(self, value: Any, blob: str) -> np.ndarray | None:
        """What `convert` makes of a single sample that is just as it should be: what is asked for most often, quickly.

        None for anything else, which `convert` understands or refuses.
        """
        return None

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the values that the net predicts, where these are known."""
        return ()

    def columns_of(self, blob: str) -> tuple[str, ...]:
        """The names of the elements of a sample, where they have names."""
        return ()

    def in_own_units(self, values: np.ndarray) -> np.ndarray:
        """Predicted values in the units of the target, where training scaled it."""
        return values

    def plain(self) -> dict[str, Any]:
        """Everything as plain values, for a file."""
        return {"kind": self.kind, "blobs": plain_specs(self.specs)}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """From what `plain` wrote. Errors   KeyError, TypeError or ValueError where it is something else"""
        return cls(parse_specs(values["blobs"]))


def demand_blobs(reader: Reader, blobs: Sequence[str]) -> None:
    """DataError where a reader does not give a blob."""
    for name in blobs:
        if name not in reader.specs:
            raise DataError(f"the data of training have no '{name}'", hint=f"they have: {', '.join(reader.specs)}")


def demand_values(value: Any, blobs: Sequence[str], known: Mapping[str, Spec]) -> None:
    """DataError where an object does not hold a value for each of several blobs, by name.

    known   the blobs whose values may be there, too, and are passed over
    """
    if isinstance(value, Mapping):
        missing, unknown = [n for n in blobs if n not in value], [n for n in value if n not in known]
        if missing or unknown:
            what = f"no '{missing[0]}'" if missing else f"an unknown '{unknown[0]}'"
            raise DataError(f"the samples have {what}", hint=f"inputs of the net: {', '.join(blobs)}")
    elif len(blobs) != 1:
        hint = "give a mapping with a value for each of them"
        raise DataError(f"the net has the inputs {', '.join(blobs)}", hint=hint)


def of_blob(value: Any, blob: str) -> Any:
    """What an object holds for a blob: the whole of it, or what a mapping has under that name."""
    return value[blob] if isinstance(value, Mapping) else value
