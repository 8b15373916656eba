"""Make the golden files: what torch says about every case of tests/golden_table.py, in float64.

    python scripts/make_golden.py

needs torch 2.13 and this package, and writes tests/golden/*.npz; the same machine writes the same bytes each time. The
tests need the files only. What torch calls a layer's twin is in TWINS, for update rules and schedules below it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import SGD, Optimizer, lr_scheduler

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import golden_cases as golden
import golden_table as table
from golden_cases import Case, Rates, Training

from layerforge import philox

WIRING = ("name", "type", "bottom", "top")


@dataclass(frozen=True)
class Call:
    """A layer as its twin sees it: hyper-parameters as written in the case, bottoms, own parameters and statistics."""

    name: str
    phase: str
    hyper: Mapping[str, Any]
    x: list[Tensor]
    own: dict[str, Tensor]

    def through(self, module: nn.Module) -> Tensor:
        """The bottoms through torch's module, which follows the running statistics in place."""
        return functional_call(module.train(self.phase == "train"), self.own, tuple(self.x))


def batch_norm(c: Call) -> Tensor:
    modules = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    return c.through(modules[c.x[0].ndim](c.x[0].shape[1], **c.hyper))


def relu(c: Call) -> Tensor:
    return c.through(nn.LeakyReLU(**c.hyper) if c.hyper else nn.ReLU())


def dropout(c: Call) -> Tensor:
    """torch draws masks of its own, so the mask in training is ours and the rest the formula of its manual."""
    if c.phase == "eval":
        return c.through(nn.Dropout(**c.hyper))
    p = nn.Dropout(**c.hyper).p
    uniform = philox.uniform(np, philox.stream_key(0, c.name), tuple(c.x[0].shape))
    return c.x[0] * torch.from_numpy(uniform >= p) / (1 - p)


def accuracy(c: Call) -> Tensor:
    """The share of the labels that are among torch.topk of the scores."""
    scores, labels = c.x
    best = scores.topk(c.hyper.get("top_k", 1), dim=1).indices
    correct = (best == labels.unsqueeze(1)).any(dim=1)
    return correct[labels != c.hyper.get("ignore_index", -100)].double().mean()


def slices(c: Call, tops: int) -> tuple[Tensor, ...]:
    cuts = c.hyper.get("points", tops)
    return torch.tensor_split(c.x[0], cuts, dim=c.hyper.get("dim", 1))


