"""Training on the engine, step by step against the reference from the very same weights: scripts/compare_engine.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import compare_engine  # noqa: E402


def residual(channels: int = 8) -> dict[str, Any]:
    """A ResNet of one block at full size and one at half, on small images."""

    def conv(name: str, **more: Any) -> dict[str, Any]:
        options = {"out_channels": channels, "kernel_size": 3, "padding": 1, "bias": False}
        return {"name": name, "type": "Conv2d", **options, **more}

    net = [conv("c0", bottom="image"), {"name": "b0", "type": "BatchNorm"}, {"name": "r0", "type": "ReLU"}]
    for i, stride in ((1, 1), (2, 2)):
        below = f"r{i - 1}"
        net += [conv(f"c{i}a", stride=stride), {"name": f"b{i}a", "type": "BatchNorm"}]
        net += [{"name": f"r{i}a", "type": "ReLU"}, conv(f"c{i}b"), {"name": f"b{i}b", "type": "BatchNorm"}]
        if stride > 1:
            net.append(conv(f"c{i}s", bottom=below, kernel_size=1, padding=0, stride=stride))
            below = f"c{i}s"
        net += [{"name": f"a{i}", "type": "Add", "bottom": [f"b{i}b", below]}, {"name": f"r{i}", "type": "ReLU"}]
    net += [{"name": "pool", "type": "GlobalAvgPool2d"}, {"name": "flat", "type": "Flatten"}]
    net += [{"name": "fc", "type": "Linear", "out_features": 10}]
    net += [{"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]}]
    inputs = {"image": {"shape": [16, 3, 16, 16]}, "label": {"shape": [16], "dtype": "int64"}}
    return {"inputs": inputs, "net": net, "solver": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}}


NETS = {"lenet": str(ROOT / "configs" / "mnist_lenet.yaml"), "residual": residual()}


@pytest.mark.parametrize("name", NETS)
def test_a_step_is_the_references_step_all_along_a_training(name: str) -> None:
    differences, _, weights = compare_engine.compare(NETS[name], steps=13, every=4, samples=16)
    assert {d.step for d in differences} == {0, 4, 8, 12}
    assert {d.kind for d in differences} >= {"gradient", "weight", "loss"}
    assert [d for d in differences if not d.ok] == []
    *_, again = compare_engine.compare(NETS[name], steps=13, every=0, samples=16)
    np.testing.assert_array_equal(weights, again)


def test_runs_repeat_bit_for_bit_on_several_threads() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "compare_engine.py"), NETS["lenet"], "--threads", "2"]
    options = ["--steps", "5", "--every", "2", "--batch", "8"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "repeated: the same bits" in done.stdout


def test_only_rectifiers_at_their_kink_take_the_other_side() -> None:
    mine, theirs = np.array([0.0, 2.0, 0.0, 1e-6], "float32"), np.array([1e-6, 2.0, 0.5, 0.0], "float32")
    assert compare_engine.take_side(mine, theirs) == 2
    np.testing.assert_array_equal(mine, np.array([1e-6, 2.0, 0.0, 0.0], "float32"))


def test_a_difference_that_is_no_number_is_too_far() -> None:
    assert not compare_engine.Difference(0, "gradient", "fc.weight", float("nan")).ok
    assert compare_engine.relative(np.zeros(3), np.zeros(3)) == 0


def test_a_run_that_is_off_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from layerforge.engines.onednn.linear import OneDnnLinear

    def doubled(self: Any, dz: Any, total: Any) -> None:
        total += 2 * dz.sum(axis=0)

    monkeypatch.setattr(OneDnnLinear, "add_column_sums", doubled)
    monkeypatch.setattr(OneDnnLinear, "replays", False)
    assert compare_engine.main([NETS["lenet"], "--steps", "1", "--batch", "4"]) == 1
    assert "1.0e+00 of 1e-04  TOO FAR  fc" in capsys.readouterr().out
