"""Layers that a phase, level and stages select."""

from __future__ import annotations

import pytest
from support.caffe_files import caffe_index

from layerforge.interop.caffe import text
from layerforge.interop.caffe.rules import State, selected, state_of
from layerforge.schema.errors import ConfigErrors


def names(content: str, phase: str, level: int = 0, stages: tuple[str, ...] = ()) -> list[str]:
    net = text.parse(content, "NetParameter", "n")
    return [layer.get("name") for layer in selected(net, phase, level, stages).get("layer")]


@pytest.mark.parametrize("number", range(10))
def test_the_same_layers_as_in_caffe(number: int) -> None:
    recorded = caffe_index()["rules"]
    result = recorded["results"][number]
    assert names(recorded["net"], result["phase"], result["level"], tuple(result["stages"])) == result["layers"]


@pytest.mark.parametrize(
    ("rule", "state", "kept"),
    [
        ("include { phase: TRAIN }", ("TEST",), False),
        ("include { phase: TRAIN } include { phase: TEST }", ("TEST",), True),
        ("exclude { phase: TRAIN } exclude { min_level: 2 }", ("TEST", 2), False),
        ("exclude { phase: TRAIN } exclude { min_level: 2 }", ("TEST", 1), True),
        ("include { min_level: -1 max_level: 1 }", ("TEST", -2), False),
        ("include { stage: 'a' stage: 'b' }", ("TEST", 0, ("b", "c", "a")), True),
        ("include { stage: 'a' not_stage: 'c' }", ("TEST", 0, ("a", "c")), False),
        ("include { }", ("TEST",), True),
        ("exclude { }", ("TEST",), False),
        ("", ("TEST",), True),
    ],
)
def test_rules(rule: str, state: tuple, kept: bool) -> None:
    assert names(f"layer {{ name: 'x' {rule} }}", *state) == (["x"] if kept else [])


def test_the_nets_own_state_adds_stages_only() -> None:
    content = """state { phase: TRAIN level: 7 stage: "a" }
      layer { name: 'a' include { stage: "a" } } layer { name: 't' include { phase: TRAIN } }
      layer { name: 'l' include { min_level: 1 } }"""
    assert names(content, "TEST") == ["a"]
    net = text.parse(content, "NetParameter", "n")
    left = selected(net, "TEST")
    assert [path for path, _ in left.unread() if not path.endswith("name")] == []
    assert len(net.get("layer")) == 3


def test_rules_of_both_kinds_are_refused() -> None:
    content = "layer { include { phase: TEST }\n exclude { phase: TEST } }\nlayer { exclude { } include { } }"
    with pytest.raises(ConfigErrors) as failed:
        names(content, "TEST")
    assert [str(error.place) for error in failed.value.errors] == ["n:2:2", "n:3:9"]


@pytest.mark.parametrize(
    ("solver", "asked", "level"),
    [(State(), State(), 2), (State(0), State(), 0), (State(3), State(), 3), (State(3), State(0), 0)],
)
def test_of_levels_the_one_asked_for_counts_then_the_solvers_then_the_nets(
    solver: State, asked: State, level: int
) -> None:
    net = text.parse("state { level: 2 }", "NetParameter", "n")
    assert state_of(net, solver, asked).level == level


def test_stages_of_the_solver_and_of_the_user_add_up() -> None:
    net = text.parse("", "NetParameter", "n")
    assert state_of(net, State(stages=("a",)), State(stages=("b",))) == State(0, ("b", "a"))
