"""JAX: one jitted function for the whole step, buffers donated. The MLPs and the plain convolutional nets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..worker import Job, NotCovered

EPS = 1e-5
Arrays = dict[str, Any]


def linear(w: Arrays, name: str, x: Any) -> Any:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def conv(w: Arrays, name: str, x: Any, padding: int) -> Any:
    pads, axes = [(padding, padding)] * 2, ("NHWC", "OIHW", "NHWC")
    y = lax.conv_general_dilated(x, w[f"{name}.weight"], (1, 1), pads, dimension_numbers=axes)
    return y + w[f"{name}.bias"]


def pool(x: Any, size: int, start: float, join: Any) -> Any:
    """Windows of `size` with stride 2 that may hang over the far border by one, as Caffe's do."""
    over = size - 2
    window, strides = (1, size, size, 1), (1, 2, 2, 1)
    return lax.reduce_window(x, start, join, window, strides, [(0, 0), (0, over), (0, over), (0, 0)])


def average(x: Any) -> Any:
    return pool(x, 3, 0.0, lax.add) / pool(jnp.ones((1, *x.shape[1:3], 1), x.dtype), 3, 0.0, lax.add)


def flat(x: Any) -> Any:
    return x.transpose(0, 3, 1, 2).reshape(len(x), -1)


def batch_norm(w: Arrays, running: Arrays, i: int, x: Any, training: bool) -> tuple[Any, Arrays]:
    mean, var, n = running[f"bn{i}.mean"], running[f"bn{i}.var"], len(x)
    if training:
        mean, var = x.mean(axis=0), x.var(axis=0)
        now = {f"bn{i}.mean": mean, f"bn{i}.var": var * n / (n - 1)}
        running = running | {name: 0.9 * running[name] + 0.1 * value for name, value in now.items()}
    return (x - mean) * lax.rsqrt(var + EPS) * w[f"bn{i}.weight"] + w[f"bn{i}.bias"], running


def mlp(w: Arrays, running: Arrays, x: Any, training: bool) -> tuple[Any, Arrays]:
    for i in (1, 2):
        x = linear(w, f"fc{i}", x)
        if running:
            x, running = batch_norm(w, running, i, x, training)
        x = jax.nn.relu(x)
    return linear(w, "fc3", x), running


def lenet(w: Arrays, running: Arrays, x: Any, training: bool) -> tuple[Any, Arrays]:
    for name in ("conv1", "conv2"):
        x = pool(conv(w, name, x, 0), 2, -jnp.inf, lax.max)
    return linear(w, "fc2", jax.nn.relu(linear(w, "fc1", flat(x)))), running


def quick(w: Arrays, running: Arrays, x: Any, training: bool) -> tuple[Any, Arrays]:
    x = jax.nn.relu(pool(conv(w, "conv1", x, 2), 3, -jnp.inf, lax.max))
    for name in ("conv2", "conv3"):
        x = average(jax.nn.relu(conv(w, name, x, 2)))
    return linear(w, "fc2", linear(w, "fc1", flat(x))), running


NETS = {"mlp": mlp, "mlp_bn": mlp, "mlpwide": mlp, "mlpwide_bn": mlp, "lenet": lenet, "quick": quick}


class Jax:
    """Parameters, running statistics and momentum, and the jitted functions of them."""

    def __init__(self, job: Job) -> None:
        self.problem = job.problem
        jax.config.update("jax_enable_x64", self.problem["dtype"] == "float64")
        self.net = NETS[job.problem["name"]]
        self.versions = {"jax": jax.__version__}
        rng = np.random.default_rng(0)
        shapes = self.problem["shapes"]
        start = {n: rng.standard_normal(s) / np.sqrt(max(1, np.prod(s[1:]))) for n, s in shapes.items()}
        self.load({name: array.astype(np.float32) for name, array in start.items()})
        self.jitted_step = jax.jit(self.pure_step, donate_argnums=(0, 1, 2))
        self.jitted_gradients = jax.jit(jax.value_and_grad(self.loss, has_aux=True))
        self.jitted_scores = jax.jit(partial(self.net, training=False))

    def load(self, weights: Mapping[str, np.ndarray]) -> None:
        self.w = {name: jnp.array(weights[name], self.problem["dtype"]) for name in self.problem["rates"]}
        self.history = {name: jnp.zeros_like(array) for name, array in self.w.items()}
        norms = {n.removesuffix(".weight"): a for n, a in self.w.items() if n.startswith("bn") and n.endswith("weight")}
        self.running = {f"{n}.mean": jnp.zeros_like(a) for n, a in norms.items()}
        self.running |= {f"{n}.var": jnp.ones_like(a) for n, a in norms.items()}

    def loss(self, w: Arrays, running: Arrays, x: Any, label: Any) -> tuple[Any, Arrays]:
        scores, running = self.net(w, running, x, training=True)
        logs = jax.nn.log_softmax(scores)
        return -jnp.take_along_axis(logs, label[:, None], axis=1).mean(), running

    def pure_step(self, w: Arrays, history: Arrays, running: Arrays, x: Any, label: Any) -> tuple[Arrays, ...]:
        (_, running), g = jax.value_and_grad(self.loss, has_aux=True)(w, running, x, label)
        p, rates = self.problem, self.problem["rates"]
        history = {n: p["momentum"] * history[n] + g[n] + p["weight_decay"] * rates[n][1] * w[n] for n in w}
        return {n: w[n] - p["lr"] * rates[n][0] * history[n] for n in w}, history, running

    def take(self, batch: dict[str, np.ndarray]) -> tuple[Any, Any]:
        x, label = batch.values()
        return jnp.array(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x), jnp.array(label)

    def step(self, batch: tuple[Any, Any]) -> None:
        self.w, self.history, self.running = self.jitted_step(self.w, self.history, self.running, *batch)
        jax.block_until_ready(self.w)

    def infer(self, batch: tuple[Any, Any]) -> None:
        jax.block_until_ready(self.jitted_scores(self.w, self.running, batch[0])[0])

    def gradients(self, batch: tuple[Any, Any]) -> tuple[float, dict[str, np.ndarray]]:
        (loss, _), gradients = self.jitted_gradients(self.w, self.running, *batch)
        return float(loss), {name: np.asarray(g) for name, g in gradients.items()}

    def weights(self) -> dict[str, np.ndarray]:
        return {name: np.array(array) for name, array in self.w.items()}


def build(job: Job) -> Jax:
    """The nets above; NotCovered for others."""
    if job.problem["name"] not in NETS:
        raise NotCovered(f"JAX code is there for {', '.join(NETS)} only")
    return Jax(job)
