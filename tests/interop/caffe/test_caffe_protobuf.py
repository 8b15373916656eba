"""Reading and writing of Caffe's files agrees with Google's protobuf."""

from __future__ import annotations

import random

import numpy as np
import pytest
from support.caffe_protobuf import classes, demand_protobuf, from_protobuf, random_message, to_protobuf

from layerforge.interop.caffe import binary, fields, text
from layerforge.interop.caffe.message import single

KINDS = sorted(fields.MESSAGES)
MANY = ("NetParameter", "LayerParameter", "V1LayerParameter", "SolverParameter", "SolverState", "BlobProto", "Datum")
PARTS = 8


def drawn(part: int, count: int, is_binary: bool) -> list:
    """Random messages: of all kinds in turn, and as many again of those that files hold."""
    rng = random.Random(f"{part}/{is_binary}")
    kinds = [KINDS[(part * count + i) % len(KINDS)] if i % 2 else rng.choice(MANY) for i in range(count)]
    return [random_message(rng, kind, is_binary) for kind in kinds]


@pytest.mark.parametrize("part", range(PARTS))
def test_bytes_are_those_of_protobuf_and_so_is_what_is_read(part: int) -> None:
    demand_protobuf()
    for message in drawn(part, 2000 // PARTS, True):
        theirs = to_protobuf(message)
        ours = binary.serialize(message)
        assert ours == theirs.SerializeToString(deterministic=True)
        assert binary.parse(ours, message.kind) == message
        assert from_protobuf(classes()[message.kind].FromString(ours), message.kind) == message


@pytest.mark.parametrize("part", range(PARTS))
def test_texts_mean_the_same_in_both_directions(part: int) -> None:
    demand_protobuf()
    from google.protobuf import text_format

    for message in drawn(part, 2000 // PARTS, False):
        theirs = to_protobuf(message)
        written = text_format.MessageToString(theirs, as_one_line=part % 2 == 1)
        assert text.parse(written, message.kind) == message
        read = text_format.Parse(text.render(message), classes()[message.kind]())
        assert from_protobuf(read, message.kind) == message


def test_fields_that_are_not_set_have_the_values_of_protobuf() -> None:
    demand_protobuf()
    for kind, table in fields.MESSAGES.items():
        empty = classes()[kind]()
        for field in table.values():
            if field.repeated or field.kind == "message":
                continue
            theirs = getattr(empty, field.name)
            if field.kind == "enum":
                theirs = fields.VALUES[field.of][theirs]
            assert field.default == (single(theirs) if field.kind == "float" else theirs), (kind, field.name)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "one by one"])
@pytest.mark.parametrize("name", ["data", "double_data", "shape"])
def test_numbers_are_read_packed_or_not(name: str, packed: bool) -> None:
    """Writers of other programs do not pack what Caffe's do, and the other way round."""
    demand_protobuf()
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="one.proto", package="one", syntax="proto2")
    kind = "BlobShape" if name == "shape" else "BlobProto"
    field = fields.MESSAGES[kind]["dim" if name == "shape" else name]
    entry = file.message_type.add(name="M").field.add(name="x", number=field.number, label=3)
    entry.type = getattr(entry, f"TYPE_{field.kind.upper()}")
    entry.options.packed = packed
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    other = message_factory.GetMessageClass(pool.FindMessageTypeByName("one.M"))()
    numbers = np.random.default_rng(3).integers(0, 1 << 20, 1000).tolist()
    other.x.extend(numbers)
    ours = binary.parse(other.SerializeToString(), kind).get(field.name)
    assert list(ours) == numbers
    assert packed == (len(other.SerializeToString()) < 1000 * {"float": 5, "double": 9, "int64": 3}[field.kind])


def test_a_message_given_in_two_pieces_is_merged() -> None:
    demand_protobuf()
    rng = random.Random(5)
    for _ in range(200):
        kind = rng.choice(MANY)
        content = b"".join(binary.serialize(random_message(rng, kind, True)) for _ in range(2))
        theirs = from_protobuf(classes()[kind].FromString(content), kind)
        assert binary.parse(content, kind) == theirs