# What torch computes instead of each layer. Hyper-parameters that a case leaves out have torch's defaults, except for
# `dim`, which torch wants written.
TWINS: dict[str, Callable[[Call], Tensor]] = {
    "Linear": lambda c: c.through(nn.Linear(c.x[0].shape[-1], **c.hyper)),
    "Conv2d": lambda c: c.through(nn.Conv2d(c.x[0].shape[1], **c.hyper)),
    "MaxPool2d": lambda c: c.through(nn.MaxPool2d(**c.hyper)),
    "AvgPool2d": lambda c: c.through(nn.AvgPool2d(**c.hyper)),
    "GlobalAvgPool2d": lambda c: c.through(nn.AdaptiveAvgPool2d(1)),
    "BatchNorm": batch_norm,
    "ReLU": relu,
    "Sigmoid": lambda c: c.through(nn.Sigmoid()),
    "Tanh": lambda c: c.through(nn.Tanh()),
    "Dropout": dropout,
    "Softmax": lambda c: c.through(nn.Softmax(**{"dim": 1, **c.hyper})),
    "LogSoftmax": lambda c: c.through(nn.LogSoftmax(**{"dim": 1, **c.hyper})),
    "NLLLoss": lambda c: c.through(nn.NLLLoss(**c.hyper)),
    "SoftmaxCrossEntropy": lambda c: c.through(nn.CrossEntropyLoss(**c.hyper)),
    "MSELoss": lambda c: c.through(nn.MSELoss()),
    "Accuracy": accuracy,
    "Add": lambda c: reduce(torch.add, c.x),
    "Mul": lambda c: reduce(torch.mul, c.x),
    "Concat": lambda c: torch.cat(c.x, dim=c.hyper.get("dim", 1)),
    "Flatten": lambda c: c.through(nn.Flatten(**c.hyper)),
}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def run(case: Case, inputs: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All blobs of a net by name: its layers' twins in order. `own` is parameters and statistics by "layer.name"."""
    blobs, previous = dict(inputs), next(iter(inputs))
    for item in case.layers:
        name = item["name"]
        bottoms, tops = listed(item.get("bottom", previous)), listed(item.get("top", name))
        call = Call(
            name,
            case.phase,
            {key: value for key, value in item.items() if key not in WIRING},
            [blobs[b] for b in bottoms],
            {key.rpartition(".")[2]: value for key, value in own.items() if key.rpartition(".")[0] == name},
        )
        results = slices(call, len(tops)) if item["type"] == "Slice" else [TWINS[item["type"]](call)]
        blobs.update(zip(tops, results, strict=True))
        previous = tops[0]
    return blobs


def tensors(arrays: Mapping[str, np.ndarray], *, grad: bool = False) -> dict[str, Tensor]:
    """Arrays as tensors; with grad, the reals among them have a gradient."""
    made = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    return {name: t.requires_grad_(grad and t.is_floating_point()) for name, t in made.items()}


def results_of(case: Case) -> dict[str, Tensor]:
    """The outputs of a case, the gradients of its inputs and parameters, its statistics after the step."""
    inputs = tensors(golden.draw_inputs(case), grad=case.differentiable)
    params, state = tensors(golden.draw_params(case), grad=case.differentiable), tensors(golden.draw_state(case))
    blobs = run(case, inputs, params | state)
    outputs = {name: blobs[name] for name in case.outputs}
    results = {name: top.detach() for name, top in outputs.items()} | state
    if case.differentiable:
        leaves = {name: t for name, t in (inputs | params).items() if t.requires_grad}
        cotangents = [torch.from_numpy(golden.draw_cotangent(case, n, tuple(t.shape))) for n, t in outputs.items()]
        grads = torch.autograd.grad(list(outputs.values()), list(leaves.values()), cotangents)
        results |= {f"{name}.grad": grad for name, grad in zip(leaves, grads, strict=True)}
    return results


def optimizer(training: Training, params: Mapping[str, Tensor]) -> Optimizer:
    """torch's SGD, decaying what LayerForge decays: neither biases nor the parameters of BatchNorm."""
    solver = training.solver
    matrices = [p for p in params.values() if p.ndim > 1]
    vectors = [p for p in params.values() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": solver.get("weight_decay", 0.0)}, {"params": vectors}]
    return SGD(groups, lr=solver["lr"], momentum=solver.get("momentum", 0.0), nesterov=solver["type"] == "Nesterov")


def results_of_training(training: Training) -> dict[str, Tensor]:
    """The loss of every step, and parameters and statistics after the last."""
    case, solver = training.case, training.solver
    params, state = tensors(golden.draw_params(case), grad=True), tensors(golden.draw_state(case))
    optimize = optimizer(training, params)
    rates = Rates(training.name, solver["lr"], solver.get("schedule", {"type": "fixed"}), training.steps)
    schedule, losses = scheduler(optimize, rates), []
    for step in range(training.steps):
        optimize.zero_grad()
        loss = run(case, tensors(golden.draw_inputs(case, step)), params | state)["loss"]
        loss.backward()
        if "clip_grad_value" in solver:
            nn.utils.clip_grad_value_(params.values(), solver["clip_grad_value"])
        optimize.step()
        schedule.step()
        losses.append(loss.detach())
    return {"loss": torch.stack(losses)} | {n: t.detach() for n, t in (params | state).items()}


# torch's schedulers for an optimizer, a schedule's settings and the steps of the whole run.
SCHEDULERS: dict[str, Callable[[Optimizer, dict[str, Any], int], Any]] = {
    "fixed": lambda o, s, n: lr_scheduler.ConstantLR(o, factor=1.0),
    "step": lambda o, s, n: lr_scheduler.StepLR(o, **s),
    "multistep": lambda o, s, n: lr_scheduler.MultiStepLR(o, **s),
    "exp": lambda o, s, n: lr_scheduler.ExponentialLR(o, **s),
    "poly": lambda o, s, n: lr_scheduler.PolynomialLR(o, total_iters=n, **s),
    "cosine": lambda o, s, n: lr_scheduler.CosineAnnealingLR(o, T_max=n, eta_min=s.get("min_lr", 0.0)),
    "onecycle": lambda o, s, n: lr_scheduler.OneCycleLR(
        o, max_lr=o.param_groups[0]["lr"], total_steps=n, cycle_momentum=False, **s
    ),
    "plateau": lambda o, s, n: lr_scheduler.ReduceLROnPlateau(
        o, threshold_mode="abs", eps=0.0, **{"threshold" if k == "min_delta" else k: v for k, v in s.items()}
    ),
}


def scheduler(optimize: Optimizer, rates: Rates) -> Any:
    """The scheduler of a case; with warm-up, that times torch's linear one."""
    settings = {k: v for k, v in rates.schedule.items() if k not in ("type", "warmup")}
    made = SCHEDULERS[rates.schedule["type"]](optimize, settings, rates.steps)
    warmup = rates.schedule.get("warmup", 0)
    if warmup < 2:
        return made
    linear = lr_scheduler.LinearLR(optimize, start_factor=1 / warmup, total_iters=warmup - 1)
    return lr_scheduler.ChainedScheduler([made, linear])


def results_of_rates(rates: Rates) -> dict[str, Tensor]:
    """The learning rates before every update, or before and after every metric."""
    optimize = SGD([torch.zeros(1)], lr=rates.lr)
    schedule, found = scheduler(optimize, rates), []
    for metric in rates.metrics or [None] * (rates.steps - 1):
        found.append(optimize.param_groups[0]["lr"])
        optimize.step()
        schedule.step(*([] if metric is None else [metric]))
    return {"lr": torch.tensor([*found, optimize.param_groups[0]["lr"]])}


def write(file: str, items: Iterable[Any], compute: Callable[[Any], Mapping[str, Tensor]]) -> None:
    """Write a golden file: a manifest, and of every case its fingerprint and results, as "<case>/<array>"."""
    manifest = {"made by": "scripts/make_golden.py", "torch": torch.__version__, "seed": golden.SEED}
    arrays = {"manifest": np.array(json.dumps(manifest))}
    for item in items:
        arrays[f"{item.name}/fingerprint"] = np.array(golden.fingerprint(item))
        arrays |= {f"{item.name}/{key}": value.contiguous().numpy() for key, value in compute(item).items()}
    path = golden.FOLDER / f"{file}.npz"
    np.savez(path, **arrays)
    print(f"{path.name}: {len(arrays)} arrays, {path.stat().st_size / 1024:.0f} KiB")


def main() -> None:
    if not torch.__version__.startswith(golden.TORCH):
        sys.exit(f"error: the golden files are torch {golden.TORCH}'s, this is torch {torch.__version__}")
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    golden.FOLDER.mkdir(exist_ok=True)
    for family, cases in table.FAMILIES.items():
        write(family, cases, results_of)
    write("solvers", table.TRAININGS, results_of_training)
    write("schedules", table.RATES, results_of_rates)


if __name__ == "__main__":
    main()
