"""docs/caffe.md: its commands and programs do what it says, in their order, and its tables are made from the code."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image
from support import caffe_page
from support.caffe_cases import folder
from support.pages import run_apart
from support.tools import demand, demand_that

from layerforge.data.cifar import CIFAR10
from layerforge.data.lmdb_writing import write_lmdb, write_mean_image
from layerforge.interop import caffe

TEXT = caffe_page.PAGE.read_text(encoding="utf-8")
SOLVER = """net: "cifar10_quick_train_test.prototxt"
test_iter: 5
test_interval: 35
base_lr: 0.0001
momentum: 0.9
weight_decay: 0.004
lr_policy: "fixed"
display: 20
max_iter: 4035
snapshot: 35
snapshot_format: HDF5
snapshot_prefix: "cifar10_quick"
solver_mode: CPU
"""


def test_the_tables_are_made_from_the_code() -> None:
    assert caffe_page.filled(TEXT) == TEXT, "run `python scripts/make_docs.py`"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The b run of cifar10_quick under the names of the page; data, mean image and solver as a script writes them."""
    demand("lmdb")
    demand("cv2")
    data = Path(os.environ.get("LAYERFORGE_DATA", "nowhere"))
    demand_that((data / "cifar10").is_dir(), "images of CIFAR-10 in LAYERFORGE_DATA")
    place, models = tmp_path_factory.mktemp("caffe"), folder() / "models" / "cifar10_quick"
    for name in ("cifar10_quick.prototxt", "cifar10_quick_train_test.prototxt"):
        shutil.copy(models / name, place)
    for suffix in ("caffemodel", "solverstate"):
        shutil.copy(models / f"b.cifar10_quick_iter_4000.{suffix}", place / f"cifar10_quick_iter_4000.{suffix}")
    shutil.copy(models / "mean.binaryproto", place)
    (place / "solver.prototxt").write_text(SOLVER)
    samples = CIFAR10.from_config({"split": "train[:4000]"}).load()
    images, labels = samples["image"], samples["label"]
    root = place / "caffe" / "examples" / "cifar10"
    write_lmdb(root / "cifar10_train_lmdb", images[:3500], labels[:3500])
    write_lmdb(root / "cifar10_test_lmdb", images[3500:], labels[3500:])
    write_mean_image(root / "mean.binaryproto", images[:3500].mean(axis=0))
    Image.fromarray(images[19].transpose(1, 2, 0)).save(place / "frog.png")
    assert labels[19] == 6
    lines = []
    for i in [n for n in range(200) if labels[n] in (6, 8)]:
        (place / "mine").mkdir(exist_ok=True)
        Image.fromarray(images[i].transpose(1, 2, 0)).save(place / "mine" / f"{i}.png")
        lines.append(f"{i}.png {int(labels[i] == 8)}\n")
    (place / "mine" / "train.txt").write_text("".join(lines))
    return place


@pytest.fixture(scope="module")
def said(workplace: Path) -> dict[str, str]:
    """What the commands and programs of the page print, which run in their order."""
    found: dict[str, str] = {}
    for language, block in re.findall(r"```(sh|python)\n(.*?)```", TEXT, re.S):
        if language == "python":
            found[block] = run_apart([sys.executable, "-c", block], workplace)
            continue
        for line in block.splitlines():
            found[line] = run_apart([sys.executable, "-m", "layerforge", *shlex.split(line)[1:]], workplace)
    return found


def printed(said: dict[str, str], part: str) -> str:
    """What the first command or program prints that has these words in it."""
    return next(text for line, text in said.items() if part in line)


def test_the_import_is_compared(said: dict[str, str]) -> None:
    assert "all 12 are equal, compared with OpenCV 4.10" in printed(said, "--check")


def test_an_image_is_predicted_by_command_and_in_python(said: dict[str, str]) -> None:
    assert printed(said, "predict images frog.png").splitlines()[1].startswith("frog.png,0,6,")
    first, summary, *shapes = printed(said, "load_model").splitlines()
    assert first == "6"
    assert summary == "13 layers of Caffe: 13 exact."
    assert shapes == ["(1, 32, 16, 16)", "(32,)"]


def test_training_goes_on_where_caffe_stopped(said: dict[str, str], workplace: Path) -> None:
    accuracy = re.search(r"val/accuracy ([\d.]+) %", printed(said, "layerforge eval"))
    assert accuracy is not None
    assert 72 < float(accuracy[1]) < 90  # Caffe's is 75 % on images that it has not seen, and it has seen these
    told = json.loads((workplace / "going_on" / "fidelity.json").read_text())
    assert {entry["verdict"] for entry in told["layers"]} == {"exact"}
    run = next(path for path in (workplace / "runs" / "CIFAR10_quick").iterdir() if path.is_dir())
    steps = [json.loads(row)["step"] for row in (run / "metrics.jsonl").read_text().splitlines()]
    assert min(steps) > 4000
    assert max(steps) == 4035


def test_what_was_tuned_is_written_back(said: dict[str, str], workplace: Path) -> None:
    assert printed(said, "save_model") == "14 layers of Caffe: 14 exact.\n"
    before, after = (workplace / name for name in ("cifar10_quick_iter_4000.caffemodel", "tuned.caffemodel"))
    models = [caffe.load_model(workplace / "cifar10_quick.prototxt", file) for file in (before, after)]
    weights = [model.get_blobs("ip2")[0] for model in models]
    difference = abs(weights[0] - weights[1]).max()
    assert 0 < difference < 0.1


def test_images_of_ones_own_are_learned(said: dict[str, str], workplace: Path) -> None:
    assert "ip2" in printed(said, "--allow-missing")
    run = next(path for path in (workplace / "runs" / "mine").iterdir() if path.is_dir())
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["train/loss"] for row in rows if "train/loss" in row][-1] < 0.6  # of two classes, at first 0.69
    shutil.copytree(workplace / "images", workplace / "copy")
    definition = workplace / "copy" / "definition.prototxt"
    before = definition.read_text()
    definition.write_text(before.replace("num_output: 10", "num_output: 2"))
    assert definition.read_text() != before
    told = ["export", "caffe", "runs/mine/latest", "--definition", "copy", "--phase", "test", "-o", "mine.caffemodel"]
    run_apart([sys.executable, "-m", "layerforge", *told], workplace)
    model = caffe.load_model(workplace / "mine.prototxt", workplace / "mine.caffemodel")
    assert model.get_blobs("ip2")[0].shape == (2, 64)
