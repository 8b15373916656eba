"""The section "Texts with labels" of docs/your_data.md: its files, commands and Python do what it says."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from pathlib import Path

import numpy as np
from support.pages import blocks, run_apart

PAGE = "your_data.md"
GOOD, BAD = ("wonderful", "moving", "brilliant", "superb"), ("dull", "tedious", "weak", "boring")
OTHERS = ("the", "film", "was", "a", "story", "about", "people", "and", "its", "music")


def block(language: str) -> str:
    """The block of the section."""
    [found] = blocks(PAGE, "Texts with labels", language)
    return found


def reviews(path: Path, count: int, seed: int, labels: bool = True) -> list[str]:
    """Texts whose words say which label they have; returns the labels."""
    rng, found = np.random.default_rng(seed), []
    with path.open("w") as file:
        for _ in range(count):
            label = ("neg", "pos")[rng.integers(2)]
            words = [*rng.choice(OTHERS, rng.integers(3, 12)), *rng.choice(GOOD if label == "pos" else BAD, 2)]
            text = " ".join(rng.permutation(words)).capitalize() + "."
            file.write(json.dumps({"text": text, **({"label": label} if labels else {})}) + "\n")
            found.append(label)
    return found


def test_texts_with_labels_are_trained_scored_and_predicted_without_the_training_file(tmp_path: Path) -> None:
    config = block("yaml")
    assert len(config.splitlines()) <= 12
    (tmp_path / "reviews.yaml").write_text(config)
    for name, count in (("train", 240), ("val", 60)):
        reviews(tmp_path / f"{name}.jsonl", count, seed=count)
    expected = reviews(tmp_path / "new.jsonl", 40, seed=1, labels=False)
    train, score, predict = (shlex.split(line) for line in block("sh").splitlines())
    layerforge = [sys.executable, "-m", "layerforge"]
    run_apart([*layerforge, *train[1:]], tmp_path)
    (tmp_path / "train.jsonl").unlink()
    metrics = json.loads(run_apart([*layerforge, *score[1:], "--json"], tmp_path))
    assert next(v for k, v in metrics.items() if k.endswith("accuracy")) > 0.9
    run_apart([*layerforge, *predict[1:]], tmp_path)
    with (tmp_path / "answers.csv").open() as file:
        answers = [row["prediction"] for row in csv.DictReader(file)]
    assert len(answers) == 40 and np.mean([a == b for a, b in zip(answers, expected, strict=True)]) > 0.9
    assert run_apart([sys.executable, "-W", "error", "-c", block("python")], tmp_path) == "('neg', 'pos') pos\n"
