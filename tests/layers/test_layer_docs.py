"""docs/layers.md says what the layers say, and every built-in layer has its place in the catalogue."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from layerforge import Example, Layer, Spec, param, register
from layerforge.layers import FAMILIES, builtin_layers, by_family, family_of, module_name, titles
from layerforge.schema.registry import LAYERS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "layers.md"


@pytest.fixture(scope="module")
def make_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_layers_say(make_docs: ModuleType) -> None:
    there, fresh = PAGE.read_text(encoding="utf-8").splitlines(), make_docs.page().splitlines()
    lines = zip([*there, *[""] * len(fresh)], [*fresh, *[""] * len(there)], strict=False)
    first = next((i for i, (a, b) in enumerate(lines, 1) if a != b), None)
    assert first is None, f"docs/layers.md is stale from line {first} on: run `python scripts/make_docs.py`"


def test_the_same_page_each_time(make_docs: ModuleType) -> None:
    assert make_docs.page() == make_docs.page()


def test_every_link_of_the_page_has_its_heading(make_docs: ModuleType) -> None:
    text = make_docs.page()
    headings = [make_docs.anchor(h) for h in re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)]
    links = re.findall(r"\]\(#(.*?)\)", text)
    assert len(set(headings)) == len(headings), "two headings have one anchor"
    assert set(links) == set(headings) - {"layers"}
    assert len(links) == len(set(links)) == len(builtin_layers()) + len(by_family(builtin_layers()))


class Odd(Layer):
    """Odd: takes |x| or not.

        y = x

    Shapes    any
    """

    way: str = param("a|b", help="one | the other", choices=("a|b", "c"))
    size: list[int] = param(help="no default", ge=1)
    examples = [Example({"size": [2]}, [Spec((2, 3))])]

    def setup(self, x: Spec) -> Spec:
        return x


def test_what_stands_in_a_section(make_docs: ModuleType) -> None:
    assert make_docs.section(Odd).splitlines() == [
        "### Odd",
        "",
        "Takes |x| or not.",
        "",
        "```text",
        "    y = x",
        "",
        "Shapes    any",
        "```",
        "",
        "| hyper-parameter | type | default | |",
        "|---|---|---|---|",
        r'| `way` | one of a\|b, c | "a\|b" | one \| the other |',
        "| `size` | a list of integers >= 1 | required | no default |",
        "",
        "```yaml",
        "- {name: odd, type: Odd, bottom: x1, size: [2]}",
        "  # x1 (2, 3) float32 -> (2, 3) float32",
        "```",
    ]


def test_layers_of_users_are_not_on_the_page(make_docs: ModuleType) -> None:
    register(Odd)
    try:
        assert "### Odd" not in make_docs.page()
        assert by_family([Odd, LAYERS.get("Linear")]) == {"Matrices": [LAYERS.get("Linear")], "test_layer_docs": [Odd]}
    finally:
        LAYERS.remove("Odd")


@pytest.mark.parametrize("cls", builtin_layers(), ids=lambda cls: cls.type_name)
def test_every_built_in_layer_has_a_family(cls: type[Layer]) -> None:
    assert family_of(cls) in titles().values(), f"{module_name(cls)}.py belongs into the folder of a family"


def test_every_folder_of_layers_is_a_family_that_is_shown() -> None:
    folders = {path.parent.name for path in (ROOT / "layerforge" / "layers").glob("*/__init__.py")}
    assert folders == set(FAMILIES) and len(set(titles().values())) == len(FAMILIES)
    assert set(titles().values()) <= set(by_family(builtin_layers()))
