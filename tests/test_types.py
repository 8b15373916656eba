"""What the package promises to type checkers holds: py.typed, the names at its top, and what users write against it."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.tools import demand

import layerforge

ROOT = Path(__file__).parent.parent


def test_checkers_see_the_public_names_where_they_are() -> None:
    tree = ast.parse((ROOT / "layerforge" / "__init__.py").read_text())
    [face] = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    seen = [(a.asname, a.name, n.module) for n in face.body if isinstance(n, ast.ImportFrom) for a in n.names]
    assert sorted(seen) == sorted((name, name, module) for name, module in layerforge._PUBLIC.items())
    assert len(seen) == len(face.body), "one import for each name"


def test_every_public_name_is_there() -> None:
    for name in layerforge.__all__:
        assert getattr(layerforge, name) is not None


def strictly(checker: str, files: list[Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """A checker's verdict on files of a user's, in a folder where only the installed package is seen."""
    options = {"mypy": ["--strict", "--follow-imports", "silent", "--cache-dir", str(folder)], "pyright": []}[checker]
    command = [sys.executable, "-m", checker, *options, *map(str, files)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_checker_sees_what_is_wrong(checker: str, tmp_path: Path) -> None:
    """Public names are not Any: an unknown one, a wrong argument, override and method of a solver's net are errors."""
    demand(checker)
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from layerforge import Layer, Net, Solver, Spec, Typo\n"
        "Solver(Net.from_config({}), 3)\n"
        "class Mine(Layer):\n"
        "    def setup(self, x: Spec) -> int:\n"
        "        return 1\n"
        "Solver(Net.from_config({}), lr=0.1).net.saved('w')\n"
    )
    done = strictly(checker, [wrong], tmp_path)
    found = {line for line in (1, 2, 4, 6) if f"wrong.py:{line}:" in done.stdout}
    assert (done.returncode, found) == (1, {1, 2, 4, 6}), done.stdout + done.stderr


def test_the_ratchet_counts_and_compares() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import type_ratchet
    finally:
        sys.path.pop(0)
    assert [bool(type_ratchet.verdict(count, 7)) for count in (6, 7, 8)] == [True, False, True]
    assert type_ratchet.silenced("x = 1  # type: ignore[assignment]\ny = '# type: ignore'\nz = 2  # a type\n") == 1
    assert len(type_ratchet.ERROR.findall("a.py:3: error: no  [misc]\na.py:3: note: error: no\nFound 1 error\n")) == 1
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert type_ratchet.pinned(project)
    assert project["tool"]["layerforge"]["type-errors"] <= 240
