"""docs/numpy_export.md: its commands and programs do what it says, in their order; excerpts are from the file."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.pages import DOCS, run_apart

from layerforge import load_model

TEXT = (DOCS / "numpy_export.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", TEXT, re.S)
EXCERPTS = [block for kind, block in BLOCKS if kind == "python" and block.startswith("class ")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder in which everything on the page was run, and what it printed."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "configs").symlink_to(DOCS.parent / "configs")
    Image.new("L", (60, 40), 255).save(folder / "seven.png")
    printed = []
    for kind, block in BLOCKS:
        if kind == "python" and block not in EXCERPTS:
            printed.append(run_apart([sys.executable, "-c", block], folder))
        for line in block.splitlines() if kind == "sh" else ():
            words = shlex.split(line)
            program = ["-m", *words] if words[0] == "layerforge" else words[1:]
            more = ["--max-steps", "3"] if words[1] == "train" else []
            printed.append(run_apart([sys.executable, *program, *more], folder))
    return folder, printed


def test_the_commands_and_programs_run(place: tuple[Path, list[str]]) -> None:
    folder, printed = place
    assert len(printed) == 7
    classes = load_model(folder / "runs/digits_mlp/latest").classes
    said = printed[4].split()
    assert len(said) == 3 and set(said) <= set(classes)
    assert (folder / "scores.npy").exists() and (folder / "digits_again" / "net.py").exists()


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=lambda text: text.split("\n")[0])
def test_an_excerpt_is_what_stands_in_the_file(place: tuple[Path, list[str]], excerpt: str) -> None:
    assert excerpt in (place[0] / "digits" / "net.py").read_text(encoding="utf-8")


def test_there_are_two_excerpts() -> None:
    assert len(EXCERPTS) == 2
