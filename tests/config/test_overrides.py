"""KEY=VALUE on a command line: what stands behind the '=' is the value, all of it."""

from __future__ import annotations

from typing import Any

import pytest

from layerforge.cli import main
from layerforge.config import Config, parse_value
from layerforge.schema.errors import ConfigError
from layerforge.schema.locations import Place

PLACE = Place("--set", 0, 6, "name=...", 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("try #2", "try #2"),
        ("5 # five", "5 # five"),
        ("true #", "true #"),
        ("a#b", "a#b"),
        ("a #b: c", "a #b: c"),
        ("two\nlines", "two\nlines"),
        ('"try #2"', "try #2"),
        ("'it''s #1'", "it's #1"),
        ('{a: "x #y", b: c#d}', {"a": "x #y", "b": "c#d"}),
        ("  x  ", "x"),
        ("''", ""),
        ("~", None),
        ("!!str 5", "5"),
        ("#x", "#x"),
        (" # 2", "# 2"),
        ("> x", "> x"),
        (">x", ">x"),
        ("| x", "| x"),
        ("%x", "%x"),
        ("%YAML 1.2", "%YAML 1.2"),
        ("@home", "@home"),
        ("`x`", "`x`"),
        (",x", ",x"),
        ("]", "]"),
        ("\tx", "x"),
    ],
)
def test_all_of_it_is_the_value(text: str, value: Any) -> None:
    assert parse_value(text, PLACE) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"try" #2', "'#' would begin a comment here"),
        ("[1, 2] # two", "'#' would begin a comment here"),
        ("{a: 1 # one\n}", "'#' would begin a comment here"),
        ("[1, # one\n 2]", "'#' would begin a comment here"),
        ("!!str 5 #x", "'#' would begin a comment here"),
        ("&anchor x", "has an anchor or the mark of a document"),
        ("--- x", "has an anchor or the mark of a document"),
        ("x\n...", "has an anchor or the mark of a document"),
        ("%YAML 1.2\n--- x", "has an anchor or the mark of a document"),
        ("a: b #c", "is not a scalar"),
        ("[1, 2] 3", "not valid YAML"),
        ("x #\x07", "U+0007"),
        ("#\x07", "U+0007"),
        ("&x", "has an anchor"),
        ("*x", "the alias '*x' has no anchor"),
        ("...", "'...' is no value"),
        (": x", "KEY='\": x\"'"),
    ],
)
def test_what_yaml_would_leave_out_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_value(text, PLACE)
    assert message in str(caught.value)


def test_a_name_with_a_hash(capsys: pytest.CaptureFixture[str]) -> None:
    base = {"inputs": {"x": {"shape": [1, 2]}}, "net": [{"name": "a", "type": "Tanh"}]}
    assert Config.from_dict(base, ["name=try #2"]).name == "try #2"
    with pytest.raises(ConfigError, match="seed must be an integer"):
        Config.from_dict(base, ["seed=5 #x"]).raise_errors()


def test_a_file_has_comments_all_the_same(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("name: try #2\ninputs: {x: {shape: [1, 2]}} # one\nnet: [{name: a, type: Tanh}]\n")
    assert main(["config", str(tmp_path / "c.yaml"), "--json"]) == 0
    assert Config.load(tmp_path / "c.yaml").name == "try"
