"""Every configuration that ships builds, counts what it should, and trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from layerforge import Net, Solver
from layerforge.check.harness import draw

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
PARAMETERS = {
    "mnist_mlp": 784 * 256 + 256 + 2 * 256 + 256 * 128 + 128 + 2 * 128 + 128 * 10 + 10,
    "mnist_lenet": 431_080,  # Caffe's LeNet
    "cifar10_quick": 145_578,  # Caffe's quick
    "cifar10_resnet20": 272_474,  # He et al.'s 0.27 M, with 1x1 projections as shortcuts
    "char_lstm": 65 * 64 + 4 * 256 * (64 + 256 + 2) + 256 * 65 + 65,
    "char_transformer": 818_241,  # 4 layers of 12 · 128² and their biases and norms, embeddings, scores
}
WITHOUT_DATA = {"circuit"}


def test_the_promised_configs_are_there() -> None:
    names = {p.stem for p in CONFIGS}
    assert names >= {*PARAMETERS, *WITHOUT_DATA, "fashion_mnist_cnn", "digits_mlp", "mnist_autoencoder"}


def test_the_circuit_has_the_textbooks_value_and_derivatives() -> None:
    net = Net.from_yaml(CONFIGS[0].parent / "circuit.yaml")
    assert net.forward(x=3.0, y=2.0)["f"] == 10
    net.backward()
    assert (net.blobs["x"].grad, net.blobs["y"].grad) == (8, 1)
    assert net.jvp(x=1.0, y=10.0)["f"] == 18


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config_opens_with_what_it_is_what_to_expect_and_how_long_it_takes(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert all(line.startswith("# ") for line in lines[:3])
    assert lines[1].startswith("# Expect ")
    assert not lines[3].startswith("#")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config_trains_two_iterations(path: Path) -> None:
    net = Net.from_yaml(path)
    if net.config.data is None:
        assert path.stem in WITHOUT_DATA
        return
    solver = Solver.from_config(net, net.config.solver)
    solver.total_iterations, solver.total_epochs = 10, 1
    rng = np.random.default_rng(0)
    specs = net.config.data.specs("train")
    batch = {name: draw(spec.with_shape((4, *spec.shape[1:])), rng) for name, spec in specs.items()}
    before = net.parameters.data.copy()
    losses = [solver.step(**batch) for _ in range(2)]
    assert np.isfinite(losses).all()
    assert not np.array_equal(before, net.parameters.data)
    assert "loss" in net.forward(phase="eval", **batch)
    if path.stem in PARAMETERS:
        assert net.parameters.count == PARAMETERS[path.stem]
