"""`extends`: a file that changes single layers of the net of another one, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layerforge import Net
from layerforge.config import Config

BASE = """\
inputs: {x: {shape: [4, 3]}}
blocks:
  pair: {args: {width: null}, net: [{name: fc, type: Linear, out_features: "${width}"}, {name: act, type: ReLU}]}
net:
  - {name: fc1, type: Linear, out_features: 5, lr_mult: {bias: 2}}
  - {name: body, block: pair, repeat: 2, with: {width: 7}}
  - {name: fc2, type: Linear, out_features: 2}
"""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(text: str, **others: str) -> Config:
        for name, content in {"base": BASE, "child": f"extends: base.yaml\n{text}", **others}.items():
            (tmp_path / f"{name}.yaml").write_text(content)
        return Config.load(tmp_path / "child.yaml")

    return load


def test_a_mapping_changes_the_layers_that_it_names(load: Any) -> None:
    changes = "fc2: {decay_mult: 1, out_features: 3}, fc1: {lr_mult: {weight: 4}}, body: {with: {width: 9}}"
    config = load(f"net: {{{changes}}}\n")
    config.raise_errors()
    assert [layer["name"] for layer in config.net] == ["fc1", "body", "fc2"], "the order is that of the base"
    assert config.net[0]["lr_mult"] == {"bias": 2, "weight": 4}
    assert (config.net[0]["out_features"], config.net[2]["out_features"], config.net[2]["decay_mult"]) == (5, 3, 1)
    assert config.net[1]["with"] == {"width": 9}
    net = Net(config)
    assert net.layers["body.1.fc"].out_features == 9
    assert net.graph.multipliers()["fc2", "bias"].decay == 1


def test_the_layers_of_a_block_are_changed_in_its_definition(load: Any) -> None:
    config = load("blocks: {pair: {net: {fc: {bias: false}}}}\n")
    config.raise_errors()
    assert "bias" not in Net(config).params["body.0.fc"]


def test_a_list_still_replaces_the_list(load: Any) -> None:
    config = load("net: [{name: a, type: Tanh}]\n")
    assert [layer["name"] for layer in config.net] == ["a"]


def test_changes_may_come_from_a_file_without_a_net_of_its_own(load: Any) -> None:
    config = load("", child="extends: [base.yaml, wide.yaml]\n", wide="net: {fc1: {out_features: 50}}\n")
    config.raise_errors()
    assert config.net[0]["out_features"] == 50


def test_a_file_between_may_change_layers_too(load: Any) -> None:
    config = load(
        "",
        child="extends: between.yaml\nnet: {fc1: {freeze: true}}\n",
        between="extends: base.yaml\nnet: {fc1: {out_features: 50}}\n",
    )
    config.raise_errors()
    assert (config.net[0]["out_features"], config.net[0]["freeze"]) == (50, True)


@pytest.mark.parametrize(
    ("text", "message", "place", "hint"),
    [
        ("net: {fc3: {bias: false}}", "'net' has no layer 'fc3' to change", "child.yaml:2:7", "did you mean 'fc2'?"),
        (
            "net: {zz: {bias: false}}",
            "'net' has no layer 'zz' to change",
            "child.yaml:2:7",
            "its layers: fc1, body, fc2",
        ),
        (
            "net: {body.0.fc: {bias: false}}",
            "'net' has no layer 'body.0.fc' to change",
            "child.yaml:2:7",
            "set an argument: net.body.with.NAME, or a layer of every copy: blocks.pair.net.LAYER.KEY",
        ),
        (
            "blocks: {pair: {net: {fcc: {}}}}",
            "'blocks.pair.net' has no layer 'fcc' to change",
            "child.yaml:2:23",
            "did you mean 'fc'?",
        ),
        (
            "net: {fc1: 3}",
            "'net.fc1' is a whole layer or block, got 3 for it",
            "child.yaml:2:7",
            "say what changes: fc1: {KEY: VALUE}",
        ),
    ],
)
def test_a_change_of_what_is_not_there(load: Any, text: str, message: str, place: str, hint: str) -> None:
    config = load(f"{text}\n")
    assert [(e.message, e.hint) for e in config.errors] == [(message, hint)]
    assert str(config.errors[0].place).endswith(place)


def test_all_wrong_names_are_reported_at_once(load: Any) -> None:
    config = load("net:\n  fc3: {bias: false}\n  fc4: {bias: false}\nsolver: {lr: -1}\n")
    assert len(config.errors) == 3


def test_an_error_in_a_change_is_shown_where_it_is_written(load: Any) -> None:
    with pytest.raises(Exception, match=r"child\.yaml:2:40: layer 'fc1' \(Linear\): out_features must be >= 1, got 0"):
        Net(load("net: {fc1: {bias: false, out_features: 0}}\n"))


def test_a_mapping_of_python_changes_layers_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    config = Config.from_dict({"extends": str(tmp_path / "base.yaml"), "net": {"fc1": {"out_features": 6}}})
    config.raise_errors()
    assert config.net[0]["out_features"] == 6
