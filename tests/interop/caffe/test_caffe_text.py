"""Prototxt is read with the place of everything, and what is wrong with it is said with line and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.caffe_files import caffe_folder

from layerforge.interop.caffe import text
from layerforge.interop.caffe.message import Message
from layerforge.schema.errors import ConfigError, ConfigErrors, DataError, LayerForgeError

NET = """\
# a net
name: "n" input: 'data'
layer {
  name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param: < num_output: 20, kernel_size: [3, 5]; weight_filler { type: "xavier" std: .5f } >
  include { phase: TEST } include [{ phase: 0 }, { stage: "a" "b" }]
  my_param { depth: 3 inner < a: "}" > list: [1, {x: -inf}] }
  propagate_down: t propagate_down: 0
}
"""


def layer_of(content: str) -> Message:
    return text.parse(f"layer {{ {content} }}", "NetParameter", "n.prototxt").get("layer")[0]


def test_a_net_is_read() -> None:
    net = text.parse(NET, "NetParameter", "n.prototxt")
    layer = net.get("layer")[0]
    convolution = layer.get("convolution_param")
    assert (net.get("name"), net.get("input"), layer.get("type")) == ("n", ["data"], "Convolution")
    assert convolution.get("kernel_size") == [3, 5]
    assert convolution.get("weight_filler").get("std") == 0.5
    assert convolution.get("bias_term") is True
    assert convolution.get("bias_filler").get("type") == "constant"
    assert [rule.get("phase", None) for rule in layer.get("include")] == ["TEST", "TRAIN", None]
    assert layer.get("include")[2].get("stage") == ["ab"]
    assert layer.get("propagate_down") == [True, False]
    assert layer.get("pooling_param").get("pool") == "MAX"
    assert not layer.has("pooling_param")


def test_everything_has_a_place() -> None:
    layer = text.parse(NET, "NetParameter", "n.prototxt").get("layer")[0]
    assert str(layer.place()) == "n.prototxt:3:1"
    assert str(layer.place("type")) == "n.prototxt:4:13"
    assert str(layer.place("include", 1)) == "n.prototxt:6:27"
    assert str(layer.get("convolution_param").place("num_output")) == "n.prototxt:5:24"
    assert layer.place("type").excerpt("here").splitlines()[1].index("^") == 7 + 12


def test_unknown_fields_are_kept_with_their_text() -> None:
    net = text.parse(NET, "NetParameter", "n.prototxt")
    ((path, unknown),) = net.all_unknown()
    assert (path, unknown.name, str(unknown.place)) == ("layer[0].", "my_param", "n.prototxt:7:3")
    assert unknown.raw == '{ depth: 3 inner < a: "}" > list: [1, {x: -inf}] }'
    assert text.parse(text.render(net), "NetParameter").all_unknown()[0][1].raw == unknown.raw


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-5", 1e-5), ("1.", 1.0), (".5", 0.5), ("-3", -3.0), ("- 2.5F", -2.5), ("inf", np.inf), ("-Infinity", -np.inf),
     ("0.1234567890123", 0.12345679), ("0.33333333", 0.33333334), ("1e40", np.inf), ("1e-50", 0.0), ("7f", 7.0)],
)  # fmt: skip
def test_numbers(written: str, value: float) -> None:
    """A value of 32 bits is the shortest decimal that names it."""
    assert layer_of(f"power_param {{ shift: {written} }}").get("power_param").get("shift") == value


@pytest.mark.parametrize(("written", "value"), [("010", 8), ("0x1F", 31), ("0", 0), ("-7", -7), ("- 0x10", -16)])
def test_whole_numbers(written: str, value: int) -> None:
    assert layer_of(f"concat_param {{ axis: {written} }}").get("concat_param").get("axis") == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r'"a\n\t\\\"\'"', "a\n\t\\\"'"),
        (r"'\x41\102\u00e9\U0001F408'", "ABé🐈"),
        ("'a' \"b\"\n'c'", "abc"),
        ('"é#"', "é#"),
        (r"'\377'", "\\xff"),
    ],
)
def test_texts(written: str, value: str) -> None:
    assert layer_of(f"name: {written}").get("name") == value


def test_comments_in_other_encodings_do_no_harm() -> None:
    content = 'layer { # \u6d4b\u8bd5\n name: "c" }'.encode("gbk") + '\nname: "\u6d4b"'.encode("gbk")
    net = text.parse(text.decode(content), "NetParameter")
    assert net.get("layer")[0].get("name") == "c"
    assert net.get("name") == r"\xb2\xe2"
    assert text.parse(text.render(net), "NetParameter").get("name") == r"\xb2\xe2"


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        ("layer {\n name: 'a'\n", "1:7", "never closed"),
        ("layer { } }", "1:11", "a field of NetParameter, found '}'"),
        ("layer { name 'a' }", "1:14", "expected ':' after name"),
        ("layer: 3", "1:8", "expected '{' after layer"),
        ("name:\n}", "2:1", "name is a text in quotes, not '}'"),
        ("name: 'abc\nlayer {}", "1:7", "quote is missing"),
        ("layer { \u00e4: 1 }", "1:9", "a field of LayerParameter or '}', found '\u00e4'"),
        ("layer { x { y: [1, 2 } }", "1:22", "unexpected '}'"),
        ("layer { x }", "1:11", "after x"),
        ("name: 'a\\q'", "1:7", "no escape"),
        ("input_dim: [1, 2 3]", "1:18", "',' or ']' in a list"),
        ("layer { convolution_param { ] } }", "1:29", "found ']'"),
    ],
)
def test_damage_is_said_with_line_and_column(content: str, place: str, words: str) -> None:
    with pytest.raises(DataError) as failed:
        text.parse(content, "NetParameter", "n.prototxt")
    assert words in str(failed.value)
    assert str(failed.value).startswith(f"n.prototxt:{place}: ")
    assert failed.value.exit_code == 3


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        ("pooling_param { pool: LP }", "1:31", "pool has no value LP\n"),
        ("pooling_param { pool: 'MAX' }", "1:31", "pool is a word without quotes"),
        ("pooling_param { pool: 9 }", "1:31", "pool has no value 9"),
        ("pooling_param { kernel_size: cls3x }", "1:38", "kernel_size is a whole number, not cls3x"),
        ("pooling_param { kernel_size: 3.5 }", "1:38", "kernel_size is a whole number, not 3.5"),
        ("pooling_param { kernel_size: -1 }", "1:38", "kernel_size lies between 0 and 4294967295"),
        ("pooling_param { kernel_size: 08 }", "1:38", "kernel_size is a whole number, not 08"),
        ("pooling_param { global_pooling: yes }", "1:41", "global_pooling is true or false, not yes"),
        ("power_param { power: 'x' }", "1:30", "power is a number, not 'x'"),
        ("power_param { power: 1_000 }", "1:30", "power is a number, not 1_000"),
        ("type: ReLU", "1:15", "type is a text in quotes, not ReLU"),
        ("name: 'a' name: 'b'", "1:19", "name is given twice"),
        ("relu_param { } relu_param { }", "1:24", "relu_param is given twice"),
    ],
)
def test_values_that_do_not_fit_their_field(content: str, place: str, words: str) -> None:
    with pytest.raises(ConfigError) as failed:
        text.parse(f"layer {{ {content} }}", "NetParameter", "n.prototxt")
    assert words in str(failed.value)
    assert str(failed.value).startswith(f"n.prototxt:{place}: ")
    assert failed.value.exit_code == 2


def test_all_values_that_do_not_fit_are_told_of_together() -> None:
    content = "layer { pooling_param { pool: LP kernel_size: a stride: 2 } }\nlayer { power_param { power: b } }"
    with pytest.raises(ConfigErrors) as failed:
        text.parse(content, "NetParameter", "n")
    assert [str(e.place) for e in failed.value.errors] == ["n:1:31", "n:1:47", "n:2:30"]
    problems: list[LayerForgeError] = []
    net = text.parse(content, "NetParameter", "n", problems)
    assert [str(e.place) for e in problems] == ["n:1:31", "n:1:47", "n:2:30"]
    pooling = net.get("layer")[0].get("pooling_param")
    assert (pooling.has("pool"), pooling.get("stride")) == (False, 2)


def test_types_of_layers_that_forks_added_to_the_old_list_are_left_to_the_importer() -> None:
    assert text.parse("layers { type: ROI_POOLING }", "NetParameter").get("layers")[0].get("type") == "ROI_POOLING"


@pytest.mark.parametrize(("opening", "closing"), [("{ a ", "}"), ("< a: ", ">"), ("[", "]")])
def test_what_is_not_known_is_not_deeper_than_a_hundred(opening: str, closing: str) -> None:
    text.parse(f"x: {opening * 90}{{ }}{closing * 90}", "NetParameter")
    with pytest.raises(DataError, match="deep"):
        text.parse(f"x: {opening * 100_000}", "NetParameter")


def test_weights_in_text_become_arrays() -> None:
    blob = text.parse("data: 0.5 data: [1, -2e3] diff: nan shape { dim: 3 }", "BlobProto")
    assert blob.get("data").dtype == np.float32
    np.testing.assert_array_equal(blob.get("data"), np.array([0.5, 1, -2000], np.float32))
    assert np.isnan(blob.get("diff")).all()


TEMPLATES = ("deploy_template", "test_template", "train_template")


def test_real_nets_are_read_and_written() -> None:
    """45 of them; three are templates that hold words where numbers belong, all of which are told of."""
    paths = sorted((caffe_folder() / "prototxt").iterdir())
    assert len(paths) == 45
    unknown = set()
    for path in paths:
        problems: list[LayerForgeError] = []
        net = text.load(path, "NetParameter", problems)
        assert bool(problems) == any(name in path.name for name in TEMPLATES), path
        assert all("number, not cls" in str(problem) for problem in problems)
        assert net.has("layer") or net.has("layers")
        assert text.parse(text.render(net), "NetParameter") == net, path
        unknown |= {(path.name.split("__")[0], entry.name, entry.place.line) for _, entry in net.all_unknown()}
    assert not unknown


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "no.prototxt", "no such file"), (tmp_path, "folder")):
        with pytest.raises(DataError, match=words):
            text.load(path, "NetParameter")
