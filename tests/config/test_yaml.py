"""Our YAML: the core schema of YAML 1.2, refused where it is unclear, with the place of everything."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from layerforge.config import dump_yaml, load_yaml, parse_value, parse_yaml, yaml_file
from layerforge.config.yaml_file import MAX_DEPTH
from layerforge.schema.errors import ConfigError, ConfigErrors, LayerForgeError
from layerforge.schema.locations import Place, place_of


def value_of(text: str) -> object:
    return parse_yaml(f"key: {text}\n", "f.yaml")["key"]


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f.yaml")
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        (".5", 0.5),
        ("1.", 1.0),
        ("+12e03", 12000.0),
        ("-.inf", -math.inf),
        (".Inf", math.inf),
        ("0o17", 15),
        ("0x1F", 31),
        ("017", 17),
        ("-0", 0),
        ("+7", 7),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("190:20:30", "190:20:30"),
        ("2001-12-14", "2001-12-14"),
        ("0b11", "0b11"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("OFF", "OFF"),
        ("y", "y"),
        ("tRUE", "tRUE"),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("NULL", None),
        ("", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("''", ""),
        ("=", "="),
        ("!!str 12", "12"),
        ("!!float 3", 3.0),
        ('!!int "0x10"', 16),
        ("! 12", "12"),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    read = value_of(text)
    assert read == value
    assert type(read) is type(value)


def test_nan_is_read() -> None:
    assert math.isnan(value_of(".NaN"))


@pytest.mark.parametrize(
    "text", ["18446744073709551616", "-9223372036854775809", "0x" + "F" * 5000, "9" * 5000, "1e999"]
)
def test_numbers_that_do_not_fit_are_errors(text: str) -> None:
    assert "fit into 64 bits" in refused(f"a: {text}").message or "too large" in refused(f"a: {text}").message


def test_leading_zeros_do_not_count_against_the_size() -> None:
    assert value_of("0" * 5000 + "7") == 7


def test_every_value_knows_its_place() -> None:
    tree = parse_yaml("a:\n  - {name: fc1, out: [1, 22]}\nb: 'text'\n", "f.yaml")
    layer = tree["a"][0]
    assert place_of(layer, "out", of="key") == Place("f.yaml", 2, 17, "  - {name: fc1, out: [1, 22]}", 3)
    assert place_of(layer["out"], 1) == Place("f.yaml", 2, 26, "  - {name: fc1, out: [1, 22]}", 2)
    assert str(place_of(tree, "b")) == "f.yaml:3:4"
    assert place_of(tree, "b").length == 6
    assert str(place_of(tree["a"], 0)) == "f.yaml:2:5"


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_lines_are_counted_with_any_line_break(line_break: str) -> None:
    tree = parse_yaml(line_break.join(["a: 1", "", "b: 2", ""]), "f.yaml")
    assert place_of(tree, "b") == Place("f.yaml", 3, 4, "b: 2", 1)


def test_a_section_is_placed_at_its_name() -> None:
    tree = parse_yaml("solver:\n  lr: 1\n", "f.yaml")
    assert place_of(tree["solver"]) == Place("f.yaml", 1, 1, "solver:", 6)


def test_a_duplicate_key_names_both_places() -> None:
    assert str(refused("solver:\n  lr: 1\n  momentum: 2\n  lr: 3\n")) == (
        "f.yaml:4:3: the key 'lr' is given twice; first at line 2, column 3\n"
        "   4 |   lr: 3\n"
        "     |   ^^ remove one of the two"
    )


def test_errors_that_are_not_syntax_are_reported_together() -> None:
    error = refused("a: 1\na: 2\n1: x\n[b]: y\nc: !!python/object/apply:os.system ['true']\n")
    assert isinstance(error, ConfigErrors)
    assert [str(e.place) for e in error.errors] == ["f.yaml:2:1", "f.yaml:3:1", "f.yaml:4:1", "f.yaml:5:4"]
    assert "'!!python/object/apply:os.system' is not allowed" in error.errors[3].message


@pytest.mark.parametrize("tag", ["!!python/name:os.system", "!local", "!!binary", "!!timestamp", "!!set", "!<x>"])
def test_no_tag_but_those_of_the_core_schema(tag: str) -> None:
    assert "is not allowed" in refused(f"a: {tag} x").message


@pytest.mark.parametrize("text", ["!!int x", "!!bool 1", "!!str [1]", "!!seq {a: 1}", "!!null 0", "!!int true"])
def test_a_tag_must_fit_its_value(text: str) -> None:
    assert "does not fit" in refused(f"a: {text}").message


@pytest.mark.parametrize("key", ["1", "true", "~", "1.5", "[a]", "{a: 1}", "? "])
def test_keys_must_be_strings(key: str) -> None:
    assert "a key must be a string" in refused(f"{{{key} : 1}}").message


def test_words_that_are_booleans_elsewhere_are_fine_keys() -> None:
    assert parse_yaml("on: 1\nno: 2\ny: 3\n", "f") == {"on": 1, "no": 2, "y": 3}


def test_a_missing_space_after_the_colon_is_explained() -> None:
    error = refused("solver: {lr:0.1}\n")
    assert error.hint == "a space after the colon: lr: 0.1"


def test_aliases_are_copies_with_the_place_of_their_anchor() -> None:
    tree = parse_yaml("x-a: &a {k: [1]}\nb: *a\n", "f.yaml")
    assert tree["b"] == tree["x-a"]
    assert tree["b"]["k"] is not tree["x-a"]["k"]
    assert str(place_of(tree, "b")) == "f.yaml:2:4"
    assert str(place_of(tree["b"], "k")) == "f.yaml:1:13"


def test_the_merge_key_fills_in_what_is_not_given() -> None:
    text = "x-a: &a {p: 1, q: 2}\nx-b: &b {q: 3, r: 4}\nc: {<<: *a, p: 0}\nd: {<<: [*a, *b]}\n"
    tree = parse_yaml(text, "f.yaml")
    assert tree["c"] == {"p": 0, "q": 2}
    assert tree["d"] == {"p": 1, "q": 2, "r": 4}
    assert str(place_of(tree["c"], "q")) == "f.yaml:1:19"


def test_the_merge_key_wants_a_mapping() -> None:
    assert str(refused("a: {<<: 3}\n").place) == "f.yaml:1:9"


def test_a_quoted_merge_key_is_a_key() -> None:
    assert parse_yaml("a: {'<<': 3}\n", "f") == {"a": {"<<": 3}}


def test_an_alias_without_anchor_lists_the_anchors() -> None:
    error = refused("a: &width 3\nb: *widht\n")
    assert (str(error.place), error.hint) == ("f.yaml:2:4", "anchors: &width")


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "a: &a {b: {c: *a}}\n", "a: &a {*a : 1}\n"])
def test_an_alias_cannot_stand_inside_its_own_anchor(text: str) -> None:
    assert "inside the value that it repeats" in refused(text).message


def test_an_anchor_is_defined_once() -> None:
    assert "'&a' is defined twice" in refused("a: &a 1\nb: &a 2\n").message


@pytest.fixture
def few_nodes(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit on values that is reached sooner than the real one."""
    monkeypatch.setattr(yaml_file, "MAX_NODES", 2000)
    return 2000


