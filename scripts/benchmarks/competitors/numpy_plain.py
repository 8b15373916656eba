"""Plain NumPy: the MLPs as one writes them by hand, a temporary array for every operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..worker import Job, NotCovered

EPS = 1e-5
COVERED = ("mlp", "mlp_bn", "mlpwide", "mlpwide_bn")


class PlainMLP:
    """Linear, perhaps BatchNorm, ReLU, twice; Linear; softmax cross-entropy; SGD with momentum."""

    def __init__(self, job: Job) -> None:
        self.problem = job.problem
        self.normalised = "bn1.weight" in self.problem["rates"]
        self.versions = {"numpy": np.__version__}
        rng = np.random.default_rng(0)
        shapes = self.problem["shapes"]
        start = {n: rng.standard_normal(s, np.float32) / np.sqrt(np.float32(s[-1])) for n, s in shapes.items()}
        self.load(start)
        self.running: dict[str, np.ndarray] = {}
        for i in (1, 2) if self.normalised else ():
            self.running[f"bn{i}.mean"] = np.zeros_like(self.w[f"bn{i}.weight"])
            self.running[f"bn{i}.var"] = np.ones_like(self.w[f"bn{i}.weight"])
        self.history = {name: np.zeros_like(a) for name, a in self.w.items()}

    def take(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return batch

    def forward(self, x: np.ndarray, training: bool) -> tuple[np.ndarray, list[tuple[np.ndarray, ...]]]:
        kept = []
        for i in (1, 2):
            a = x @ self.w[f"fc{i}.weight"].T + self.w[f"fc{i}.bias"]
            xhat, std = a, np.ones((), np.float32)
            if self.normalised:
                xhat, std = self.normalise(i, a, training)
                a = xhat * self.w[f"bn{i}.weight"] + self.w[f"bn{i}.bias"]
            y = np.maximum(a, 0)
            kept.append((x, xhat, std, y))
            x = y
        kept.append((x,))
        return x @ self.w["fc3.weight"].T + self.w["fc3.bias"], kept

    def normalise(self, i: int, a: np.ndarray, training: bool) -> tuple[np.ndarray, np.ndarray]:
        running = self.running
        if not training:
            std = np.sqrt(running[f"bn{i}.var"] + EPS)
            return (a - running[f"bn{i}.mean"]) / std, std
        mean, var, n = a.mean(axis=0), a.var(axis=0), len(a)
        running[f"bn{i}.mean"] = 0.9 * running[f"bn{i}.mean"] + 0.1 * mean
        running[f"bn{i}.var"] = 0.9 * running[f"bn{i}.var"] + 0.1 * var * n / (n - 1)
        std = np.sqrt(var + EPS)
        return (a - mean) / std, std

    def gradients(self, batch: dict[str, np.ndarray]) -> tuple[float, dict[str, np.ndarray]]:
        scores, kept = self.forward(batch["x"], True)
        n, label = len(scores), batch["label"]
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        loss = -np.log(p[np.arange(n), label]).mean()
        p[np.arange(n), label] -= 1
        d = p / n
        g = {"fc3.weight": d.T @ kept[2][0], "fc3.bias": d.sum(axis=0)}
        d = d @ self.w["fc3.weight"]
        for i in (2, 1):
            x, xhat, std, y = kept[i - 1]
            d = d * (y > 0)
            if self.normalised:
                dweight, dbias = (d * xhat).sum(axis=0), d.sum(axis=0)
                g[f"bn{i}.weight"], g[f"bn{i}.bias"] = dweight, dbias
                d = self.w[f"bn{i}.weight"] / std * (d - dbias / n - xhat * dweight / n)
            g[f"fc{i}.weight"], g[f"fc{i}.bias"] = d.T @ x, d.sum(axis=0)
            if i > 1:
                d = d @ self.w[f"fc{i}.weight"]
        return float(loss), g

    def step(self, batch: dict[str, np.ndarray]) -> None:
        _, gradients = self.gradients(batch)
        problem = self.problem
        for name, w in self.w.items():
            lr_mult, decay_mult = problem["rates"][name]
            g = gradients[name] + problem["weight_decay"] * decay_mult * w
            self.history[name] = problem["momentum"] * self.history[name] + g
            w -= problem["lr"] * lr_mult * self.history[name]

    def infer(self, batch: dict[str, np.ndarray]) -> None:
        self.forward(batch["x"], False)

    def load(self, weights: Mapping[str, np.ndarray]) -> None:
        self.w = {name: weights[name].astype(self.problem["dtype"]) for name in self.problem["rates"]}

    def weights(self) -> dict[str, Any]:
        return {name: a.copy() for name, a in self.w.items()}


def build(job: Job) -> PlainMLP:
    """The MLPs; NotCovered for other nets."""
    if job.problem["name"] not in COVERED:
        raise NotCovered(f"plain NumPy code is there for {', '.join(COVERED)} only")
    return PlainMLP(job)
