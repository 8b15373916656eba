"""docs/textbook.md as data: its programs, the tables below them, and what torch says (tests/golden/textbook.json).

A program prints lines `name = value`; each is a row of the table below it, of which the last two columns are written by
scripts/make_docs.py: what was printed, and torch's number. A program of a section runs after the page's beginning and
after that of its chapter, which have no section.
"""

from __future__ import annotations

import ast
import contextlib
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerforge.schema.registry import LAYERS

from .formulas import by_formula
from .golden_cases import FOLDER, TORCH
from .pages import output_of

PAGE = Path(__file__).parents[2] / "docs" / "textbook.md"
RECORD = FOLDER / "textbook.json"
TABLE = r"\| \| [^|\n]+ \| LayerForge [^\n]*\n\|[-|]+\n(?:\|[^\n]*\n)*"
PARTS = re.compile(rf"^#+ (?P<heading>[^\n]*)$|^```python\n(?P<code>.*?)^```$|^(?P<table>{TABLE})", re.M | re.S)
ARITHMETIC = re.compile(r"(?:ln|arctan|[-+·/()².,\d\s\[\]])+")

SETTING = re.compile(  # a name, and figures that end there
    r"(\w[\w\u0307]*) = (ln )?(\[[-\d.,\s\[\]]*\]|-?[\d.]*\d)(?=[,.:;]| and | with | in | its | the |$)"
)
MARKS = {"run": "{}", "forward": "{}", "backward": "d{}", "jvp": "{}\u0307", "hvp": "v"}  # what arguments are


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
            yield eval(part.strip().replace("·", "*").replace("²", "**2"), {"ln": math.log, "arctan": math.atan})


def formulas(program: Program, page: str, shown: Mapping[str, str]) -> Iterator[tuple[str, Any, Any]]:
    """(formula, its value, the number beside it) for each formula in a program's table that can be evaluated."""
    numbers = {name: values[0] for name, values in given(program.code).items()}
    numbers |= {name.upper(): value for name, value in numbers.items() if name[0] == "w"}
    numbers |= dict(settings(prose(page)[program.section]))
    values = {name: ast.literal_eval(text) for name, text in shown.items()}
    for row, note in program.notes.items():
        if program.column == "formula":  # y = ..., dx = ... beside [y, dx]
            y, *grads = values[row]
            known, wanted = numbers | {"y": y}, {"y": y, "dx": grads[0], "da": grads[0], "db": grads[-1]}
            claims = [(claim, wanted.get(claim.split(" = ")[0])) for claim in re.split(r", (?=[\w\[\]]+ = )", note)]
        else:
            known, claims = numbers | values, [(note, values[row])]
        for formula, number in ((part, n) for claim, n in claims if n is not None for part in claim.split(" = ")):
            found = by_formula(formula, known)
            if found is not None:
                yield formula, found, number


def prose(page: str) -> dict[str, str]:
    """What stands in each section besides programs, formulas set apart, and tables; in one line."""
    text = re.sub(r"^```.*?^```$|^\|[^\n]*$", "", page, flags=re.M | re.S)
    parts = re.split(r"^#+ ([\d.]*)[^\n]*$", text, flags=re.M)
    return {section: " ".join(words.split()) for section, words in zip(parts[1::2], parts[2::2], strict=True)}


def settings(text: str) -> Iterator[tuple[str, Any]]:
    """What a text says that a name is, in figures: `x = 3`, `x = ln [1, 2]`, `dY = [[1, 0]]`."""
    for name, ln, value in SETTING.findall(unicodedata.normalize("NFD", text)):
        number = ast.literal_eval(value)
        yield name, np.log(number) if ln else number


def given(code: str) -> dict[str, list[Any]]:
    """What a program gives to names: x to `run`, dy to `backward`, y with a dot to `jvp`; w to a parameter `weight`."""
    found: dict[str, list[Any]] = {}
    for call in ast.walk(ast.parse(code)):
        if isinstance(call, ast.Call):
            called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            for name, value in arguments(call) if called in MARKS else ():
                found.setdefault(MARKS[called].format(name), []).append(value)
    return found


def arguments(call: ast.Call) -> Iterator[tuple[str, Any]]:
    """The arguments of a call by name, and those in mappings of parameters by their first letter."""
    pairs = [(keyword.arg or "", keyword.value) for keyword in call.keywords]
    for mapping in call.args:
        if isinstance(mapping, ast.Dict):
            keys = (ast.literal_eval(key) for key in mapping.keys if key is not None)
            pairs += [(key.partition(".")[2][:1], value) for key, value in zip(keys, mapping.values, strict=True)]
    for name, value in pairs:
        with contextlib.suppress(NameError):  # of no figures, but variables
            yield name, eval(ast.unparse(value), {"np": np})
