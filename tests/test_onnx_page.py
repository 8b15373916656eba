"""docs/onnx.md: its commands and programs do what it says, in their order, and its table is made from the exports."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import onnx_page
from support.pages import output_of
from support.tools import demand

from layerforge.cli import main
from layerforge.data.digits import Digits

TEXT = onnx_page.PAGE.read_text(encoding="utf-8")


def test_the_table_is_made_from_the_exports() -> None:
    assert onnx_page.filled(TEXT) == TEXT, "run `python scripts/make_docs.py`"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configs of the page, and images."""
    demand("onnxruntime")
    place = tmp_path_factory.mktemp("onnx")
    for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.S):
        (place / f"{re.match('name: (.*)', block)[1]}.yaml").write_text(block)
    images = Digits.from_config({"split": "test[:3]"}).load()["image"]
    np.save(place / "images.npy", (images / 255).astype(np.float32))
    Image.fromarray(images[0, 0]).save(place / "seven.png")
    return place


@pytest.fixture(scope="module")
def said(workplace: Path) -> dict[str, str]:
    """What the commands and programs of the page print, which run in their order."""
    found: dict[str, str] = {}
    with contextlib.chdir(workplace):
        for language, block in re.findall(r"```(sh|python)\n(.*?)```", TEXT, re.S):
            if language == "python":
                found[block] = output_of(block, {}, "onnx.md")
                continue
            for line in block.splitlines():
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    assert main(shlex.split(line)[1:]) == 0, line
                found[line] = out.getvalue()
    return found


def printed(said: dict[str, str], part: str) -> str:
    """What the first command or program prints that has these words in it."""
    return next(text for line, text in said.items() if part in line)


def test_files_are_compared(said: dict[str, str]) -> None:
    for part in ("-o digits.onnx", "--with-transform", "import onnx digits.onnx"):
        assert "all 2 are equal, compared with ONNX Runtime" in printed(said, part), part


def test_the_preprocessing_is_in_the_file(said: dict[str, str]) -> None:
    assert printed(said, 'whole.onnx")') == "uint8\nTrue\n"


def test_what_was_taken_in_predicts_and_trains(said: dict[str, str], workplace: Path) -> None:
    summary, shape, types = printed(said, 'load_model("digits.onnx")').splitlines()
    assert summary.endswith("exact.")
    assert shape == "(3, 10)"
    assert types == "['Flatten', 'Linear', 'ReLU', 'Linear']"
    assert len(printed(said, "layerforge predict").splitlines()) == 4
    losses = [json.loads(row)["train/loss"] for row in _metrics(workplace) if "train/loss" in row]
    assert losses[0] < 1.2, "training began anew"


def test_an_image_is_taken_where_its_scale_was_said(said: dict[str, str]) -> None:
    as_arrays, as_image = (printed(said, f"predict {name}").splitlines()[1] for name in ("digits", "scaled"))
    ours, theirs = ([float(number) for number in line.split(",")[2:]] for line in (as_arrays, as_image))
    assert theirs == pytest.approx(ours, abs=1e-3)


def test_it_learns_other_classes(said: dict[str, str], workplace: Path) -> None:
    assert "fc2" in printed(said, "--allow-missing")
    rows = [json.loads(row) for row in _metrics(workplace, "odd")]
    assert [row["val/accuracy"] for row in rows if "val/accuracy" in row][-1] > 0.85


def _metrics(workplace: Path, name: str = "tuned") -> list[str]:
    [run] = [path for path in (workplace / "runs" / name).iterdir() if path.is_dir() and not path.is_symlink()]
    return (run / "metrics.jsonl").read_text().splitlines()
