"""Tensors of an ONNX file: the bytes of their numbers, wherever they are stored, compared with what they promise.

It is a part of the program reading_child.py, which loads nothing of the framework but what reading takes.
"""

from __future__ import annotations

import math
import os
import stat
from typing import Any

from ...schema.process_limits import Unreadable
from .dtypes import NAMES, TEXTS

MOST_NODES = 100_000  # of all graphs together
MOST_TENSORS = 100_000
MOST_TEXT = 16 << 20  # characters of all texts together
LONGEST_NAME = 4096  # characters
MOST_NUMBERS = 1 << 20  # in attributes
MOST_AXES = 32
DENSE = 64 << 20  # bytes of all sparse tensors together, once they are dense
PIECE = 16 << 20  # bytes that are copied at a time
REUSED = 4  # times that what lies outside may be asked for

# The field of a tensor that has numbers of a dtype where they are not raw; the others are in int32_data.
FIELDS = {
    "float32": "float_data",
    "int64": "int64_data",
    "float64": "double_data",
    "uint32": "uint64_data",
    "uint64": "uint64_data",
}
WORDS = {"float16": "uint16", "bfloat16": "uint16"}  # numbers of 16 bits, as int32_data has them


class Unsupported(Unreadable):
    """A file that is good, with something in it that is not read."""


