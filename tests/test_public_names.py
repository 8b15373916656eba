"""Net and Solver have the public names that docs/python.md lists, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from layerforge import Net, Solver

PAGE = Path(__file__).parent.parent / "docs" / "python.md"


def documented(heading: str) -> list[str]:
    """The names in the first columns of the tables below a heading of the page."""
    [section] = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


@pytest.fixture
def made() -> dict[str, object]:
    layers = [
        {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 2},
        {"name": "loss", "type": "MSELoss", "bottom": ["fc", "t"]},
    ]
    net = Net.from_config({"inputs": {"x": {"shape": [3, 4]}, "t": {"shape": [3, 2]}}, "net": layers})
    return {"Net": net, "Solver": Solver(net, lr=0.1)}


@pytest.mark.parametrize("name", ["Net", "Solver"])
def test_public_names_are_those_of_the_documentation(name: str, made: dict[str, object]) -> None:
    thing = made[name]
    public = sorted(each for each in {*dir(type(thing)), *vars(thing)} if not each.startswith("_"))
    assert public == sorted(documented(name))
