"""The example configurations in torch: the same nets, losses and updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from benchmarks.competitors.torch_twins import MODULES
from torch import Tensor, nn

WORDS, LENGTH, WIDTH = 65, 64, 128


class CharLSTM(nn.Module):
    """configs/char_lstm.yaml."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(WORDS, 64), nn.LSTM(64, 256, batch_first=True)
        self.fc = nn.Linear(256, WORDS)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(self.embed(x))[0]).transpose(1, 2)


class CharTransformer(nn.Module):
    """configs/char_transformer.yaml."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.positions = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        gelu: Any = nn.GELU(approximate="tanh")
        options: dict[str, Any] = {"dropout": 0.0, "activation": gelu, "batch_first": True, "norm_first": True}
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(WIDTH, 4, 512, **options) for _ in range(4))
        self.norm, self.fc = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(LENGTH))

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x) + self.positions.weight
        for layer in self.layers:
            y = layer(y, src_mask=self.mask, is_causal=True)
        return self.fc(self.norm(y)).transpose(1, 2)


NETS: Mapping[str, Callable[[], nn.Module]] = {
    "mnist_mlp": lambda: nn.Sequential(nn.Flatten(), MODULES["mlp_bn"]("eager")),
    "mnist_lenet": lambda: MODULES["lenet"]("contiguous"),
    "cifar10_resnet20": lambda: MODULES["resnet20"]("contiguous"),
    "char_lstm": CharLSTM,
    "char_transformer": CharTransformer,
}


class Training:
    """A net, its optimizer and a batch on the host, which every step uploads."""

    def __init__(self, name: str, problem: Mapping[str, Any], device: str) -> None:
        torch.manual_seed(0)
        self.device = device
        self.module = NETS[name]().to(device).train()
        self.learned, self.solver = list(self.module.parameters()), problem["solver"]
        self.parameters = sum(p.numel() for p in self.learned)
        self.optimizer = optimizer(self.solver, self.learned, device)
        rng = np.random.default_rng(0)
        self.batch = [drawn(rng, *spec).pin_memory() if device == "cuda" else drawn(rng, *spec)
                      for spec in problem["inputs"].values()]  # fmt: skip
        self.static = [tensor.to(device) for tensor in self.batch]

    def wait(self) -> None:
        """Until the device has done everything."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def compute(self) -> None:
        """Forward, backward and update on the batch that is on the device."""
        x, labels = self.static
        F.cross_entropy(self.module(x), labels).backward()
        clip = self.solver.get("clip_grad_norm")
        if clip:
            nn.utils.clip_grad_norm_(self.learned, clip)
        self.optimizer.step()

    def upload(self) -> None:
        """The batch to where the step reads it."""
        for there, here in zip(self.static, self.batch, strict=True):
            there.copy_(here, non_blocking=True)

    def step(self) -> None:
        """One step, operation by operation."""
        self.upload()
        self.optimizer.zero_grad(set_to_none=True)
        self.compute()

    def captured(self) -> Callable[[], None]:
        """One step whose forward, backward and update are one CUDA graph."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self.compute()

        def step() -> None:
            self.upload()
            graph.replay()

        return step


def drawn(rng: np.random.Generator, shape: list[int], dtype: str, high: int) -> Tensor:
    """Random numbers, or integers below `high`."""
    values = rng.integers(0, high, shape) if dtype.startswith("int") else rng.normal(size=shape)
    return torch.from_numpy(values.astype(dtype))


def optimizer(solver: Mapping[str, Any], learned: list[nn.Parameter], device: str) -> torch.optim.Optimizer:
    """The update of a configuration; one that a graph can capture."""
    rate = {"lr": solver["lr"], "weight_decay": solver.get("weight_decay") or 0.0}
    if solver["type"] in ("Adam", "AdamW"):
        kind = torch.optim.Adam if solver["type"] == "Adam" else torch.optim.AdamW
        return kind(learned, **rate, capturable=device == "cuda")
    return torch.optim.SGD(learned, **rate, momentum=solver["momentum"], nesterov=solver["type"] == "Nesterov")
