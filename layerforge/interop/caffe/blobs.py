"""BlobProtos as arrays, and arrays as BlobProtos."""

from __future__ import annotations

import math

import numpy as np

from ...data.datum import MOST_AXES, RAW
from ...schema.errors import DataError
from . import fields
from .message import Message


def shape_of(blob: Message) -> tuple[int, ...] | None:
    """The shape that a BlobProto names, also as the four sizes of old files; None where it names none."""
    if blob.has("shape"):
        return tuple(blob.get("shape").get("dim"))
    sizes = ("num", "channels", "height", "width")
    found = [name for name in sizes if blob.has(name)]
    return tuple(blob.get(name) for name in sizes) if found else None


def array(blob: Message, what: str = "data") -> np.ndarray:
    """The numbers of a BlobProto in its shape: float32 or float64, read-only where they come from a file.

    what   "data", or "diff" for its gradient

    Errors   DataError with the blob's place where the shape and the numbers do not fit each other
    """
    values = _numbers(blob, what)
    shape = shape_of(blob)
    if shape is None:
        shape = () if len(values) == 1 else (len(values),)
    if len(shape) > MOST_AXES or any(size < 0 for size in shape):
        raise DataError(f"a blob has the shape {_shown(shape)}", place=blob.place())
    if math.prod(shape) != len(values):
        raise DataError(
            f"a blob of the shape {_shown(shape)} has {math.prod(shape)} numbers, but {len(values)} are stored",
            place=blob.place(),
        )
    return values.reshape(shape)


def _numbers(blob: Message, what: str) -> np.ndarray:
    """The numbers of a blob in a row, wherever they are stored."""
    if len(double := blob.get(f"double_{what}")):
        return double
    if len(plain := blob.get(what)) or not blob.has(f"raw_{what}"):
        return plain
    kind, raw = blob.get(f"raw_{what}_type"), blob.get(f"raw_{what}")
    form = RAW.get(fields.ENUMS["Type"][kind])  # of NVIDIA's fork
    if form is None:
        raise DataError(f"a blob holds numbers of the type {kind}, not weights", place=blob.place())
    if len(raw) % form.itemsize:
        raise DataError(f"a blob has {len(raw)} bytes of type {kind}", place=blob.place(f"raw_{what}"))
    values = np.frombuffer(raw, form)
    return values.astype(np.float32) if kind == "FLOAT16" else values


def _shown(shape: tuple[int, ...]) -> str:
    listed = " x ".join(str(size) for size in shape[:8]) or "()"
    return listed + (f" x ... of {len(shape)} axes" if len(shape) > 8 else "")


def blob(values: np.ndarray) -> Message:
    """The BlobProto of an array: float64 as double_data, all others as float32."""
    values = np.asarray(values)
    made, shape = Message("BlobProto"), Message("BlobShape")
    shape.set("dim", [int(size) for size in values.shape])
    made.values["shape"] = shape
    made.set("double_data" if values.dtype == np.float64 else "data", values)
    return made
