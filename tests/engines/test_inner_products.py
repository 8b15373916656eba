"""Products of bfloat16 that pass over the tiles of the processor, and go another way: they are the same products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.tools import demand_that

from layerforge import Net
from layerforge.arrays.bfloat16 import BFLOAT16, narrowed, widened
from layerforge.engines.onednn import inner_products, library
from layerforge.engines.onednn.op import Op

SHAPES = [(64, 784, 256), (100, 1024, 64), (33, 50, 40), (40, 1, 36), (32, 32, 1)]  # rows, features in, features out


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return narrowed(np.random.default_rng(seed).normal(size=shape).astype("float32"))


def run(maker: Any, *arrays: np.ndarray) -> None:
    Op(maker, (), lambda name, size: np.empty(size, "uint8"))(*arrays)


@pytest.mark.parametrize(("rows", "features", "outputs"), SHAPES)
def test_gradients_of_an_inner_product_are_products(rows: int, features: int, outputs: int) -> None:
    demand_that(library.bfloat16_missing() is None, "bfloat16")
    x, dy, w = random(rows, features), random(rows, outputs, seed=1), random(outputs, features, seed=2)
    dw, dx = np.zeros((outputs, features), "float32"), np.zeros((rows, features), BFLOAT16)
    run(inner_products.by_weights, x, dy, dw)
    run(inner_products.by_bottom, dy, w, dx)
    x64, dy64, w64 = (widened(a).astype("float64") for a in (x, dy, w))
    np.testing.assert_allclose(dw, dy64.T @ x64, atol=1e-5 * rows)
    np.testing.assert_allclose(widened(dx), dy64 @ w64, rtol=2.0**-8, atol=1e-5 * outputs)


@pytest.mark.parametrize(("rows", "features", "outputs"), SHAPES[:2])
def test_a_net_has_the_gradients_of_the_reference(rows: int, features: int, outputs: int) -> None:
    demand_that(library.bfloat16_missing() is None, "bfloat16")
    config = {
        "precision": "bf16-mixed",
        "inputs": {"x": {"shape": [rows, features], "grad": True}, "t": {"shape": [rows, outputs]}},
        "net": [
            {"name": "fc", "type": "Linear", "bottom": "x", "out_features": outputs, "bias": False},
            {"name": "y", "type": "ReLU"},
            {"name": "loss", "type": "MSELoss", "bottom": ["y", "t"]},
        ],
    }
    x, t = (widened(random(rows, n, seed=3)) for n in (features, outputs))
    found = []
    for engine in ("auto", "reference"):
        net = Net.from_config({**config, "engine": engine})
        net.forward(x=x, t=t, phase="train")
        net.backward_losses(overwrite_grad=True)
        found.append((net.params["fc"]["weight"].grad, net.blobs["x"].grad))
    for mine, theirs in zip(*found, strict=True):
        assert np.abs(mine - theirs).max() <= 2.0**-7 * np.abs(theirs).max()
