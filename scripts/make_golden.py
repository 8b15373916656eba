"""Make the golden files: what torch says about every golden case, in float64.

    python scripts/make_golden.py [FAMILY ...]

needs torch 2.13 and this package, and writes tests/golden/*.npz; the same machine writes the same bytes each time. The
tests need the files only. Cases are the layers' own examples, tests/support/golden_corners.py, golden_nets.py and
golden_solvers.py; the twins of layers are in layerforge/check/torch_twins, those of update rules and schedules here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, optim
from torch.optim import SGD, Optimizer, lr_scheduler

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support import golden_cases as golden
from support.golden_cases import Case, Rates, Training
from support.golden_files import FAMILIES
from support.golden_solvers import RATES, TRAININGS

from layerforge.check.torch_twins.net import in_dtype, numbers, run, tensors


def results_of(case: Case) -> dict[str, Tensor]:
    """The outputs of a case, the gradients of its inputs and parameters, its statistics after the step."""
    inputs = tensors(golden.draw_inputs(case), grad=case.differentiable)
    for name in case.fixed:
        inputs[name].requires_grad_(False)
    params, state = tensors(golden.draw_params(case), grad=case.differentiable), tensors(golden.draw_state(case))
    layers = [item for item in case.layers if item["type"] != "Input"]  # their tops are among the inputs
    blobs = run(layers, case.phase, inputs, params | state)
    outputs = {name: blobs[name] for name in case.outputs}
    results = {name: top.detach() for name, top in outputs.items()} | state
    if case.differentiable:
        leaves = {name: t for name, t in (inputs | params).items() if t.requires_grad}
        tops = {name: top for name, top in outputs.items() if top.is_floating_point()}
        cotangents = [torch.from_numpy(golden.draw_cotangent(case, n, tuple(t.shape))) for n, t in tops.items()]
        grads = torch.autograd.grad(list(tops.values()), list(leaves.values()), cotangents)
        results |= {f"{name}.grad": grad for name, grad in zip(leaves, grads, strict=True)}
    return results


class Lars(Optimizer):
    """LARS, which torch does not have: the formulas of its paper."""

    def __init__(self, groups: Any, lr: float, momentum: float, trust_coefficient: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "trust": trust_coefficient})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                decay = group["weight_decay"]
                ratio = group["trust"] * p.norm() / (p.grad.norm() + decay * p.norm()) if p.ndim > 1 else 1.0
                v = self.state[p].setdefault("v", torch.zeros_like(p))
                v.copy_(group["momentum"] * v + group["lr"] * ratio * (p.grad + decay * p))
                p.sub_(v)


# torch's optimizers for groups of parameters, lr, and the settings of a solver.
OPTIMIZERS: dict[str, Callable[[Any, float, Mapping[str, Any]], Optimizer]] = {
    "SGD": lambda p, lr, s: SGD(p, lr, momentum=s.get("momentum", 0.0)),
    "Nesterov": lambda p, lr, s: SGD(p, lr, momentum=s["momentum"], nesterov=True),
    "AdaGrad": lambda p, lr, s: optim.Adagrad(p, lr, eps=s.get("eps", 1e-8)),
    "RMSProp": lambda p, lr, s: optim.RMSprop(p, lr, alpha=s.get("rms_decay", 0.99), eps=s.get("eps", 1e-8)),
    "AdaDelta": lambda p, lr, s: optim.Adadelta(p, lr, rho=s.get("momentum", 0.9), eps=s.get("eps", 1e-6)),
    "Adam": lambda p, lr, s: optim.Adam(p, lr, betas=betas(s), eps=s["eps"]),
    "AdamW": lambda p, lr, s: optim.AdamW(p, lr, betas=betas(s), eps=s.get("eps", 1e-8)),
    "LARS": lambda p, lr, s: Lars(p, lr, s.get("momentum", 0.9), s.get("trust_coefficient", 0.001)),
}


def betas(solver: Mapping[str, Any]) -> tuple[float, float]:
    return solver.get("momentum", 0.9), solver.get("momentum2", 0.999)


def optimizer(training: Training, params: Mapping[str, Tensor]) -> Optimizer:
    """torch's optimizer, decaying what LayerForge decays: neither biases nor the parameters of BatchNorm."""
    solver = training.solver
    matrices = [p for p in params.values() if p.ndim > 1]
    vectors = [p for p in params.values() if p.ndim == 1]
    decays = (solver.get("weight_decay", 0.0), 0.0)
    groups = [{"params": p, "weight_decay": d} for p, d in zip((matrices, vectors), decays, strict=True)]
    return OPTIMIZERS[solver["type"]](groups, solver["lr"], solver)


def results_of_training(training: Training) -> dict[str, Tensor]:
    """The loss of every step, and parameters and statistics after the last."""
    case, solver = training.case, training.solver
    params, state = tensors(golden.draw_params(case), grad=True), tensors(golden.draw_state(case))
    optimize = optimizer(training, params)
    rates = Rates(training.name, solver["lr"], solver.get("schedule", {"type": "fixed"}), training.steps)
    schedule, losses = scheduler(optimize, rates), []
    for step in range(training.steps):
        optimize.zero_grad()
        loss = run(case.layers, case.phase, tensors(golden.draw_inputs(case, step)), params | state)["loss"]
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


def write(file: str, items: Collection[Any], compute: Callable[[Any], Mapping[str, Tensor]]) -> None:
    """Write a golden file: a manifest with the fingerprint of every case, and the results, as "<case>/<array>"."""
    manifest = {"made by": "scripts/make_golden.py", "torch": torch.__version__, "seed": golden.SEED}
    fingerprints = {item.name: golden.fingerprint(item) for item in items}
    arrays = {"manifest": np.array(json.dumps(manifest | {"fingerprints": fingerprints}))}
    for item in items:
        arrays |= {f"{item.name}/{key}": np.array(numbers(value), order="C") for key, value in compute(item).items()}
    path = golden.FOLDER / f"{file}.npz"
    np.savez(path, **arrays)
    print(f"{path.name}: {len(arrays)} arrays, {path.stat().st_size / 1024:.0f} KiB")


def main() -> None:
    if not torch.__version__.startswith(golden.TORCH):
        sys.exit(f"error: the golden files are torch {golden.TORCH}'s, this is torch {torch.__version__}")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    golden.FOLDER.mkdir(exist_ok=True)
    chosen = set(sys.argv[1:])
    files = {family: (cases, results_of) for family, cases in FAMILIES.items()}
    files |= {"solvers": (TRAININGS, results_of_training), "schedules": (RATES, results_of_rates)}
    if chosen - set(files):
        sys.exit(f"error: no family {', '.join(chosen - set(files))}; there are {', '.join(files)}")
    with in_dtype("float64"):
        for file, (items, compute) in files.items():
            if not chosen or file in chosen:
                write(file, items, compute)


if __name__ == "__main__":
    main()
