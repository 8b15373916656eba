"""The section "A table" of docs/your_data.md: its files, commands and Python do what it says."""

from __future__ import annotations

import csv
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from support.pages import blocks, run_apart

from layerforge.cli import main

PAGE = "your_data.md"
SECTION = "A table"
CITIES = {"Bonn": 0, "Kiel": 300, "Ulm": -200}
CODE = "import sys; from layerforge.cli import main; sys.exit(main(sys.argv[1:]))"
STRICT = [sys.executable, "-W", "error", "-c"]


def customers(path: Path, count: int, seed: int, asked: bool = False) -> tuple[list[str], np.ndarray]:
    """A table as the page describes it, with less of those that are `asked` about. Who buys, and what they spend."""
    rng = np.random.default_rng(seed)
    age, visits = rng.integers(18, 80, count), rng.poisson(5, count)
    city = rng.choice(list(CITIES), count)
    spent = 500 + 20.0 * age + 60 * visits + [CITIES[name] for name in city] + rng.normal(0, 20, count)
    bought = np.where(age + 3 * visits > 60, "yes", "no").tolist()
    ages = ["" if rng.random() < 0.05 and not asked else str(a) for a in age]
    known = {"age": ages, "city": city, "visits": visits}
    every = {"customer": np.arange(count) + 1, **known, "spent": spent.round(2), "bought": bought}
    columns = dict(sorted(known.items(), reverse=True)) if asked else every
    lines = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    return bought, spent


def journey(
    number: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, float], list[dict[str, str]], list[str], np.ndarray]:
    """Train, delete what was learned from, then score and predict in processes of their own, as the page says."""
    config, commands = blocks(PAGE, SECTION, "yaml")[number], blocks(PAGE, SECTION, "sh")[number].splitlines()
    assert len(config.splitlines()) <= 12 and len(commands) == 3
    train, score, predict = (shlex.split(line)[1:] for line in commands)
    (folder / train[1]).write_text(config)
    customers(folder / "train.csv", 600, 0)
    customers(folder / "val.csv", 200, 1)
    bought, spent = customers(folder / "new.csv", 100, 2, asked=True)
    monkeypatch.chdir(folder)
    assert main([*train, "--quiet"]) == 0
    (folder / "train.csv").unlink()
    scores = json.loads(run_apart([*STRICT, CODE, *score, "--json"], folder))
    run_apart([*STRICT, CODE, *predict], folder)
    with (folder / "answers.csv").open() as file:
        return scores, list(csv.DictReader(file)), bought, spent


def test_who_buys_is_learned_from_gaps_and_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, answers, bought, _ = journey(0, tmp_path, monkeypatch)
    assert scores["val/accuracy"] > 0.93
    right = [row["prediction"] == word for row, word in zip(answers, bought, strict=True)]
    assert np.mean(right) > 0.93


def test_what_is_spent_comes_back_in_its_own_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, answers, _, spent = journey(1, tmp_path, monkeypatch)
    [column] = {"v0", "value", "prediction", "spent"} & set(answers[0])
    values = np.array([float(row[column]) for row in answers])
    assert np.sqrt(np.mean((values - spent) ** 2)) < 0.25 * spent.std()
    assert scores["val/loss"] < 0.1
    numbers = re.findall(r"[\d.]+", run_apart([*STRICT, blocks(PAGE, SECTION, "python")[0]], tmp_path))
    assert [float(n) for n in numbers] == pytest.approx([500 + 620 + 240 - 200, 500 + 980 + 660], rel=0.1)
