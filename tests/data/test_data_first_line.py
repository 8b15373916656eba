"""A first line of numbers: names where no row resembles it, a sample where it is one of many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import isolate

from layerforge.data.first_line import may_be_names
from layerforge.data.tables import CSV
from layerforge.schema.errors import ConfigError

RNG = np.random.default_rng(11)
LABEL = np.arange(30) % 3
ONE_HOT = np.column_stack([np.eye(3, dtype=int)[LABEL], LABEL])
FLOATS = np.column_stack([RNG.uniform(0, 9, (30, 3)).round(3), RNG.uniform(0, 9, 30).round(3)])
COUNTS = np.column_stack([RNG.integers(0, 9, (30, 3)), LABEL])


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return isolate(monkeypatch, tmp_path)


def written(here: Path, first: str, table: np.ndarray) -> dict[str, Any]:
    lines = [",".join(f"{number:g}" for number in row) for row in table]
    (here / "t.csv").write_text("\n".join([first, *lines]) + "\n")
    return {"path": "t.csv", "label": -1}


@pytest.mark.parametrize(
    ("first", "table"),
    [
        *((line, ONE_HOT) for line in ("1,2,3,4", '"1","2","3","4"', "10,20,30,40", "2019,2020,2021,2022", "3,2,1,0")),
        *((line, ONE_HOT) for line in ("00,01,02,03", "0.0,1.0,2.0,3.0", "400.5,401,401.5,402", "0,1,2,-1")),
        ("0,1,2,3.1", ONE_HOT),
        ("2019,2021,2024,2020", ONE_HOT),  # far from all that follows
        ("2019,2020,2021", ONE_HOT[:, 1:]),
        ("101,205", ONE_HOT[:, 2:]),
        ("5,2,8,3", COUNTS),  # a class of its own
        ("2,5,3,8", FLOATS),  # whole numbers above others
        ("1,2,3,4", FLOATS),
        ("1,2,3,4", COUNTS[:4]),
    ],
)  # fmt: skip
def test_numbers_that_no_row_resembles_are_asked_about(here: Path, first: str, table: np.ndarray) -> None:
    values = written(here, first, table)
    with pytest.raises(ConfigError, match="a header or a sample") as caught:
        CSV(**values).load()
    assert "header: true or header: false" in str(caught.value)
    labels = {"label_role": "real"}  # a header's number is no class
    assert len(CSV(**values, header=True, **labels).load()["x"]) == len(table)
    assert len(CSV(**values, header=False, **labels).load()["x"]) == len(table) + 1


SAMPLES = {
    "measured": RNG.normal(size=(40, 4)).round(2),
    "rounded": (RNG.normal(size=(40, 4)) * 2 + 5).round(1),
    "counts": COUNTS,
    "one hot": ONE_HOT,
    "windows": np.lib.stride_tricks.sliding_window_view(np.arange(40), 4),
    "multiples": np.arange(1, 41)[:, None] * np.arange(1, 5),
    "squares": np.arange(1, 41)[:, None] ** np.arange(1, 5),
    "years": np.column_stack([1980 + np.arange(40), RNG.integers(0, 90, (40, 3))]),
    "skewed": np.exp(RNG.normal(size=(40, 4)) * 2 + 5).astype(int),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_among_its_like_is_a_sample(name: str) -> None:
    """Whichever row comes first: hardly any may be taken for names."""
    rows = [[f"{number:g}" for number in row] for row in SAMPLES[name]]
    asked = [may_be_names(rows[i], 3, rows[:i] + rows[i + 1 :]) for i in range(1, len(rows))]
    assert sum(asked) <= 1
    assert not may_be_names(rows[0], 3, rows[1:])


def test_a_sample_is_a_sample_whatever_stands_in_the_other_cells(here: Path) -> None:
    (here / "t.csv").write_text("4,2,7\n" + "1,nan,inf\n2,,x\n3,4\n" * 9)
    rows = [line.split(",") for line in (here / "t.csv").read_text().splitlines()]
    assert not may_be_names(rows[0], 2, rows[1:])
    assert not may_be_names(["1", "2", "3", "4"], None, [])
    words = [["1", "2", "3", word] for word in ("ant", "bee", "ant")]
    assert not may_be_names(words[0], 3, words[1:])
    assert may_be_names(["1", "2", "3", "4", "kind"], 4, [["5", "6", "2", "1", "ant"]])
