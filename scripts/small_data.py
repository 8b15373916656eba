"""What nets reach on scikit-learn's packaged data with what the documentation says and nothing else.

    python scripts/small_data.py [--seeds 5] [NAME ...]      needs scikit-learn and Pillow

Each set is written as files of its owner would be: breast_cancer, wine and diabetes as CSV with words for classes,
digits as a folder of PNG files. A YAML file of a few lines trains on it; `data.split` sets a test part aside, another
one for each seed, that nothing looks at until the end. The exit code is 1 where a mean over the seeds falls short of
what it should be.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerforge import train
from layerforge.training.console import Console

TABLE = """
data:
  train: {{type: CSV, path: {name}.csv, label: kind, standardize: true, batch_size: 16}}
  split: {{test: 0.2, stratify: label}}
net:
  - {{name: fc1, type: Linear, bottom: x, out_features: 32}}
  - {{name: act, type: ReLU}}
  - {{name: drop, type: Dropout, p: 0.3}}
  - {{name: fc2, type: Linear, out_features: {classes}}}
  - {{name: loss, type: SoftmaxCrossEntropy, bottom: [fc2, label]}}
  - {{name: accuracy, type: Accuracy, bottom: [fc2, label], phase: eval}}
solver: {{type: AdamW, lr: 0.003, weight_decay: 0.01}}
train: {{epochs: 40}}
"""

REGRESSION = """
data:
  train: {type: CSV, path: diabetes.csv, target: {column: progression, standardize: true}, standardize: true,
          batch_size: 16}
  split: {test: 0.2}
net:
  - {name: fc1, type: Linear, bottom: x, out_features: 32}
  - {name: act, type: Tanh}
  - {name: drop, type: Dropout, p: 0.3}
  - {name: fc2, type: Linear, out_features: 1}
  - {name: loss, type: MSELoss, bottom: [fc2, target]}
  - {name: r2, type: R2, bottom: [fc2, target], phase: eval}
solver: {type: AdamW, lr: 0.001, weight_decay: 0.1}
train: {epochs: 30}
"""

IMAGES = """
data:
  train: {type: ImageFolder, path: digits, size: 8, color: gray, batch_size: 32, augment: {shift: 1}}
  split: {test: 0.2, stratify: label}
net:
  - {name: conv1, type: Conv2d, bottom: image, out_channels: 16, kernel_size: 3, padding: 1}
  - {name: act1, type: ReLU}
  - {name: conv2, type: Conv2d, out_channels: 32, kernel_size: 3, padding: 1}
  - {name: act2, type: ReLU}
  - {name: pool, type: MaxPool2d, kernel_size: 2}
  - {name: flat, type: Flatten}
  - {name: fc, type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
  - {name: accuracy, type: Accuracy, bottom: [fc, label], phase: eval}
solver: {type: Adam, lr: 0.003}
train: {epochs: 15}
"""


def write_table(name: str, column: str) -> None:
    """A packaged set as NAME.csv, its classes by their names."""
    from sklearn import datasets

    data: Any = getattr(datasets, f"load_{name}")()
    last = data.target if column == "progression" else np.asarray(data.target_names)[data.target]
    header = [f"f{i}" for i in range(data.data.shape[1])]
    rows = [",".join([*map(str, row), str(end)]) for row, end in zip(data.data, last, strict=True)]
    Path(f"{name}.csv").write_text("\n".join([",".join([*header, column]), *rows]) + "\n")


def write_digits() -> None:
    """digits/DIGIT/NUMBER.png, 8 × 8 pixels in grey."""
    from PIL import Image
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    for number, (image, digit) in enumerate(zip(data.images, data.target, strict=True)):
        folder = Path("digits", str(digit))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(folder / f"{number}.png")


@dataclass(frozen=True)
class Task:
    """A set, what trains on it, and what the mean of a metric of the test part should be at least."""

    write: Callable[[], None]
    config: str
    metric: str
    wanted: float


TASKS = {
    "breast_cancer": Task(
        lambda: write_table("breast_cancer", "kind"),
        TABLE.format(name="breast_cancer", classes=2),
        "test/accuracy",
        0.97,
    ),
    "wine": Task(lambda: write_table("wine", "kind"), TABLE.format(name="wine", classes=3), "test/accuracy", 0.97),
    "diabetes": Task(lambda: write_table("diabetes", "progression"), REGRESSION, "test/r2", 0.45),
    "digits": Task(write_digits, IMAGES, "test/accuracy", 0.97),
}


def measure(name: str, seeds: int) -> bool:
    """Train a set with every seed and print what came of it; whether that is enough."""
    task, found, begun = TASKS[name], [], time.monotonic()
    task.write()
    Path(f"{name}.yaml").write_text(task.config)
    for seed in range(seeds):
        console = Console(progress="off", quiet=True, results=False)
        result = train(f"{name}.yaml", [f"seed={seed}", f"data.split.seed={seed}"], console=console)
        found.append(result.test[task.metric])
    mean, enough = statistics.fmean(found), statistics.fmean(found) >= task.wanted
    each, seconds = " ".join(f"{value:.4f}" for value in found), time.monotonic() - begun
    verdict = "" if enough else "   NOT ENOUGH"
    print(
        f"{name:14} {task.metric:14} {each}  mean {mean:.4f}  (>= {task.wanted})  {seconds:.1f} s{verdict}", flush=True
    )
    return enough


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TASKS)}; by default all")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        enough = [measure(name, args.seeds) for name in args.names or TASKS]
        os.chdir("/")
    return 0 if all(enough) else 1


if __name__ == "__main__":
    sys.exit(main())
