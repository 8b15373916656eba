"""The structure of the code itself: who may import whom, how long things may be, what must not be left lying about."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.slots import SLOTS

from layerforge.contract.layer import WRITERS, Layer

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "layerforge"
FILES = sorted(PACKAGE.rglob("*.py"))

RANK = {name: rank for rank, names in enumerate(SLOTS) for name in names}
FILE_LIMIT, LAYER_LIMIT, FUNCTION_LIMIT = 300, 200, 60
TOP_LIMIT = 26  # names at the top of the package


def unit(path: Path) -> str:
    """The part of the package that a file belongs to: layers, config, net ..."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path: Path, types: bool = False) -> Iterator[tuple[str, bool]]:
    """(absolute module, whether at the top level of the file) for every import.

    types   also those that only type checkers see, as if they stood at the top level
    """
    tree = ast.parse(path.read_text())
    package = ["layerforge", *path.relative_to(PACKAGE).parent.parts]
    top = {id(n) for n in tree.body}
    guarded = {
        id(n)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for n in ast.walk(block)
    }
    if types:
        top |= guarded
    for node in ast.walk(tree):
        if id(node) in guarded and not types:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if node.module is None or module == "layerforge":
                for alias in node.names:
                    yield f"{module}.{alias.name}", id(node) in top
            else:
                yield module, id(node) in top
                if (ROOT / module.replace(".", "/")).is_dir():  # `from ..run import copies` is of that module too
                    yield from ((f"{module}.{alias.name}", id(node) in top) for alias in node.names)


def own_units(path: Path) -> set[str]:
    return {m.split(".")[1] for m, _ in imports(path) if m.startswith("layerforge.") and len(m.split(".")) > 1}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_from_right_to_left(path: Path) -> None:
    me = unit(path)
    if me == "__init__":
        return
    assert me in RANK, f"{me} has no slot; give it one in docs/design.md and tests/support/slots.py"
    for other in own_units(path) - {me}:
        assert RANK[other] <= RANK[me], f"{me} imports {other}, which is to its right"


def test_every_module_has_a_slot_and_every_slot_a_module() -> None:
    units = {unit(p) for p in FILES} - {"__init__"}
    assert units == set(RANK)


def test_the_folder_list_shows_the_architecture() -> None:
    names = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(names) <= TOP_LIMIT, "a module belongs into the folder of its stage"


