"""Nets whose memory is planned, and batches for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerforge import Net

IMAGES = {"x": {"shape": [4, 3, 8, 8]}, "t": {"shape": [4], "dtype": "int64"}}


RESIDUAL = [
    {"name": "c1", "type": "Conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1},
    {"name": "b1", "type": "BatchNorm"},
    {"name": "r1", "type": "ReLU"},
    {"name": "drop", "type": "Dropout", "p": 0.2},
    {"name": "c2", "type": "Conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1},
    {"name": "add", "type": "Add", "bottom": ["c2", "input"]},
    {"name": "r2", "type": "ReLU"},
]


def residual(recompute: bool = False, repeat: int = 3) -> dict[str, Any]:
    use = {"name": "s", "block": "basic", "repeat": repeat, "recompute": recompute}
    return {
        "inputs": IMAGES,
        "blocks": {"basic": {"net": RESIDUAL}},
        "net": [
            {"name": "stem", "type": "Conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1},
            use,
            {"name": "pool", "type": "MaxPool2d", "kernel_size": 2},
            {"name": "flat", "type": "Flatten"},
            {"name": "fc", "type": "Linear", "out_features": 5},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
        ],
    }


def forks() -> dict[str, Any]:
    """A blob that four layers read, two losses, a layer without an engine, one in place, and an output of its own."""
    return {
        "inputs": {"x": {"shape": [6, 7]}, "t": {"shape": [6], "dtype": "int64"}},
        "net": [
            {"name": "fc1", "type": "Linear", "out_features": 9},
            {"name": "a", "type": "Tanh", "bottom": "fc1"},
            {"name": "b", "type": "Sigmoid", "bottom": "fc1"},
            {"name": "c", "type": "Softplus", "bottom": "fc1"},
            {"name": "m", "type": "Mul", "bottom": ["a", "b", "c", "fc1"]},
            {"name": "n", "type": "LayerNorm", "normalized_shape": 9},
            {"name": "leak", "type": "LeakyReLU", "top": "n", "bottom": "n"},
            {"name": "fc2", "type": "Linear", "out_features": 3},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "t"]},
            {"name": "l1", "type": "AbsSum", "bottom": "a", "loss_weight": 0.1},
            {"name": "seen", "type": "Square", "bottom": "m"},
        ],
    }


NETS = {"residual": residual(), "recomputed": residual(recompute=True), "forks": forks()}


def batch_for(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, t = config["inputs"]["x"]["shape"], config["inputs"]["t"]["shape"]
    return {"x": rng.standard_normal(x).astype("float32"), "t": rng.integers(0, 3, t)}


def built(config: dict[str, Any], keep: Any = "none") -> Net:
    return Net.from_config({**config, "engine": "onednn"}, keep=keep)
