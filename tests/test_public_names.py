"""Net, Solver and Model have the public names that docs/python.md lists, and no others; its examples run."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest
from support.pages import output_of

from layerforge import Net, Solver, load_model, train

PAGE = Path(__file__).parent.parent / "docs" / "python.md"


def documented(heading: str) -> list[str]:
    """The names in the first columns of the tables below a heading of the page."""
    [section] = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


@pytest.fixture
def made(tmp_path: Path) -> dict[str, object]:
    layers = [
        {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 2},
        {"name": "loss", "type": "MSELoss", "bottom": ["fc", "t"]},
    ]
    net = Net.from_config({"inputs": {"x": {"shape": [3, 4]}, "t": {"shape": [3, 2]}}, "net": layers})
    net.save(tmp_path / "w.h5")
    return {"Net": net, "Solver": Solver(net, lr=0.1), "Model": load_model(tmp_path / "w.h5")}


@pytest.mark.parametrize("name", ["Net", "Solver", "Model"])
def test_public_names_are_those_of_the_documentation(name: str, made: dict[str, object]) -> None:
    thing = made[name]
    public = sorted(each for each in {*dir(type(thing)), *vars(thing)} if not each.startswith("_"))
    assert public == sorted(documented(name))


def code_of_page() -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S))


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    said = output_of(code_of_page(), names, "python.md")
    assert "finished" in said and len(said.splitlines()) > 30
    assert names["matrix"].shape == (2, 4) and names["hidden"].shape == (60, 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [Net, Solver, "Model"])
def test_every_method_has_an_example(kind: type | str, made: dict[str, object]) -> None:
    cls = type(made["Model"]) if isinstance(kind, str) else kind
    shown = {node.attr for node in ast.walk(ast.parse(code_of_page())) if isinstance(node, ast.Attribute)}
    public = [name for name, value in vars(cls).items() if not name.startswith("_")]
    methods = [n for n in public if inspect.isroutine(inspect.getattr_static(cls, n))]
    assert [name for name in methods if name not in shown] == []


def test_every_option_of_train_is_named() -> None:
    text = PAGE.read_text()
    assert [n for n in inspect.signature(train).parameters if n not in text] == []
