"""CIFAR10: 32 x 32 colour images of ten classes, in binary records."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from ..arrays.spec import Spec, index
from ..schema.registry import register_source
from . import fetch
from .files import ByteFile, file_error, shared
from .source import Source

SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE  # a label, then the red, green and blue planes
MOST_RECORDS = 100_000  # in one file; the published ones hold 10,000
REMEDY = "delete the file: the set is downloaded again at the next start"


@register_source
class CIFAR10(Source):
    """CIFAR-10 (Krizhevsky 2009): blobs `image` (3, 32, 32) bytes, red, green, blue, and `label` 0 to 9.

    50,000 in `train` (the files data_batch_*.bin, also .gz; fewer files are a smaller set), 10,000 in `test`
    (test_batch.bin). Downloaded (170 MB) where the files are not here.
    """

    parts = ("train", "test")
    files = fetch.CIFAR10
    published: ClassVar[dict[str, int]] = {"train": 50_000, "test": 10_000}
    class_names = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip

    def specs(self) -> dict[str, Spec]:
        return {"image": Spec((3, SIDE, SIDE)), "label": index((), 10)}

    def count(self, part: str) -> int | None:
        here = fetch.locate(self.files, self.files.parts[part][0])
        if not here or any(path.suffix == ".gz" for path in here):  # how many are in one shows when it is unpacked
            return None
        return sum(path.stat().st_size for path in here) // RECORD or None

    def prepare(self, progress: bool | None = None) -> None:
        fetch.ensure(self.files, self.part, progress)

    def read(self, part: str, progress: bool | None = None) -> dict[str, np.ndarray]:
        (paths,) = fetch.ensure(self.files, part, progress)
        records = [shared(read_records, path) for path in paths]
        together = records[0] if len(records) == 1 else np.concatenate(records)
        return {"image": together[:, 1:].reshape(-1, 3, SIDE, SIDE), "label": together[:, 0]}


def read_records(path: str | Path) -> np.ndarray:
    """The records of one file, (N, 3073) bytes.

    Errors   DataError where the file is not a whole number of records or a label is not 0 to 9
    """
    with ByteFile(path, REMEDY) as file:
        data = file.rest(MOST_RECORDS * RECORD, "records")
    if len(data) % RECORD or not len(data):
        message = f"{len(data)} bytes are no whole number of records of {RECORD} (a label and 3 x 32 x 32 bytes)"
        raise file_error(path, message, REMEDY)
    records = data.reshape(-1, RECORD)
    worst = int(records[:, 0].argmax())
    if records[worst, 0] > 9:
        raise file_error(path, f"label {records[worst, 0]} of record {worst} is out of range 0 to 9", REMEDY)
    return records
