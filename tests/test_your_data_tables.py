"""The sections "An imbalanced table" and "Arrays from Python" of docs/your_data.md do what they say."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from support.pages import blocks, run_apart

PAGE = "your_data.md"


def layerforge(line: str, folder: Path, *more: str) -> str:
    """What a command of the page prints, in a process of its own."""
    name, *words = shlex.split(line)
    assert name == "layerforge"
    return run_apart([sys.executable, "-m", "layerforge", *words, *more], folder)


def payments(path: Path, count: int, rng: Any) -> None:
    fraud = rng.random(count) < 0.03
    amount, card = rng.gamma(2, 40, count) + 160 * fraud, rng.integers(0, count // 6, count)
    rows = zip(amount.round(2), rng.integers(0, 24, count), card, np.where(fraud, "yes", "no"), strict=True)
    path.write_text("\n".join(["amount,hour,card,fraud", *(",".join(map(str, row)) for row in rows)]) + "\n")


def test_an_imbalanced_table_is_trained_scored_and_predicted_without_its_file(tmp_path: Path) -> None:
    section, rng = "An imbalanced table", np.random.default_rng(0)
    [config] = blocks(PAGE, section, "yaml")
    assert len(config.splitlines()) <= 12
    (tmp_path / "fraud.yaml").write_text(config)
    payments(tmp_path / "fraud.csv", 2000, rng)
    payments(tmp_path / "fraud_test.csv", 1000, rng)
    (tmp_path / "new.csv").write_text("hour,amount,card\n3,612.5,7\n14,21.0,9\n")
    train, score, predict = blocks(PAGE, section, "sh")[0].splitlines()
    layerforge(train, tmp_path)
    (tmp_path / "fraud.csv").unlink()
    assert json.loads(layerforge(score, tmp_path, "--json"))["test/balanced"] > 0.9
    header, *answers = (line.split(",") for line in layerforge(predict, tmp_path).splitlines())
    assert [dict(zip(header, answer, strict=True))["prediction"] for answer in answers] == ["yes", "no"]


def test_arrays_from_python_are_trained_scored_and_predicted_without_them(tmp_path: Path) -> None:
    section = "Arrays from Python"
    train, ask = blocks(PAGE, section, "python")
    run_apart([sys.executable, "-W", "error", "-c", train], tmp_path)
    assert run_apart([sys.executable, "-W", "error", "-c", ask], tmp_path) == "[0 1]\n"
    x = np.random.default_rng(1).normal(size=(100, 2))
    np.savez(tmp_path / "new.npz", x=x, label=(np.hypot(*x.T) > 1.1).astype(int))
    np.savez(tmp_path / "question.npz", x=[[0.1, 0.2], [2.0, -1.5]])
    score, predict = blocks(PAGE, section, "sh")[0].splitlines()
    assert json.loads(layerforge(score, tmp_path, "--json"))["test/accuracy"] > 0.85
    header, *answers = (line.split(",") for line in layerforge(predict, tmp_path).splitlines())
    assert [dict(zip(header, answer, strict=True))["prediction"] for answer in answers] == ["0", "1"]
