"""A message knows its defaults, its places, and what of it was read."""

from __future__ import annotations

import numpy as np
import pytest

from layerforge.interop.caffe import fields, text
from layerforge.interop.caffe.message import Message, single


def test_what_is_not_set_has_caffes_values() -> None:
    layer = Message("LayerParameter")
    assert layer.get("name") == ""
    assert layer.get("bottom") == []
    assert layer.get("lrn_param").get("beta") == 0.75
    assert layer.get("phase") == "TRAIN"
    assert layer.get("phase", None) is None
    assert Message("NetState").get("phase") == "TEST"
    assert Message("BlobProto").get("data").dtype == np.float32
    assert not layer.values
    assert Message("ScaleParameter").get("num_axes") == 1
    assert Message("SolverParameter").get("momentum2") == 0.999


def test_names_that_do_not_exist_are_mistakes_of_the_program() -> None:
    for action in (lambda m: m.get("nmae"), lambda m: m.has("nmae"), lambda m: m.set("nmae", 1)):
        with pytest.raises(KeyError, match="LayerParameter has no field nmae"):
            action(Message("LayerParameter"))
    with pytest.raises(KeyError, match="no message Layer"):
        Message("Layer")


def test_what_was_never_read_is_listed_with_its_place() -> None:
    content = """layer { name: "a" type: "Pooling"
  pooling_param { pool: AVE engine: CAFFE }
  param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 } loss_weight: 1 }"""
    net = text.parse(content, "NetParameter", "n")
    assert [path for path, _ in net.unread()] == ["layer"]
    layer = net.get("layer")[0]
    layer.get("name"), layer.get("pooling_param").get("pool"), layer.has("type")
    layer.get("param")[1].get("lr_mult")
    assert layer.get("relu_param").get("negative_slope") == 0
    assert [(path, str(place)) for path, place in net.unread()] == [
        ("layer[0].pooling_param.engine", "n:2:29"),
        ("layer[0].param[0].lr_mult", "n:3:11"),
        ("layer[0].param[1].decay_mult", "n:3:43"),
        ("layer[0].loss_weight", "n:3:59"),
    ]
    assert layer.peek("loss_weight") == [1.0]
    assert len(net.unread()) == 4


def test_messages_are_equal_by_their_values() -> None:
    one, two = (text.parse("layer { name: 'a' blobs { data: [1, nan] } }", "NetParameter", f) for f in "ab")
    assert one == two
    assert one == one.copy()
    assert one != Message("NetParameter")
    assert Message("NetParameter") != Message("SolverState")
    two.get("layer")[0].get("blobs")[0].set("data", [1, 2])
    assert one != two
    assert Message("PowerParameter", shift=0.0) != Message("PowerParameter", shift=-0.0)
    assert Message("NetParameter", input=[]) == Message("NetParameter")


def test_a_copy_is_independent() -> None:
    net = text.parse("layer { name: 'a' bottom: 'x' pooling_param { stride: 2 } }", "NetParameter", "n")
    twin = net.copy()
    twin.get("layer")[0].get("pooling_param").set("stride", 3)
    twin.get("layer")[0].add("bottom", "y")
    twin.add("layer")
    assert net.get("layer")[0].get("pooling_param").get("stride") == 2
    assert net.get("layer")[0].get("bottom") == ["x"]
    assert str(twin.get("layer")[0].place("bottom")) == "n:1:19"
    assert len(net.get("layer")) == 1


@pytest.mark.parametrize("value", [0.1, 1e-5, 0.017, 1 / 3, 16777217.0, 3.4028235e38, 1e-45, -2.5, 0.0])
def test_single_is_the_shortest_name_of_a_number_of_32_bits(value: float) -> None:
    found = single(value)
    assert np.float32(found) == np.float32(value)
    assert len(repr(found)) <= len(repr(float(np.float32(value))))
    assert single(found) == found
    assert single(float(np.float32(value))) == found


def test_no_message_contains_itself() -> None:
    """The readers rely on it: the depth of what they know is bounded by the tables."""

    def depth(kind: str, above: tuple[str, ...]) -> int:
        assert kind not in above, f"{kind} contains itself"
        inner = {field.of for field in fields.MESSAGES[kind].values() if field.kind == "message"}
        return 1 + max((depth(one, (*above, kind)) for one in inner), default=0)

    assert max(depth(kind, ()) for kind in fields.MESSAGES) < 10


def test_the_tables_are_sound() -> None:
    for kind, table in fields.MESSAGES.items():
        numbers = [field.number for field in table.values() if field.number is not None]
        assert len(set(numbers)) == len(numbers), kind
        for field in table.values():
            assert field.default is None or field.kind != "enum" or field.default in fields.ENUMS[field.of]
            assert field.kind != "message" or field.of in fields.MESSAGES
