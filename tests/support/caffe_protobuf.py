"""Google's protobuf as the judge of Caffe's files: its classes of the messages of fields.py, and random messages."""

from __future__ import annotations

import functools
import importlib.util
import random
import struct
from typing import Any

import numpy as np

from layerforge.interop.caffe import fields
from layerforge.interop.caffe.fields import Field
from layerforge.interop.caffe.message import Message, single

from .tools import TOOLS, demand_that

NAMELESS = 20_000  # the numbers that fields without a known one get here; text does not show them
WORDS = ("", "conv1", "a/b c", "quote \" and ' and \\", "tab\tnew\nline\r", "\x00\x01\x7f", "grün 🐈", "x" * 300, "12")
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.1, 1e-5, 3e38, 1.5e-45, float("inf"), float("-inf"), float("nan"), 16777217.0, 1e7)


def demand_protobuf() -> None:
    """Go on where protobuf is installed."""
    there = importlib.util.find_spec("google") is not None and importlib.util.find_spec("google.protobuf") is not None
    demand_that(there, f"google.protobuf; {TOOLS}")


@functools.cache
def classes() -> dict[str, Any]:
    """protobuf's class of every message."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="caffe_test.proto", package="caffe", syntax="proto2")
    made = {kind: file.message_type.add(name=kind) for kind in fields.MESSAGES}
    for name, values in fields.ENUMS.items():
        owner, _, own = name.rpartition(".")
        enum = made[owner].enum_type.add(name=own) if owner else file.enum_type.add(name=own)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for kind, table in fields.MESSAGES.items():
        for index, field in enumerate(table.values()):
            entry = made[kind].field.add(name=field.name, number=field.number or NAMELESS + index)
            entry.label = entry.LABEL_REPEATED if field.repeated else entry.LABEL_OPTIONAL
            entry.type = getattr(entry, f"TYPE_{field.kind.upper()}")
            if field.of:
                entry.type_name = f".caffe.{field.of}"
            if field.packed:
                entry.options.packed = True
            if not field.repeated and field.kind != "message" and field.default:
                entry.default_value = str(field.default).lower() if field.kind == "bool" else str(field.default)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        kind: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{kind}")) for kind in fields.MESSAGES
    }


def random_message(rng: random.Random, kind: str, binary: bool, depth: int = 0) -> Message:
    """A message with some of its fields set; `binary`: only those whose number is known."""
    message = Message(kind)
    table = [field for field in fields.MESSAGES[kind].values() if field.number is not None or not binary]
    for field in rng.sample(table, min(len(table), rng.choice((0, 1, 2, 3, 5, 8)))):
        if field.kind == "message" and depth >= 4:
            continue
        if field.repeated:
            count = rng.choice((1, 1, 2, 3, 40 if field.kind != "message" else 3))
            message.set(field.name, [random_value(rng, field, binary, depth) for _ in range(count)])
        else:
            message.set(field.name, random_value(rng, field, binary, depth))
    return message


def random_value(rng: random.Random, field: Field, binary: bool, depth: int) -> Any:
    """A value of a field, often one at the end of its range."""
    kind = field.kind
    if kind == "message":
        return random_message(rng, field.of, binary, depth + 1)
    if kind == "enum":
        return rng.choice(list(fields.ENUMS[field.of]))
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "string":
        return rng.choice(WORDS)
    if kind == "bytes":
        return rng.randbytes(rng.choice((0, 1, 3, 200)))
    if kind in fields.INTEGERS:
        least, most = fields.INTEGERS[kind]
        return rng.choice((least, most, 0, 1, 127, 128, max(least, -1), rng.randint(least, most), rng.randrange(1000)))
    if kind == "float":
        bits = struct.unpack("<f", rng.randbytes(4))[0]
        value = rng.choice((*FLOATS, rng.gauss(0, 1), bits))
        return single(float("nan") if value != value else value)
    bits = struct.unpack("<d", rng.randbytes(8))[0]
    return rng.choice((*FLOATS, rng.gauss(0, 1), float("nan") if bits != bits else bits))


def to_protobuf(message: Message, other: Any = None) -> Any:
    """protobuf's message with the same values."""
    other = classes()[message.kind]() if other is None else other
    other.SetInParent()
    for name, value in message.values.items():
        field = fields.MESSAGES[message.kind][name]
        if field.kind == "message":
            for item in value if field.repeated else [value]:
                to_protobuf(item, getattr(other, name).add() if field.repeated else getattr(other, name))
            continue
        numbers = fields.ENUMS.get(field.of, {})
        items = [numbers.get(v, v) if numbers else v for v in (value if field.repeated else [value])]
        if field.dtype is not None:
            items = np.asarray(value).tolist()
        if field.repeated:
            getattr(other, name).extend(items)
        else:
            setattr(other, name, items[0])
    return other


def from_protobuf(other: Any, kind: str) -> Message:
    """The message with the values of protobuf's."""
    message = Message(kind)
    for descriptor, value in other.ListFields():
        field = fields.MESSAGES[kind][descriptor.name]
        items = [_value(field, item) for item in (value if field.repeated else [value])]
        message.set(field.name, items if field.repeated else items[0])
    return message


def _value(field: Field, value: Any) -> Any:
    if field.kind == "message":
        return from_protobuf(value, field.of)
    if field.kind == "enum":
        return fields.VALUES[field.of][value]
    return single(value) if field.kind == "float" and field.dtype is None else value
