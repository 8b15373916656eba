"""A small, seeded share of what scripts/fuzz.py tries: every parser gives data or an error of ours."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import fuzz
from fuzzing.formats import FORMATS, Format
from fuzzing.mutations import spoilt
from support.tools import demand

FILES = 300
CONTAINED = [name for name in FORMATS if FORMATS[name]().front is not None]
OWN = [name for name in FORMATS if name not in CONTAINED]


def ready(name: str) -> Format:
    """A format whose reader is installed."""
    made = FORMATS[name]()
    if made.needs:
        demand(made.needs)
    return made


@pytest.mark.parametrize("name", FORMATS)
def test_the_good_files_are_read(name: str, tmp_path: Path) -> None:
    made = ready(name)
    for number, data in enumerate(made.seeds):
        path = tmp_path / str(number) / made.name
        path.parent.mkdir()
        path.write_bytes(data)
        made.read(path)


@pytest.mark.parametrize("name", OWN)
def test_spoilt_files(name: str, tmp_path: Path) -> None:
    made, report = ready(name), fuzz.Report()
    for number in range(FILES):
        path = tmp_path / str(number) / made.name
        path.parent.mkdir()
        path.write_bytes(fuzz.content(name, 12, number, made))
        fuzz.tried(made, path, number, report)
    assert not report.findings
    assert report.files == FILES == report.accepted + sum(report.refused.values())
    assert sum(report.refused.values()) > FILES / 4, "the files are hardly spoilt"


@pytest.mark.skipif(os.name != "posix", reason="the limits of a process as POSIX has them")
@pytest.mark.parametrize("name", CONTAINED)
def test_spoilt_files_for_the_hdf5_library(name: str) -> None:
    report = fuzz.campaign(name, FILES, seed=12)
    assert not report.findings
    assert report.files == FILES == report.accepted + sum((report.refused + report.contained).values())


@pytest.mark.parametrize("name", CONTAINED)
def test_what_the_hdf5_library_raises_is_a_finding_where_it_was_not_expected(name: str, tmp_path: Path) -> None:
    """Errors of the programs that read such files are made of expected ones; another would hide a fault of ours."""
    made, report = FORMATS[name](), fuzz.Report()
    made.read = lambda path: [][0]
    fuzz.tried(made, tmp_path, 7, report)
    assert [f["number"] for f in report.findings] == [7]
    assert report.findings[0]["what"].startswith("IndexError: list index out of range (test_fuzz.py:")


def test_names_that_are_no_utf_8_are_refused(tmp_path: Path) -> None:
    """Found by the script: number 1398 of seed 0."""
    made, report = FORMATS["snapshot1"](), fuzz.Report()
    (tmp_path / "file").write_bytes(fuzz.content("snapshot1", 0, 1398, made))
    fuzz.tried(made, tmp_path / "file", 1398, report)
    assert report.refused == {"Unreadable": 1}


def test_a_number_always_stands_for_the_same_file() -> None:
    made = FORMATS["npz"]()
    one, two = (fuzz.content("npz", 1, 5, FORMATS["npz"]()) for _ in range(2))
    assert one == two != fuzz.content("npz", 2, 5, made)
    assert len({spoilt(random.Random(i), made.seeds, made.words) for i in range(50)}) > 40


@pytest.mark.skipif(os.name != "posix", reason="the limits of a process as POSIX has them")
@pytest.mark.parametrize(
    ("broken", "found"),
    [
        ("raise KeyError('surprise')", "KeyError"),
        ("import os; os.abort()", "ended by signal 6"),
        ("bytearray(2 << 30)", "MemoryError"),
        ("while True: pass", "more than"),
    ],
)
def test_the_script_finds_what_it_looks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, found: str
) -> None:
    """A parser that does something terrible to the file with the number 3."""
    script = tmp_path / "fuzz.py"
    scripts = Path(fuzz.__file__).parent
    text = Path(fuzz.__file__).read_text().replace("Path(__file__).parent\n", f"Path({str(scripts)!r})\n")
    read = "        made.read(path)\n"
    script.write_text(text.replace(read, f"        if number == 3:\n            {broken}\n{read}"))
    monkeypatch.setattr(fuzz, "__file__", str(script))
    monkeypatch.setattr(fuzz, "SECONDS", 3.0 if "while" in broken else 60.0)
    report = fuzz.campaign("idx", 8, seed=0)
    assert [f["number"] for f in report.findings] == [3]
    assert found in report.findings[0]["what"]
    assert report.files == 8