def test_no_import_cycles_between_modules() -> None:
    """What only type checkers see counts too: a Protocol breaks such a circle."""
    edges = {}
    for path in FILES:
        name = ".".join(["layerforge", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
        edges[name] = {m for m, at_top in imports(path, types=True) if at_top and m.startswith("layerforge.")}
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, f"import cycle: {' -> '.join((*trail, name))}"
        if state.get(name) == 2 or name not in edges:
            return
        state[name] = 1
        for other in edges[name]:
            visit(other, (*trail, name))
        state[name] = 2

    for name in edges:
        visit(name, ())


@pytest.mark.parametrize("path", sorted((PACKAGE / "layers").rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_layers_know_no_net_no_solver_and_no_array_library(path: Path) -> None:
    """A layer takes its array library from self.xp. numpy may appear for types and host constants of set-up only."""
    names = {m.split(".")[0] for m, _ in imports(path)}
    assert not names & {"cupy", "h5py"}


PROBES = ("check", "debug", "cli")  # they take the place of a net around a single layer


def attributes_written(path: Path) -> Iterator[tuple[str, str]]:
    """(the expression before the dot, the attribute) for everything that a file assigns to an attribute."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield ast.unparse(node.value), node.attr


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_attributes_of_layers_are_written_by_whom_the_contract_names(path: Path) -> None:
    me = unit(path)
    for owner, name in attributes_written(path):
        of_a_layer = owner.split(".")[-1] in ("layer", "twin") or (owner == "self" and me == "layers")
        if of_a_layer and name in WRITERS and me not in ("contract", *PROBES):
            allowed = WRITERS[name]
            assert me in allowed, f"{owner}.{name} = ... is for {' and '.join(allowed) or 'the contract'} to write"


def test_the_contract_names_a_writer_for_every_attribute_of_a_layer() -> None:
    made = set(vars(Layer.__new__(Layer)))
    assert made | {"place", "overwrites_grad"} == set(WRITERS)


@pytest.mark.parametrize("name", ["Net", "Layer", "Plan", "Executor", "Graph", "Step", "Section", "Pass", "Place"])
def test_a_word_of_the_architecture_is_one_class(name: str) -> None:
    places = [path.name for path in FILES for _ in re.findall(rf"^class {name}\b", path.read_text(), re.MULTILINE)]
    assert len(places) == 1, f"class {name} is in {', '.join(places)}: a reader takes one for the other"


ENGINE_WORDS = re.compile(
    r"onednn|dnnl|\bengines?\b|\babsorbs?\b|channels_last|nhwc|nchw|\bfus(e|ed|es|ing|ion)\b", re.IGNORECASE
)


@pytest.mark.parametrize("path", sorted((PACKAGE / "layers").rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_layers_know_no_engine_no_layout_and_no_fusion(path: Path) -> None:
    """Who computes a layer faster, where in memory and together with which neighbour, is not the layer's business."""
    assert not ENGINE_WORDS.search(path.read_text())


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, layerforge; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"h5py", "tqdm", "urllib.request", "layerforge.net", "cupy"} & set(loaded)


def code_lines(source: str) -> set[int]:
    """The lines with code: not blank, no comment, no docstring, and none of a layer's examples."""
    tree = ast.parse(source)
    skipped: set[int] = set()
    for part in ast.walk(tree):
        body = getattr(part, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                skipped.update(range(body[0].lineno, body[0].end_lineno + 1))
        if isinstance(part, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id in ("examples", "bad_examples") for t in part.targets
        ):
            skipped.update(range(part.lineno, part.end_lineno + 1))
    lines = set()
    noise = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in noise:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines - skipped


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_fit_on_a_page(path: Path) -> None:
    source = path.read_text()
    lines = code_lines(source)
    limit = LAYER_LIMIT if unit(path) == "layers" else FILE_LIMIT
    assert len(lines) <= limit, "split the file where its subjects part"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            own = lines & set(range(node.lineno, node.end_lineno + 1))
            assert len(own) <= FUNCTION_LIMIT, f"{node.name} has {len(own)} lines of code"


TESTS = sorted((ROOT / "tests").rglob("*.py"))
TEST_MODULES = "|".join(path.stem for path in TESTS if path.stem.startswith(("test_", "conftest")))
IMPORTS_TESTS = re.compile(rf"^\s*(from|import)\s+([\w.]+\.)?({TEST_MODULES})\b", re.MULTILINE)


@pytest.mark.parametrize("path", TESTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_test_module_imports_another(path: Path) -> None:
    """Neither itself nor in the text of a program that it runs: what tests share is in tests/support."""
    found = IMPORTS_TESTS.search(path.read_text(encoding="utf-8"))
    assert found is None, f"{found.group().strip()}: move what it takes to tests/support"


SKIPS = re.compile(
    r"pytest\.skip\(|importorskip|allow_module_level|mark\.skip\b|skipif\((?!.*(os\.name|sys\.platform|\(os, |/dev/))"
)


@pytest.mark.parametrize("path", TESTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_missing_tool_is_told_of(path: Path) -> None:
    """Only the system that a test runs on may skip it in silence; what can be installed is demanded."""
    if path != Path(__file__) and path.relative_to(ROOT / "tests") != Path("support/tools.py"):
        found = SKIPS.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{found.group()}: take demand or demand_that of tests/support/tools.py"


TRACKED = [
    p
    for folder in ("layerforge", "tests", "scripts", "configs", "docs", ".ci", "data")
    for p in sorted((ROOT / folder).rglob("*"))
    if p.suffix in (".py", ".yaml", ".md", ".toml", "") and p.is_file() and "__pycache__" not in p.parts
] + [p for p in sorted(ROOT.glob("*")) if p.suffix in (".md", ".toml")]
LEFTOVERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")


@pytest.mark.parametrize("path", [p for p in TRACKED if p.name != "LICENSE"], ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_left_for_later(path: Path) -> None:
    if path.parts[-2] == "data" and path.suffix != ".md":
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    assert not LEFTOVERS.search(text)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_public_things_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module says nothing of itself"
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            if unit(path) == "cli" and node.name in ("run", "add_parser"):
                continue
            assert ast.get_docstring(node), f"{node.name} has no docstring"
