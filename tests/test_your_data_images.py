"""The section "A folder of images" of docs/your_data.md: its files, commands and Python do what it says."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from support.image_files import COLOURS, picture, write_folder
from support.pages import blocks, run_apart

PAGE = "your_data.md"


def block(language: str) -> str:
    """The block of the section."""
    [found] = blocks(PAGE, "A folder of images", language)
    return found


def test_a_folder_of_images_is_trained_scored_and_predicted_without_the_training_images(tmp_path: Path) -> None:
    config = block("yaml")
    assert len(config.splitlines()) <= 12
    (tmp_path / "pets.yaml").write_text(config)
    write_folder(tmp_path / "pets" / "train", 14)
    write_folder(tmp_path / "pets" / "test", 5)
    picture(50, 90, 61, COLOURS["cat"]).save(tmp_path / "cat.jpg")
    train, score, predict = (shlex.split(line) for line in block("sh").splitlines())
    layerforge = [sys.executable, "-m", "layerforge"]
    run_apart([*layerforge, *train[1:]], tmp_path)
    shutil.rmtree(tmp_path / "pets" / "train")
    metrics = json.loads(run_apart([*layerforge, *score[1:], "--json"], tmp_path))
    assert metrics["test/accuracy"] > 0.9
    header, answer = (line.split(",") for line in run_apart([*layerforge, *predict[1:]], tmp_path).splitlines())
    assert dict(zip(header, answer, strict=True))["prediction"] == "cat"
    with (tmp_path / "cat.jpg").open("rb") as file:
        command = [*layerforge, *predict[1:-1], "-"]
        piped = subprocess.run(command, cwd=tmp_path, stdin=file, capture_output=True, text=True, check=False)
    assert ",cat," in piped.stdout, piped.stderr
    code = block("python")
    assert run_apart([sys.executable, "-W", "error", "-c", code], tmp_path) == "('cat', 'dog') cat ['cat' 'cat']\n"
