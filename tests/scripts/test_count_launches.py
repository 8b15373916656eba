"""What a step costs on a device is counted, and a step that costs more counts more."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.tools import demand_compiler

from layerforge.config.document import Config

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts" / "count_launches.py"
CONFIG = """\
version: 1
inputs: {x: {shape: [8, 6]}, t: {shape: [8], dtype: int64}}
net:
  - {name: fc, type: Linear, bottom: x, out_features: 2}
  - {name: act, type: ReLU}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [act, t]}
solver: {type: SGD, lr: 0.1}
"""


def run(folder: Path, *options: str) -> Any:
    """The counts of a step of a small net."""
    (folder / "small.yaml").write_text(CONFIG)
    command = [sys.executable, str(SCRIPT), str(folder / "small.yaml"), "--json", str(folder / "found.json"), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "found.json").read_text())["small"]
    assert all(f"{count:,}" in done.stdout for count in found.values())
    return found


@pytest.mark.parametrize(("option", "more"), [("net.act.type=Softsign", "launches"), ("solver.type=LARS", "launches")])
def test_what_a_step_costs(tmp_path: Path, option: str, more: str) -> None:
    plain, other = run(tmp_path), run(tmp_path, "--set", option)
    assert plain["uploads"] == 2  # x and t
    assert plain["waits"] == other["waits"] == 1
    assert plain["launches"] > 10
    assert other[more] > plain[more]


LIMITS = {
    "mnist_mlp": 100,
    "mnist_lenet": 220,
    "cifar10_resnet20": 1400,
    "char_lstm": 3500,
    "char_transformer": 500,
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_step_of_the_examples_stays_within_its_limit(name: str) -> None:
    """Of a small batch: a larger one launches no more."""
    demand_compiler()
    script = runpy.run_path(str(SCRIPT))
    path = ROOT / "configs" / f"{name}.yaml"
    found = script["count"](Config.load(path, ("data.train.batch_size=4",)))
    assert found["launches"] <= LIMITS[name]
    assert (found["waits"], found["uploads"]) == (1, 2)


@pytest.mark.parametrize(("text", "message"), [("ReLU", "ReLUU"), ("solver: {type: SGD, lr: 0.1}", "has no solver")])
def test_a_config_that_cannot_be_counted(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(CONFIG.replace(text, message if message.startswith(text) else ""))
    done = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path / "bad.yaml")], capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
