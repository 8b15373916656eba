"""MODEL and --weights: MODEL says what the net is, and weights that do not fit it are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from layerforge.cli import main
from layerforge.inference.model import Model, load_model
from layerforge.inference.trained import open_trained
from layerforge.schema.errors import DataError
from layerforge.snapshot import write_snapshot

CONFIG = """name: NAME
data: {train: {type: Digits, split: "train[:40]", batch_size: 20}}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc1, type: Linear, out_features: 6}
  - {name: act, type: ReLU}
  - {name: fc2, type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc2, label]}
solver: {lr: 0.1}
train: {epochs: 1}
"""


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`relu`, `tanh` with the same parameters, and `wide` with others."""
    monkeypatch.chdir(tmp_path)
    for name, old, new in (("relu", "", ""), ("tanh", "ReLU", "Tanh"), ("wide", "features: 6", "features: 7")):
        Path("net.yaml").write_text(CONFIG.replace("NAME", name).replace(old, new))
        assert main(["train", "net.yaml", "-q", "--progress=off"]) == 0


@pytest.mark.parametrize("target", ["runs/relu/latest", "runs/relu/latest/checkpoints/last.h5", "saved"])
def test_weights_are_taken_into_the_net_of_the_model(target: str) -> None:
    load_model("runs/relu/latest").save("saved")
    samples = np.random.default_rng(1).integers(0, 256, (5, 1, 28, 28)).astype(np.uint8)
    mixed = open_trained(target, weights="runs/tanh/latest")
    assert [layer.type_name for layer in mixed.net.layers.values()][2] == "ReLU"
    other = load_model("runs/tanh/latest")
    relu = load_model("runs/relu/latest")
    relu.net.load_arrays(other.net.arrays(), "tanh")
    expected = relu.scores(samples)
    assert np.array_equal(Model(mixed).scores(samples), expected)
    assert not np.allclose(other.scores(samples), expected)
    with pytest.raises(DataError, match=r"wide.*does not fit this net"):
        open_trained(target, weights="runs/wide/latest")


def test_a_model_that_is_weights_alone_names_no_net() -> None:
    write_snapshot("alone.h5", load_model("runs/relu/latest").net.arrays(), {})
    with pytest.raises(DataError, match=r"alone\.h5 holds weights only"):
        open_trained("alone.h5", weights="runs/relu/latest")
