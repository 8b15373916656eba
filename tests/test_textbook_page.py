"""docs/textbook.md: every number is what its program prints, what is worked by hand, and what torch says."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import textbook
from support.formulas import by_formula
from support.golden_cases import TORCH
from support.notation import QUOTIENT
from support.textbook import Program

TEXT = textbook.PAGE.read_text(encoding="utf-8")
PROGRAMS = textbook.programs(TEXT)
WITH_TABLE = [pytest.param(program, id=program.section) for program in PROGRAMS if program.column]
CHAPTERS = 9
DIGITS = 1.5e-9  # numbers are shown to 9 decimals: half of the last, and one of it where both were rounded


@pytest.fixture(scope="module")
def shown() -> dict[str, dict[str, str]]:
    """What each program prints, by section and name."""
    return {program.section: textbook.printed(program) for program in PROGRAMS}


def same(a: object, b: object) -> bool:
    """Whether two numbers or arrays have one shape and agree in all digits that are shown."""
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=DIGITS))


def test_every_formula_has_a_program_and_a_table(shown: dict[str, dict[str, str]]) -> None:
    sections = re.findall(r"^### ([\d.]+) ", TEXT, re.M)
    assert len(sections) == len(set(sections)) > 30
    assert {number.partition(".")[0] for number in sections} == {str(n + 1) for n in range(CHAPTERS)}
    assert [p.section for p in PROGRAMS if p.column] == [n for n in sections if n != "7.3"], "7.3 compares costs"
    assert {section for section, numbers in shown.items() if not numbers} == {"", "7"}, "these only begin"


def test_the_tables_are_filled_in(shown: dict[str, dict[str, str]]) -> None:
    fresh = textbook.with_tables(TEXT, shown, textbook.record())
    wrong = [line for line, made in zip(TEXT.splitlines(), fresh.splitlines(), strict=False) if line != made]
    assert fresh == TEXT, f"run `python scripts/make_docs.py`, or correct {wrong[:3]}"


@pytest.mark.parametrize("program", WITH_TABLE)
def test_torch_has_the_same_numbers(program: Program, shown: dict[str, dict[str, str]]) -> None:
    found, wanted = shown[program.section], textbook.record()[program.section]
    assert list(found) == list(wanted)
    for name, value in found.items():
        assert same(ast.literal_eval(value), wanted[name]), name


@pytest.mark.parametrize("program", [p for p in WITH_TABLE if p.values[0].column == "by hand"])
def test_the_numbers_worked_by_hand_are_right(program: Program, shown: dict[str, dict[str, str]]) -> None:
    for name, value in shown[program.section].items():
        values = list(textbook.by_hand(program.notes[name]))
        assert values, f"{name}: {program.notes[name]!r} comes to no number"
        for worked in values:
            assert same(worked, ast.literal_eval(value)), f"{name}: {program.notes[name]!r} is not {value}"


@pytest.mark.parametrize("program", WITH_TABLE)
def test_the_formulas_come_to_the_numbers(program: Program, shown: dict[str, dict[str, str]]) -> None:
    """Those without sums and indices, evaluated as they are written."""
    for formula, found, wanted in textbook.formulas(program, TEXT, shown[program.section]):
        assert same(found, np.squeeze(wanted)), formula


def test_most_formulas_can_be_evaluated(shown: dict[str, dict[str, str]]) -> None:
    found = {f for p in PROGRAMS if p.column for f, *_ in textbook.formulas(p, TEXT, shown[p.section])}
    assert {"dy 2 x", "dy y (1 - y)", "ds + dm [b > c]", "Aᵀ dy", "dY ⊙ B", "-(Yᵀ dY) Yᵀ", "H v"} <= found
    assert by_formula("dY Bᵀ", {"dY": [[1, 0], [2, -1]], "B": [[1, 2], [0, 1]]}).tolist() == [[1, 0], [0, -1]]
    assert by_formula("Σₙ dY[n]", {"dY": [1, 2]}) is None


@pytest.mark.parametrize("program", PROGRAMS[1:], ids=lambda program: program.section)
def test_the_text_speaks_of_the_numbers_in_the_program(program: Program) -> None:
    """What the text says of x, dy or w, the program says too, but for axes of length 1."""
    given = textbook.given(program.before.removeprefix(PROGRAMS[0].code) + program.code)
    for name, value in textbook.settings(textbook.prose(TEXT)[program.section]):
        assert any(same(np.squeeze(value), np.squeeze(each)) for each in given.get(name, [])), f"{name} = {value}"


def test_the_record_is_of_this_page() -> None:
    data = json.loads(textbook.RECORD.read_text(encoding="utf-8"))
    assert data["torch"].startswith(TORCH)
    assert list(data["numbers"]) == [p.section for p in PROGRAMS if p.column], "run scripts/textbook_torch.py"


def test_gradients_are_no_quotients() -> None:
    assert not QUOTIENT.search(TEXT)


def test_links_lead_to_headings() -> None:
    for page, heading in re.findall(r"\]\(([\w.]*)#([^)]+)\)", TEXT):
        text = (textbook.PAGE.parent / page).read_text(encoding="utf-8") if page else TEXT
        titles = re.findall(r"^#+ (.*)$", text, re.M)
        assert heading in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles], heading


def test_the_function_of_ones_own_is_proven_as_the_page_says(tmp_path: Path) -> None:
    [program] = [p for p in PROGRAMS if p.section == "6.1"]
    file = tmp_path / "polar.py"
    file.write_text(program.code.partition("\n\n\nnet = ")[0] + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "layerforge", "test", "polar.py"]
    assert f"`{' '.join(command[2:])}`" in TEXT
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^Polar .* ok$", done.stdout, re.M)


def test_wrong_numbers_are_noticed(shown: dict[str, dict[str, str]]) -> None:
    """In the columns of numbers, and in what is worked by hand."""
    for right, wrong in (("| 12.0 | 12.0 |", "| 12.0 | 13.0 |"), ("| 12.0 | 12.0 |", "| 13.0 | 12.0 |")):
        page = TEXT.replace(right, wrong, 1)
        assert page != TEXT == textbook.with_tables(page, shown, textbook.record())
    [note] = [p.notes["dx"] for p in PROGRAMS if p.section == "1.1"]
    assert list(textbook.by_hand(note)) == [12]
    assert list(textbook.by_hand(note.replace("3", "4"))) == [16]
