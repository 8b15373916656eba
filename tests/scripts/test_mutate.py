"""Mistakes made in backward on purpose: what the operators change, where, and that the checks see a seeded sample."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import mutate
from mutation.operators import OPERATORS, mutations
from mutation.sites import find_sites
from mutation.trials import trials

LAYERS = ["Linear", "Softmax", "Maximum", "Einsum", "Sigmoid", "Diagonal"]


def changes(body: str, operator: str, arrays: dict[str, set[str]] | None = None) -> set[str]:
    """What an operator makes of a function's body."""
    source = f"def backward(self, dy):\n    {body}\n"
    [function] = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    found = mutations(function, source, arrays or {})
    return {f"{m.before} -> {m.after}" for m in found if m.operator == operator}


@pytest.mark.parametrize(
    ("operator", "body", "made"),
    [
        ("sign", "return a - b", {"a - b -> a + b", "a - b -> -(a - b)"}),
        ("sign", "self.grads.w += a", {"self.grads.w += a -> self.grads.w -= a"}),
        ("sign", "return -a", {"-a -> a"}),
        ("axis", "return a.sum(axis=0)", {"0 -> 1", "0 -> -1"}),
        ("axis", "return a[:, None]", {"(:, None) -> (None, :)"}),
        ("axis", "return a.shape[1]", {"1 -> 2", "1 -> 0"}),
        ("transpose", "return a.T", {"a.T -> a"}),
        ("transpose", "return xp.flip(a, 0)", {"xp.flip(a, 0) -> a"}),
        ("dropped", "return a.sum(axis=0)", {"a.sum(axis=0) -> a"}),
        ("dropped", "return a * b", {"a * b -> a", "a * b -> b"}),
        ("dropped", "return a - b", {"a - b -> a", "a - b -> -b"}),
        ("dropped", "a += b", {"a += b -> pass"}),
    ],
)
def test_what_an_operator_changes(operator: str, body: str, made: set[str]) -> None:
    assert changes(body, operator) == made


def test_another_array_is_taken_where_numbers_are_read() -> None:
    arrays = {"dy": {"x"}, "x": {"dy"}}
    assert changes("return dy * x", "array", arrays) == {"dy -> x", "x -> dy"}
    assert changes("return xp.zeros_like(x) + x.shape[0]", "array", arrays) == set()


def test_the_same_change_at_two_places_is_two_mutations() -> None:
    source = "def backward(self, dy):\n    return dy * x + dy * y\n"
    [function] = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    found = [m for m in mutations(function, source, {"dy": {"x"}}) if m.operator == "array"]
    assert [(m.before, m.after, m.place) for m in found] == [("dy", "x", 0), ("dy", "x", 1)]


def test_only_what_backward_alone_runs_is_changed() -> None:
    names = [site.name for site in find_sites(["Conv1d", "Sigmoid", "Var"])]
    assert {"Convolution.backward", "spread", "weigh"} <= set(names)
    assert not {"Convolution.windows", "correlate", "Spread.variance"} & set(names)
    assert sum("<lambda>" in name for name in names) == 2  # df of Sigmoid, slope of Var


def test_the_checks_see_a_seeded_sample() -> None:
    order = mutate.draw(find_sites(LAYERS), seed=5)
    report = mutate.campaign(order, 12, jobs=2, quiet=True)
    assert report.ok, report.text()
    assert report.count == 12
    assert len(report.caught) >= 10


def test_a_drawing_is_the_same_again_and_reaches_every_operator() -> None:
    sites = find_sites(LAYERS)
    one, two = ([m.key for m in mutate.draw(sites, seed)] for seed in (1, 1))
    assert one == two
    assert [m.key for m in mutate.draw(sites, 2)] != one
    assert {key[2] for key in one} == set(OPERATORS)
    assert len(set(one)) == len(one)


def test_every_listed_equivalent_is_a_mutant_that_can_be_made() -> None:
    files = {key[0] for key in mutate.listed_equivalents()}
    folder = Path(mutate.SCRIPTS.parent) / "layerforge" / "layers"
    texts = {file: next(folder.rglob(file)).read_text() for file in files}
    for file, _, operator, line, _ in mutate.listed_equivalents():
        assert operator in OPERATORS
        assert line in texts[file], f"{file} has no line {line!r}: the list is out of date"


def test_a_mutant_that_is_not_seen_fails_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mutation.trials.first_failure", lambda name: "")
    order = mutate.draw(find_sites(["Sigmoid"]), seed=0)
    report = mutate.campaign(order, 2, jobs=2, quiet=True)
    assert not report.ok
    assert "SURVIVED" in report.text()


def test_outcomes_come_in_the_order_of_the_mutants() -> None:
    order = mutate.draw(find_sites(["Softmax"]), seed=0)[:6]
    assert [outcome.mutant for outcome in trials(order, jobs=3)] == order