@pytest.mark.parametrize("width", [2, 9])
def test_twenty_levels_of_aliases_end_quickly(width: int, few_nodes: int) -> None:
    lines = ["x-0: &a0 [x, y]"]
    lines += [f"x-{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, 21)]
    error = refused("\n".join(lines))
    assert f"more than {few_nodes} values" in error.message
    assert "aliases" in error.hint


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{", "!!seq ["])
def test_nesting_has_a_limit(opening: str) -> None:
    assert "nested more than" in refused(("a: " if opening[0] in "[{!" else "") + opening * 5000).message


def test_chains_of_aliases_cannot_nest_deeper_than_the_limit() -> None:
    lines = ["x-0: &a0 1", *(f"x-{i}: &a{i} [*a{i - 1}]" for i in range(1, MAX_DEPTH + 5))]
    assert "nested more than" in refused("\n".join(lines)).message


def test_a_configuration_with_many_values_has_a_limit(few_nodes: int) -> None:
    assert f"more than {few_nodes} values" in refused("a: [" + "1," * (few_nodes + 1) + "]").message


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("a: b: c\n", "1:5", "mapping values are not allowed here", "quote the value"),
        ("a:\n\tb: 1\n", "2:1", "found character '\\t'", "spaces, not tabs"),
        ("a: [1, 2\nb: 3\n", "2:2", "flow sequence that starts on line 1", "bracket is missing"),
        ("a: {b: ${c}}\n", "1:9", "but got '{'", 'a variable needs quotes: "${...}"'),
        ("a: [\n", "2:1", "expected the node content", "a bracket above is not closed"),
        ("a: [1, 2\n", "1:4", "<stream end>", "not closed"),
        ('a: 1\nb: "text\nc: 2\n', "2:4", "unexpected end of stream", "this quote is not closed"),
        ("a: 1\nlr0.1\nb: 2\n", "2:1", "could not find expected ':'", "colon and space"),
        ('a: "C:\\data"\n', "1:8", "unknown escape character", "backslash"),
        ("a: @x\n", "1:4", "'@' that cannot start", "quote the value"),
        ("a: 1\n---\nb: 2\n", "2:1", "a second YAML document", "one file holds one"),
        ("- 1\n- 2\n", "1:1", "the top level must be a mapping, got a list", "key: value"),
        ("just words\n", "1:1", "the top level must be a mapping, got 'just words'", "key: value"),
        ('a: "\\UFFFFFFFF"\n', "1:7", "not valid YAML", None),
        ("%YAML 1.2\n%YAML 1.2\n---\na: 1\n", "2:1", "duplicate YAML directive", None),
        ('a: "\\0"\n', "1:4", "control character U+0000", None),
        ('a: "\\ud800"\n', "1:4", "control character U+D800", None),
        ('"a\\nb": 1\n', "1:1", "a key must not contain the character U+000A", None),
        ("a: 1\nb: \x07\n", "2:4", "the character U+0007 is not allowed in YAML (byte offset 8)", "UTF-8"),
        ("a: \ud800\n", "1:4", "the character U+D800 is not allowed", None),
    ],
)
def test_what_is_wrong_is_said_at_its_place(text: str, place: str, message: str, hint: str | None) -> None:
    error = refused(text)
    assert str(error.place) == f"f.yaml:{place}"
    assert message in error.message
    assert hint is None or hint in error.hint


def test_no_control_character_reaches_the_terminal() -> None:
    assert "\x1b" not in str(refused("a: \x1b[31m\n"))


@pytest.mark.parametrize(("text", "message"), [("", "is empty"), (" \n\n", "is empty"), ("# nothing\n", "no values")])
def test_an_empty_file_says_so(text: str, message: str) -> None:
    error = refused(text)
    assert message in error.message
    assert str(error.place) == "f.yaml"


def test_a_byte_order_mark_is_skipped() -> None:
    assert str(place_of(parse_yaml("\ufeffa: 1\n", "f.yaml"), "a", of="key")) == "f.yaml:1:1"


# ---- files -----------------------------------------------------------------------------------------------------


def test_a_file_gives_its_tree_and_its_text_as_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("a: é\r\n".encode())
    tree, text = load_yaml(path)
    assert (tree, text) == ({"a": "é"}, "a: é\r\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89HDF\r\n\x1a\n\0\0", "is an HDF5 file"),
        (b"\x1f\x8b\x08\0\0", "is a gzip file"),
        (b"PK\x03\x04\0\0", "is a zip or NPZ file"),
        (b"\x7fELF\x02\x01", "is a program"),
        ("a: 1\n".encode("utf-16"), "is UTF-16 text"),
        ("a: 1\n".encode("utf-32"), "is UTF-32 text"),
        (b"a: 1\nb: \xe9\n", "byte 0xe9 at offset 8 (line 2)"),
        (b"a: 1\0\n", "U+0000 is not allowed"),
        (b"a: " + b"x" * (2 * 2**20), "larger than 2 MiB"),
    ],
)
def test_what_is_not_yaml_text_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    with pytest.raises(
        ConfigError, match=message.replace("(", r"\(").replace(")", r"\)").replace("+", r"\+")
    ) as caught:
        load_yaml(path)
    assert caught.value.exit_code == 2


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "mnist_mlp.yaml").write_text("a: 1\n")
    with pytest.raises(ConfigError, match="does not exist") as caught:
        load_yaml(tmp_path / "mnist_mpl.yaml")
    assert (caught.value.hint, caught.value.exit_code) == ("did you mean 'mnist_mlp.yaml'?", 2)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_yaml(tmp_path / "nowhere" / "a.yaml")
    assert "does not exist either" in caught.value.hint


