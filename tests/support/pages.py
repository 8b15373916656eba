"""What stands in pages: their blocks, and how these are run."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"


def output_of(code: str, names: dict[str, Any], page: str) -> str:
    """What a program of a page prints; it goes on with these names, and leaves its own there."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, page, "exec"), names)
    return out.getvalue()


def blocks(page: str, section: str, language: str) -> list[str]:
    """The blocks of a language in a section of a page of docs/."""
    text = (DOCS / page).read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def run_apart(command: list[str], folder: Path) -> str:
    """What a command prints that succeeds, in a process of its own that finds no data but those of the folder."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LAYERFORGE_")} | {"LAYERFORGE_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