class Stored:
    """One file while it is read: what it may still have, and the arrays that were found."""

    def __init__(self, path: str) -> None:
        self.folder = os.path.realpath(os.path.dirname(path) or ".")
        self.most = {"nodes": MOST_NODES, "tensors": MOST_TENSORS, "characters": MOST_TEXT, "numbers": MOST_NUMBERS}
        self.left = dict(self.most)
        self.dense = DENSE
        self.arrays: list[list[Any]] = []
        self.contents: list[Any] = []  # bytes, or (file, offset, length)
        self.outside: dict[str, int] = {}  # files, and their bytes
        self.asked = 0  # bytes of them

    def count(self, what: str, number: int = 1) -> None:
        """Count something. Errors   Unreadable where there is too much of it"""
        self.left[what] -= number
        if self.left[what] < 0:
            raise Unreadable(f"holds more than {self.most[what]} {what}")

    def text(self, value: str | bytes, where: str) -> str:
        """A text of the file."""
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                raise Unreadable(f"{where}: a text is not UTF-8") from None
        self.count("characters", len(value))
        return value

    def name(self, value: str, where: str) -> str:
        """A name of the file."""
        if len(value) > LONGEST_NAME:
            raise Unreadable(f"{where}: a name has {len(value)} characters")
        return self.text(value, where)

    def names(self, values: Any, where: str) -> list[str]:
        return [self.name(value, where) for value in values]

    # Tensors ----------------------------------------------------------------------------------------------------------

    def tensor(self, proto: Any, where: str) -> dict[str, Any]:
        """A TensorProto: {"array": its number}, or the texts that it holds."""
        self.count("tensors")
        shape = self.shape(proto.dims, where)
        count = math.prod(shape)
        if proto.HasField("segment"):
            raise Unsupported(f"{where} is stored in segments, which are not read")
        if proto.data_type == TEXTS:
            if len(proto.string_data) != count:
                raise Unreadable(f"{where} has {len(proto.string_data)} texts, its shape {shape} wants {count}")
            return {"texts": [self.text(each, where) for each in proto.string_data], "shape": shape}
        if proto.data_type not in NAMES:
            known = ", ".join([*NAMES.values(), "texts"])
            raise Unsupported(f"{where} holds {type_name(proto.data_type)}, which is not read; read are {known}")
        dtype = NAMES[proto.data_type]
        size = count * item_size(dtype)
        content: Any
        if proto.data_location == 1:
            content = self.external(proto, size, where)
        elif proto.HasField("raw_data"):
            content = proto.raw_data
            self.demand_size(where, dtype, shape, len(content), size)
        else:
            content = self.typed(getattr(proto, FIELDS.get(dtype, "int32_data")), dtype, count, where)
        return self.add(dtype, shape, content)

    def shape(self, dims: Any, where: str) -> list[int]:
        shape = list(dims)
        if len(shape) > MOST_AXES:
            raise Unreadable(f"{where} has more than {MOST_AXES} axes")
        if any(n < 0 for n in shape) or math.prod(max(1, n) for n in shape) >= 2**48:
            raise Unreadable(f"{where}: the sizes {' x '.join(map(str, shape))} are out of range")
        return shape

    def demand_size(self, where: str, dtype: str, shape: list[int], have: int, want: int) -> None:
        if have != want:
            raise Unreadable(f"{where} has {have} bytes, its shape {shape} of {dtype} wants {want}")

    def typed(self, values: Any, dtype: str, count: int, where: str) -> bytes:
        """The bytes of numbers that are stored one by one."""
        import numpy as np

        if len(values) != count:
            raise Unreadable(f"{where} has {len(values)} numbers, its shape wants {count}")
        kind = np.dtype(WORDS.get(dtype, dtype))
        widest = "f8" if kind.kind == "f" else "u8" if kind.kind == "u" and kind.itemsize > 2 else "i8"
        wide = np.fromiter(values, widest, count)
        if kind.kind != "f" and count:
            low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
            if wide.min() < low or wide.max() > high:
                raise Unreadable(f"{where} holds numbers that are no {dtype}")
        with np.errstate(all="ignore"):
            return wide.astype(kind).astype(kind.newbyteorder("<")).tobytes()

    def add(self, dtype: str, shape: list[int], content: Any) -> dict[str, Any]:
        self.arrays.append([dtype, shape])
        self.contents.append(content)
        return {"array": len(self.arrays) - 1}

    def sparse(self, proto: Any, where: str) -> dict[str, Any]:
        """A SparseTensorProto as a tensor with all of its zeros."""
        import numpy as np

        values, places = self.tensor(proto.values, where), self.tensor(proto.indices, where)
        if "texts" in values or "texts" in places:
            raise Unreadable(f"{where}: a sparse tensor of texts")
        at, by = values["array"], places["array"]
        (dtype, count), (kind, form) = self.arrays[at], self.arrays[by]
        shape = self.shape(proto.dims, where)
        self.dense -= math.prod(shape) * item_size(dtype)
        if self.dense < 0:
            raise Unsupported(f"{where}: sparse tensors of more than {DENSE >> 20} MiB in all are not read")
        contents = [self.contents[at], self.contents[by]]
        if any(isinstance(each, tuple) for each in contents) or kind != "int64" or len(count) != 1:
            raise Unreadable(f"{where}: a sparse tensor whose values or places are not stored as they should be")
        number, index = count[0], np.frombuffer(contents[1], "<i8").reshape(form)
        if form not in ([number], [number, len(shape)]):
            raise Unreadable(f"{where}: {number} values with places of the shape {form}")
        if index.ndim == 2:
            if number and ((index < 0) | (index >= np.array(shape, np.int64))).any():
                raise Unreadable(f"{where}: places outside of the shape {shape}")
            index = np.ravel_multi_index(tuple(index.T), shape) if number else np.zeros(0, np.int64)
        elif number and (index.min() < 0 or index.max() >= math.prod(shape)):
            raise Unreadable(f"{where}: places outside of the shape {shape}")
        whole = np.zeros(math.prod(shape), f"V{item_size(dtype)}")
        whole[index] = np.frombuffer(contents[0], whole.dtype)
        self.contents[at], self.contents[by] = whole.tobytes(), b""
        self.arrays[at], self.arrays[by] = [dtype, shape], ["int64", [0]]
        return values

    def external(self, proto: Any, size: int, where: str) -> tuple[str, int, int]:
        """Where the bytes of a tensor lie in a file below the folder: the file, offset and length."""
        said = {}
        for entry in proto.external_data:
            said[self.text(entry.key, where)] = self.text(entry.value, where)
        name = said.get("location", "")
        parts = name.replace("\\", "/").split("/")
        if not name or os.path.isabs(name) or ".." in parts or ":" in parts[0] or "\0" in name:
            raise Unreadable(f"{where}: its data lie in '{short(name)}', which is no path below the file's folder")
        path = os.path.realpath(os.path.join(self.folder, name))
        if os.path.commonpath([self.folder, path]) != self.folder:
            raise Unreadable(f"{where}: its data lie in '{short(name)}', a link that leads out of the file's folder")
        if path not in self.outside:
            try:
                status = os.stat(path)
            except OSError as problem:
                raise Unreadable(f"{where}: its data lie in '{short(name)}': {problem.strerror}") from None
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable(f"{where}: its data lie in '{short(name)}', which is no ordinary file")
            self.outside[path] = status.st_size
        offset, length = whole_number(said.get("offset", "0")), whole_number(said.get("length", str(size)))
        if offset is None or length != size or offset + size > self.outside[path]:
            have = f"has {self.outside[path]} bytes"
            told = f"'{said.get('length', size)}' bytes from '{said.get('offset', 0)}' on"
            raise Unreadable(f"{where}: {short(told)} in '{short(name)}', which {have}; its shape wants {size}")
        self.asked += size
        if self.asked > REUSED * sum(self.outside.values()):
            raise Unreadable(f"{where}: tensors use the same bytes of '{short(name)}' more than {REUSED} times")
        return path, offset, size

    def write(self, out: Any) -> None:
        """Write the bytes of the arrays."""
        for content in self.contents:
            if not isinstance(content, tuple):
                out.write(content)
                continue
            path, offset, left = content
            with open(path, "rb") as file:
                file.seek(offset)
                while left:
                    piece = file.read(min(left, PIECE))
                    if not piece:
                        raise OSError(f"{path} changed while it was read")
                    out.write(piece)
                    left -= len(piece)


def short(text: str) -> str:
    """What is told of a name."""
    return text if len(text) <= 100 else f"{text[:100]}..."


def item_size(dtype: str) -> int:
    """The bytes of a number."""
    import numpy as np

    return np.dtype(WORDS.get(dtype, dtype)).itemsize


def whole_number(text: str) -> int | None:
    """A number of bytes, from decimal digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def type_name(number: int) -> str:
    """What ONNX calls a type of tensors."""
    import onnx

    try:
        return onnx.TensorProto.DataType.Name(number).lower()
    except ValueError:
        return f"the unknown type {number}"