def test_a_folder_suggests_a_file_in_it(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("a: 1\n")
    with pytest.raises(ConfigError, match="is a folder") as caught:
        load_yaml(tmp_path)
    assert "net.yaml" in caught.value.hint


def test_a_path_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a: 1\n")
    with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
        load_yaml(tmp_path / "file" / "a.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(str(tmp_path / "a\0b"))


def test_a_file_without_permission_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", locked)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied") as caught:
        load_yaml(tmp_path / "a.yaml")
    assert "permissions" in caught.value.hint


# ---- one value -------------------------------------------------------------------------------------------------

PLACE = Place("--set", 0, 11, "solver.lr=[1, 2", 5)


@pytest.mark.parametrize(
    ("text", "value"),
    [("512", 512), ("1e-3", 0.001), ("no", "no"), ("[6, 9]", [6, 9]), ("{a: {b: 1}}", {"a": {"b": 1}}), ("null", None)],
)
def test_a_single_value(text: str, value: object) -> None:
    assert parse_value(text, PLACE) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no value"),
        ("  ", "no value"),
        ("a: 1", "is not a scalar"),
        ("- 1", "is not a scalar"),
        ("[1, 2", "not valid YAML"),
        ("*a", "no anchor"),
        ("{a: 1, a: 2}", "given twice"),
        ("1\n---\n2", "second YAML document"),
    ],
)
def test_a_single_value_is_refused_at_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_value(text, PLACE)
    assert str(caught.value.place) == "--set"


