"""The nets of the benchmark as torch modules, with parameters of the same names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


def mlp(*sizes: int, normalised: bool = False, dropping: bool = False) -> nn.Module:
    """784-...-10 with ReLU, perhaps BatchNorm before it or Dropout behind it."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (d, m) in enumerate(pairwise(sizes), start=1):
        parts[f"fc{i}"] = nn.Linear(d, m)
        if i < len(sizes) - 1:
            if normalised:
                parts[f"bn{i}"] = nn.BatchNorm1d(m)
            parts[f"relu{i}"] = nn.ReLU(inplace=True)
            if dropping:
                parts[f"drop{i}"] = nn.Dropout()
    return nn.Sequential(parts)


def lenet() -> nn.Module:
    """Caffe's LeNet."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 20, 5),
            pool1=nn.MaxPool2d(2, 2),
            conv2=nn.Conv2d(20, 50, 5),
            pool2=nn.MaxPool2d(2, 2),
            flat=nn.Flatten(),
            fc1=nn.Linear(800, 500),
            relu1=nn.ReLU(inplace=True),
            fc2=nn.Linear(500, 10),
        )
    )


def quick() -> nn.Module:
    """Caffe's cifar10_quick."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 32, 5, padding=2),
            pool1=nn.MaxPool2d(3, 2, ceil_mode=True),
            relu1=nn.ReLU(inplace=True),
            conv2=nn.Conv2d(32, 32, 5, padding=2),
            relu2=nn.ReLU(inplace=True),
            pool2=nn.AvgPool2d(3, 2, ceil_mode=True),
            conv3=nn.Conv2d(32, 64, 5, padding=2),
            relu3=nn.ReLU(inplace=True),
            pool3=nn.AvgPool2d(3, 2, ceil_mode=True),
            flat=nn.Flatten(),
            fc1=nn.Linear(1024, 64),
            fc2=nn.Linear(64, 10),
        )
    )


class Basic(nn.Module):
    """A block of ResNet-20; where the shape changes the shortcut is a 1x1 convolution."""

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        stride = channels // before
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.changes = stride > 1
        if self.changes:
            self.short = nn.Conv2d(before, channels, 1, stride, bias=False)
            self.bns = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += self.bns(self.short(x)) if self.changes else x
        return F.relu(y, inplace=True)


def resnet20() -> nn.Module:
    """He et al.'s ResNet-20 for CIFAR."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 16, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(16),
            relu1=nn.ReLU(inplace=True),
            s1=nn.Sequential(*(Basic(16, 16) for _ in range(3))),
            s2=Basic(16, 32),
            s2more=nn.Sequential(*(Basic(32, 32) for _ in range(2))),
            s3=Basic(32, 64),
            s3more=nn.Sequential(*(Basic(64, 64) for _ in range(2))),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(64, 10),
        )
    )


class LastState(nn.Module):
    """An LSTM and scores from its last state; x is (T, N, D) with time_first."""

    def __init__(self, time_first: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, 128, batch_first=not time_first)
        self.fc = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        _, (h, _) = self.lstm(x)
        return self.fc(h[0])


def encoder(kind: type[nn.TransformerEncoderLayer] = nn.TransformerEncoderLayer) -> nn.Module:
    """torch's own pre-norm block."""
    return kind(128, 4, 512, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)


class FunctionalEncoder(nn.TransformerEncoderLayer):
    """The same block written out around scaled_dot_product_attention."""

    def forward(self, x: Tensor) -> Tensor:
        a, (n, t, d) = self.self_attn, x.shape
        qkv = F.linear(self.norm1(x), a.in_proj_weight, a.in_proj_bias)
        q, k, v = (part.view(n, t, a.num_heads, -1).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        z = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d)
        x = x + a.out_proj(z)
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


def mobile() -> nn.Module:
    """A depthwise separable block, and scores from the mean of each channel."""
    return nn.Sequential(
        OrderedDict(
            depthwise=nn.Conv2d(64, 64, 3, padding=1, groups=64, bias=False),
            bn1=nn.BatchNorm2d(64),
            relu1=nn.ReLU(inplace=True),
            pointwise=nn.Conv2d(64, 64, 1, bias=False),
            bn2=nn.BatchNorm2d(64),
            relu2=nn.ReLU(inplace=True),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(64, 10),
        )
    )


# Net: how its module is made for a variant.
MODULES: dict[str, Callable[[str], nn.Module]] = {
    "mlp": lambda _: mlp(784, 256, 128, 10),
    "mlp_bn": lambda _: mlp(784, 256, 128, 10, normalised=True),
    "mlp_drop": lambda _: mlp(784, 256, 128, 10, dropping=True),
    "mlpwide": lambda _: mlp(784, 1024, 1024, 10),
    "mlpwide_bn": lambda _: mlp(784, 1024, 1024, 10, normalised=True),
    "lenet": lambda _: lenet(),
    "quick": lambda _: quick(),
    "resnet20": lambda _: resnet20(),
    "lstm": lambda variant: LastState(variant == "time_first"),
    "tblock": lambda variant: encoder(FunctionalEncoder if variant == "functional" else nn.TransformerEncoderLayer),
    "mobile": lambda _: mobile(),
}


def arranged(x: Tensor, variant: str) -> Tensor:
    """An input in the memory order that the variant wants."""
    if variant == "time_first" and x.ndim == 3:
        return x.transpose(0, 1).contiguous()
    return x


def loss(scores: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """Cross-entropy for labels, the mean squared error for real targets."""
    (target,) = targets
    return F.mse_loss(scores, target) if target.is_floating_point() else F.cross_entropy(scores, target)
