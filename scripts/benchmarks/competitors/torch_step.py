"""PyTorch, eager or compiled, in one of its precisions.

Fused SGD, in-place activations, no number fetched in the loop.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import probing
from ..worker import Job, NotCovered
from .torch_twins import MODULES, arranged, loss

RENAMED = {f"self_attn.out_proj_{part}": f"self_attn.out_proj.{part}" for part in ("weight", "bias")}


class Torch:
    """A module and its optimizer.

    precision  "float32"; "medium": arrays of float32, products in bfloat16; "autocast": bfloat16 where
               torch.autocast has it so, with weights of float32; "bfloat16": every array, which only inference can bear
    compiled   torch.compile around the forward and the loss
    """

    def __init__(self, job: Job, precision: str = "float32", compiled: bool = False) -> None:
        torch.set_num_threads(job.threads)
        torch.manual_seed(0)
        if precision == "medium":
            multiply_in_bfloat16()
        problem, self.variant = job.problem, job.variant
        self.dtype = torch.bfloat16 if precision == "bfloat16" else getattr(torch, problem["dtype"])
        self.cast = torch.autocast("cpu", torch.bfloat16) if precision == "autocast" else contextlib.nullcontext()
        self.input, *self.targets = problem["inputs"]
        self.gradients_of_inputs = problem["input_grads"]
        self.format = torch.channels_last if job.variant == "channels_last" else torch.contiguous_format
        module = MODULES[problem["name"]](job.variant).train(job.training)
        self.module: nn.Module = module.to(self.dtype, memory_format=self.format)
        named = dict(module.named_parameters())
        self.parameters = {name: named[RENAMED.get(name, name)] for name in problem["rates"]}
        self.optimizer = optimizer(problem, self.parameters)
        self.scores = torch.compile(module) if compiled else module
        self.loss_of = torch.compile(self.forward_loss) if compiled else self.forward_loss
        self.versions = {"torch": torch.__version__}

    def take(self, batch: dict[str, np.ndarray]) -> list[Tensor]:
        """[input, targets]."""
        tensors = [arranged(torch.from_numpy(array), self.variant) for array in batch.values()]
        tensors = [t.contiguous(memory_format=self.format) if t.ndim == 4 else t for t in tensors]
        tensors = [t.to(self.dtype) if t.is_floating_point() else t for t in tensors]
        return [
            t.requires_grad_() if name in self.gradients_of_inputs else t
            for name, t in zip(batch, tensors, strict=True)
        ]

    def forward_loss(self, x: Tensor, *targets: Tensor) -> Tensor:
        return loss(self.module(x), targets)

    def step(self, batch: list[Tensor]) -> None:
        batch[0].grad = None
        self.optimizer.zero_grad(set_to_none=True)
        with self.cast:
            value = self.loss_of(*batch)
        value.backward()
        self.optimizer.step()

    def infer(self, batch: list[Tensor]) -> None:
        with torch.inference_mode(), self.cast:
            self.scores(batch[0])

    def load(self, weights: Mapping[str, np.ndarray]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(torch.from_numpy(weights[name]))

    def gradients(self, batch: list[Tensor]) -> tuple[float, dict[str, np.ndarray]]:
        self.optimizer.zero_grad(set_to_none=True)
        with self.cast:
            value = self.loss_of(*batch)
        value.backward()
        return value.item(), {name: host(parameter.grad) for name, parameter in self.parameters.items()}

    def weights(self) -> dict[str, np.ndarray]:
        return {name: host(parameter) for name, parameter in self.parameters.items()}


def multiply_in_bfloat16() -> None:
    """Let oneDNN compute products, convolutions and recurrent layers of float32 in bfloat16.

    It does so where that is fast: with AMX.

    Errors   NotCovered by an old torch
    """
    if not hasattr(torch.backends.mkldnn, "fp32_precision"):
        raise NotCovered(f"torch {torch.__version__} has no switch for products in bfloat16 on the CPU")
    torch.backends.mkldnn.fp32_precision = "bf16"


def host(tensor: Tensor | None) -> np.ndarray:
    """A copy as a NumPy array in row-major order."""
    assert tensor is not None
    return copy.deepcopy(tensor.detach().contiguous().numpy())


def optimizer(problem: Mapping[str, Any], parameters: Mapping[str, nn.Parameter]) -> torch.optim.SGD:
    """SGD with a group for each pair of factors on lr and weight_decay; fused where this torch has it for the CPU."""
    groups: dict[tuple[float, ...], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault(tuple(problem["rates"][name]), []).append(parameter)
    options = [
        {"params": members, "lr": problem["lr"] * lr, "weight_decay": problem["weight_decay"] * decay}
        for (lr, decay), members in groups.items()
    ]
    try:
        return torch.optim.SGD(options, momentum=problem["momentum"], fused=True)
    except RuntimeError:
        return torch.optim.SGD(options, momentum=problem["momentum"], foreach=True)


def build(job: Job) -> Torch:
    """torch as the competitor's options say; the compiler runs at the first step."""
    return Torch(job, **job.options)


def probe(threads: int, clock: str) -> dict[str, Any]:
    """torch's matrix product and addition."""
    torch.set_num_threads(threads)
    a, b, c = (torch.ones(probing.SIZE, probing.SIZE) for _ in range(3))

    def adder(n: int) -> Any:
        x, y, z = (torch.ones(n) for _ in range(3))
        return lambda: torch.add(x, y, out=z)

    return probing.limits([lambda: torch.mm(a, b, out=c)], adder, clock)
