"""docs/textbook.md as data: its programs, the tables below them, and what torch says (tests/golden/textbook.json).

A program prints lines `name = value`; each is a row of the table below it, of which the last two columns are written by
scripts/make_docs.py: what was printed, and torch's number. A program of a section runs after the page's beginning and
after that of its chapter, which have no section.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerforge.schema.registry import LAYERS

from .golden_cases import FOLDER, TORCH
from .pages import output_of

PAGE = Path(__file__).parents[2] / "docs" / "textbook.md"
RECORD = FOLDER / "textbook.json"
TABLE = r"\| \| [^|\n]+ \| LayerForge [^\n]*\n\|[-|]+\n(?:\|[^\n]*\n)*"
PARTS = re.compile(rf"^#+ (?P<heading>[^\n]*)$|^```python\n(?P<code>.*?)^```$|^(?P<table>{TABLE})", re.M | re.S)
ARITHMETIC = re.compile(r"[-+·/()²√.,\d\s\[\]]+")


@dataclass(frozen=True)
class Program:
    """A program of the page.

    section  the number of its section, such as "3.2"; that of a chapter at its beginning, "" at the page's
    code     what runs, and `before` what runs before it
    column   what the second column of its table is called; `notes` what is in it, by row
    """

    section: str
    code: str
    before: str
    column: str
    notes: Mapping[str, str]


def programs(page: str) -> list[Program]:
    """The programs of the page, in order."""
    section, beginnings, found = "", {"": ""}, list(PARTS.finditer(page))
    made = []
    for part, following in zip(found, [*found[1:], None], strict=True):
        if part["heading"]:
            number = re.match(r"[\d.]+(?= )", part["heading"])
            section = number[0] if number else ""
        if not part["code"]:
            continue
        chapter = section.partition(".")[0]
        before = beginnings[""] + (beginnings.get(chapter, "") if chapter and "." in section else "")
        if "." not in section:
            beginnings[section] = part["code"]
        column, notes = read(following["table"]) if following is not None and following["table"] else ("", {})
        made.append(Program(section, part["code"], before if section else "", column, notes))
    return made


def read(table: str) -> tuple[str, dict[str, str]]:
    """The head of a table's second column, and that column by the first one."""
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
    return rows[0][1], {row[0]: row[1] for row in rows[2:]}


def printed(program: Program) -> dict[str, str]:
    """What a program prints, by name. The registry forgets the layers that it registers."""
    names: dict[str, Any] = {}
    known = set(LAYERS.names())
    try:
        output_of(program.before, names, PAGE.name)
        lines = output_of(program.code, names, PAGE.name).splitlines()
    finally:
        for name in set(LAYERS.names()) - known:
            LAYERS.remove(name)
    return {name: value for name, _, value in (line.partition(" = ") for line in lines)}


def record() -> dict[str, dict[str, Any]]:
    """torch's numbers, by section and name."""
    found: dict[str, dict[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8"))["numbers"]
    return found


def as_shown(value: Any) -> str:
    """A number, or an array, as the page's programs show it."""
    return str((np.round(np.asarray(value, "float64"), 9) + 0.0).tolist())


def with_tables(page: str, shown: Mapping[str, Mapping[str, str]], torch: Mapping[str, Mapping[str, Any]]) -> str:
    """The page with its tables filled in.

    shown   what the programs print, by section
    """
    made = {p.section: table(p, shown[p.section], torch.get(p.section, {})) for p in programs(page) if p.column}
    section = ""

    def fill(part: re.Match[str]) -> str:
        nonlocal section
        if part["heading"]:
            section = part["heading"].split(" ")[0]
        return made[section] if part["table"] else part[0]

    return PARTS.sub(fill, page)


def table(program: Program, shown: Mapping[str, str], torch: Mapping[str, Any]) -> str:
    """The table of a program."""
    lines = [f"| | {program.column} | LayerForge | torch {TORCH} |", "|---|---|---|---|"]
    for name, value in shown.items():
        cells = (name, program.notes.get(name, ""), value, as_shown(torch[name]) if name in torch else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def by_hand(note: str) -> Iterator[Any]:
    """The values of all that is written in figures in a note, between its signs of equality."""
    for part in note.split(" = "):
        if ARITHMETIC.fullmatch(part):
            text = re.sub(r"√(\d+)", r"\1**0.5", part.replace("·", "*").replace("²", "**2"))
            yield eval(compile(ast.parse(text.strip(), mode="eval"), "note", "eval"), {"__builtins__": {}})


def prose(page: str) -> dict[str, str]:
    """What stands in each section besides programs, formulas set apart, and tables."""
    text = re.sub(r"^```.*?^```$|^\|[^\n]*$", "", page, flags=re.M | re.S)
    parts = re.split(r"^#+ ([\d.]*)[^\n]*$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
