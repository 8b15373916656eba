"""Twins of the normalisations, of Scale and of Bias.

torch has no MVN, no response normalisation within a channel, and neither Scale nor Bias: those are the formulas of the
reference written with other operations of torch, from which autograd makes the gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .call import Call


def batch_norm(c: Call) -> Tensor:
    """With use_running_stats torch's module in eval; with use_batch_stats its function without statistics in eval."""
    if c.hyper.get("bias_correction"):
        return corrected_batch_norm(c)
    hyper = dict(c.hyper)
    frozen, by_batch = hyper.pop("use_running_stats", False), hyper.pop("use_batch_stats", False)
    if by_batch and c.phase == "eval":
        return functional.batch_norm(
            c.x[0], None, None, c.own.get("weight"), c.own.get("bias"), training=True, eps=hyper.get("eps", 1e-5)
        )
    phase = "eval" if frozen else c.phase
    modules = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    module = modules[c.x[0].ndim](c.x[0].shape[1], **hyper)
    return Call(c.name, phase, hyper, c.x, c.own).through(module)


def corrected_batch_norm(c: Call) -> Tensor:
    """With bias_correction, which torch does not have: sums of the statistics, and the sum of their weights."""
    x, own, decay, frozen = c.x[0], c.own, 1 - c.hyper.get("momentum", 0.1), c.hyper.get("use_running_stats")
    axes, m, by_batch = [0, *range(2, x.ndim)], x[:, 0].numel(), c.hyper.get("use_batch_stats")
    var, mean = torch.var_mean(x, axes, correction=0)
    if c.phase == "train" and not frozen:
        batch = mean, var * (m / (m - 1) if m > 1 else 1), torch.ones(())
        for name, value in zip(("running_mean", "running_var", "correction"), batch, strict=True):
            own[name].mul_(decay).add_(value.detach())
    elif c.phase == "train" or not by_batch:
        mean, var = own["running_mean"] / own["correction"], own["running_var"] / own["correction"]
    shape = -1, *(1,) * (x.ndim - 2)
    xhat = (x - mean.reshape(shape)) / (var.reshape(shape) + c.hyper.get("eps", 1e-5)).sqrt()
    return xhat * own["weight"].reshape(shape) + own["bias"].reshape(shape)


def instance_norm(c: Call) -> Tensor:
    """torch's InstanceNorm1d to 3d, by the number of axes."""
    modules = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}
    return c.through(modules[c.x[0].ndim](c.x[0].shape[1], **c.hyper))


def local_response_norm(c: Call) -> Tensor:
    """Within a channel: x (1 + alpha · the mean of x² over a square, with zeros around)^-beta."""
    hyper = dict(c.hyper)
    x, size = c.x[0], hyper["size"]
    if hyper.pop("norm_region", "") != "within_channel":
        lines = x if x.ndim > 2 else x[..., None]  # torch wants an axis behind the channels
        return nn.LocalResponseNorm(**hyper)(lines).reshape(x.shape)
    mean = functional.avg_pool2d(x.square(), size, stride=1, padding=size // 2)
    return x * (1 + hyper["alpha"] * mean) ** -hyper.get("beta", 0.75)


def mvn(c: Call) -> Tensor:
    """(x - mean) / (std + eps), over the axes of a channel or of a sample."""
    x, eps = c.x[0], c.hyper.get("eps", 1e-9)
    axes = tuple(range(1 if c.hyper.get("across_channels") else 2, x.ndim))
    centred = x - x.mean(dim=axes, keepdim=True)
    if not c.hyper.get("normalize_variance", True):
        return centred
    var = x.var(dim=axes, correction=0, keepdim=True)
    std = torch.where(var > 0, var, 1).sqrt() * (var > 0)  # whose gradient at 0 would be NaN
    return centred / (std + eps)


def aligned(c: Call, operand: Tensor) -> Tensor:
    """An operand with axes of length 1 in front and behind, for x's axes from `dim` on."""
    ndim, dim = c.x[0].ndim, c.hyper.get("dim", 1)
    before = dim % ndim if operand.ndim else 0
    return operand[(None,) * before + (...,) + (None,) * (ndim - before - operand.ndim)]


def scale(c: Call) -> Tensor:
    """x w, + b where there is a bias."""
    y = c.x[0] * aligned(c, c.x[1] if len(c.x) == 2 else c.own["weight"])
    return y + aligned(c, c.own["bias"]) if c.hyper.get("bias") else y


TWINS = {
    "BatchNorm": batch_norm,
    "LayerNorm": lambda c: c.through(nn.LayerNorm(**c.hyper)),
    "RMSNorm": lambda c: c.through(nn.RMSNorm(**c.hyper)),
    "GroupNorm": lambda c: c.through(nn.GroupNorm(num_channels=c.x[0].shape[1], **c.hyper)),
    "InstanceNorm": instance_norm,
    "LocalResponseNorm": local_response_norm,
    "MVN": mvn,
    "Scale": scale,
    "Bias": lambda c: c.x[0] + aligned(c, c.x[1] if len(c.x) == 2 else c.own["bias"]),
}