# ---- writing ---------------------------------------------------------------------------------------------------

CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t\r\u2028\u2029\ufeff\ufffe'\"\\#:")
WORDS = [
    "no",
    "1e-3",
    "12:30",
    "0x1F",
    "~",
    "null",
    "- a",
    "a: b",
    " a",
    "a ",
    "${x}",
    "<<",
    ".5",
    ".inf",
    "2001-01-01",
]
TEXTS = st.text(CHARACTERS, max_size=30) | st.sampled_from(WORDS) | st.text("ab. -:#", max_size=150)
KEYS = (
    st.text(CHARACTERS.filter(lambda c: c not in "\n\t\r"), max_size=20) | st.just("k" * 1500) | st.sampled_from(WORDS)
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | TEXTS
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=12) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=40
)


def bits(tree: object) -> object:
    """A tree with floats as their bits, so that == means equal types and equal bits."""
    if isinstance(tree, dict):
        return [(key, bits(value)) for key, value in tree.items()]
    if isinstance(tree, list):
        return [bits(value) for value in tree]
    return (type(tree), struct.pack("d", tree) if isinstance(tree, float) else tree)


@given(st.dictionaries(KEYS, TREES, min_size=1, max_size=5))
@settings(deadline=None, max_examples=100)
def test_what_is_written_reads_back_the_same(tree: dict[str, object]) -> None:
    assert bits(parse_yaml(dump_yaml(tree), "f.yaml")) == bits(tree)


@given(st.dictionaries(st.text("abcno1:", min_size=1, max_size=5), TREES, min_size=1, max_size=5))
@settings(deadline=None, max_examples=50)
def test_readers_of_yaml_1_1_agree(tree: dict[str, object]) -> None:
    assert bits(yaml.safe_load(dump_yaml(tree))) == bits(tree)


def test_nan_is_written() -> None:
    assert dump_yaml({"a": math.nan}) == "a: .nan\n"


def test_the_written_form_is_the_one_people_write() -> None:
    tree = {
        "name": "mnist mlp",
        "lr": 1e-5,
        "net": [{"name": "fc1", "type": "Linear", "bottom": ["a", "b"]}, {"name": "x" * 120, "p": 0.5}],
        "solver": {"type": "SGD", "every": {"epochs": 1}, "milestones": [6, 9], "flag": "no"},
        "empty": {},
        "path": "/data/a-b.npz",
    }
    assert dump_yaml(tree) == (
        "name: mnist mlp\n"
        "lr: 1.0e-05\n"
        "net:\n"
        "  - {name: fc1, type: Linear, bottom: [a, b]}\n"
        f"  - name: {'x' * 120}\n"
        "    p: 0.5\n"
        "solver:\n"
        "  type: SGD\n"
        "  every: {epochs: 1}\n"
        "  milestones: [6, 9]\n"
        '  flag: "no"\n'
        "empty: {}\n"
        "path: /data/a-b.npz\n"
    )


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": b"bytes"}, [{3}]])
def test_what_yaml_cannot_hold_is_not_written(value: object) -> None:
    with pytest.raises(ConfigError, match="cannot be written as YAML"):
        dump_yaml({"a": value})


# ---- anything at all -------------------------------------------------------------------------------------------


@given(st.text(st.sampled_from("ab1:-? \n\t[]{},&*!|>'\"%@`#<.\\~0x\ufeff\u2028é"), max_size=80) | st.text(max_size=60))
@settings(deadline=None, max_examples=400)
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        tree = parse_yaml(text, "f.yaml")
    except LayerForgeError as error:
        assert error.exit_code == 2
        assert "f.yaml" in str(error)
    else:
        assert bits(parse_yaml(dump_yaml(tree), "g.yaml")) == bits(tree) or ".nan" in dump_yaml(tree)
