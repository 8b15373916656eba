"""configs/mnist_mlp.yaml as a torch script: the same net, data, start values, update, schedule and scoring.

    python -m benchmarks.torch_mnist FOLDER [--first-step]

FOLDER holds MNIST's IDX files, gzipped or not. Prints one JSON object for each epoch: seconds since 1970, and the share
of the val data that is right. The data stay bytes in memory and are scaled batch by batch, which is fastest to start.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TRAINED, BATCH, VAL_BATCH, EPOCHS = 55_000, 64, 500, 10
MILESTONES = (6, 9)


def read_idx(folder: Path, name: str) -> Tensor:
    """The bytes of an IDX file: 4 of a magic number, whose last is the number of axes, 4 for each axis, the data."""
    path = folder / name
    content = path.read_bytes() if path.exists() else gzip.decompress((folder / f"{name}.gz").read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, 4)
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy())


def make_net() -> nn.Sequential:
    """784-256-128-10 with BatchNorm and ReLU, He's start values."""
    net = nn.Sequential(
        *(nn.Linear(784, 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True)),
        *(nn.Linear(256, 128), nn.BatchNorm1d(128), nn.ReLU(inplace=True)),
        nn.Linear(128, 10),
    )
    for module in net:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return net


def pixels(images: Tensor) -> Tensor:
    """Bytes (N, 28, 28) as numbers (N, 784) from 0 to 1."""
    return images.view(-1, 784).float().mul_(1 / 255)


def share_right(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The accuracy in eval."""
    net.eval()
    with torch.inference_mode():
        parts = zip(images.split(VAL_BATCH), labels.split(VAL_BATCH), strict=True)
        right = sum((net(pixels(x)).argmax(1) == t).sum() for x, t in parts)
    net.train()
    return float(right) / len(labels)


def main(folder: Path, first_step: bool) -> None:
    """Train; with first_step, end after the first update."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    images, labels = read_idx(folder, "train-images-idx3-ubyte"), read_idx(folder, "train-labels-idx1-ubyte").long()
    net = make_net()
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": 1e-4}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, fused=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, MILESTONES, gamma=0.1)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(TRAINED).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(net(pixels(images[chosen])), labels[chosen]).backward()
            optimizer.step()
            if first_step:
                print("first step", flush=True)
                os._exit(0)
        schedule.step()
        right = share_right(net, images[TRAINED:], labels[TRAINED:])
        print(json.dumps({"seconds": time.time(), "accuracy": right}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--first-step" in sys.argv[2:])
