"""ImageFolder against torchvision: images per second with random_resized_crop and flip, as a training loop gets them.

    python scripts/image_benchmark.py [--images 600] [--workers 2] [--rounds 9]

Both read the same JPEG files in batches of 64 at 224 x 224, with RandomResizedCrop, a horizontal flip and ImageNet's
mean and deviation, with as many workers (torchvision's are processes, which stay between epochs; ours threads). Rounds
take turns; a round is a whole epoch, after one that is not counted. Needs torchvision; the evaluation images of both
are compared first.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from PIL import Image

from layerforge.config.data_section import DataSection
from layerforge.data import open_data

SIZE, BATCH = 224, 64
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def make_images(folder: Path, count: int) -> None:
    """JPEG files of about ImageNet's size and of natural spectrum, in ten classes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        height, width = int(rng.integers(300, 450)), int(rng.integers(400, 600))
        layers = [rng.normal(0, 2, (height // k + 2, width // k + 2, 3)) * k + 128 for k in (1, 4, 16, 64)]
        coarse = [Image.fromarray(np.uint8(np.clip(layer, 0, 255))) for layer in layers]
        scaled = [np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.float64) for image in coarse]
        pixels = np.uint8(np.clip(sum(scaled) / 2 - 128, 0, 255))
        place = folder / f"class{number % 10}"
        place.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:05}.jpg", quality=90)


def ours(folder: Path, workers: int) -> Callable[[int], Iterator[Any]]:
    """The batches of an epoch, from LayerForge."""
    data = open_data(
        DataSection.from_config(
            {
                "transform": {"normalize": "imagenet"},
                "train": {
                    "type": "ImageFolder", "path": str(folder), "size": SIZE, "batch_size": BATCH, "workers": workers,
                    "augment": {"random_resized_crop": True, "flip": "horizontal"},
                },
            }
        )
    )  # fmt: skip
    loader = data.loaders["train"]
    return lambda epoch: (batch.blobs["image"] for batch in loader.epoch(epoch))


def theirs(folder: Path, workers: int) -> Callable[[int], Iterator[Any]]:
    """The batches of an epoch, from torchvision."""
    import torch
    from torchvision import datasets, transforms

    torch.set_num_threads(1)
    steps = [
        transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]  # fmt: skip
    loader = torch.utils.data.DataLoader(
        datasets.ImageFolder(str(folder), transforms.Compose(steps)), BATCH, shuffle=True, num_workers=workers,
        persistent_workers=True,
    )  # fmt: skip
    return lambda epoch: (images for images, _ in loader)


def differences(folder: Path) -> float:
    """The largest difference of the evaluation images: Resize(256), CenterCrop(224)."""
    from torchvision import datasets, transforms

    steps = [
        transforms.Resize(256), transforms.CenterCrop(SIZE), transforms.ToTensor(), transforms.Normalize(MEAN, STD)
    ]  # fmt: skip
    reference = datasets.ImageFolder(str(folder), transforms.Compose(steps))
    section = {"type": "ImageFolder", "path": str(folder), "size": SIZE, "resize": 256, "shuffle": False}
    data = open_data(DataSection.from_config({"transform": {"normalize": "imagenet"}, "train": section}))
    images = next(data.loaders["train"].epoch()).blobs["image"]
    return max(float(np.abs(image - reference[k][0].numpy()).max()) for k, image in enumerate(images[:32]))


def timed(epoch: Callable[[int], Iterator[Any]], number: int) -> float:
    """Images per second of an epoch."""
    begun = time.perf_counter()
    images = sum(len(batch) for batch in epoch(number))
    return images / (time.perf_counter() - begun)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder, args.images)
        print(f"evaluation images differ by {differences(folder):.2g} at most")
        loaders = {"ours": ours(folder, args.workers), "theirs": theirs(folder, args.workers)}
        speeds: dict[str, list[float]] = {who: [] for who in loaders}
        for number in range(args.rounds + 1):
            for who in loaders if number % 2 else reversed(loaders):
                speeds[who].append(timed(loaders[who], number))
            print(*(f"{who} {speeds[who][-1]:.0f}" for who in loaders), flush=True)
        found = {who: each[1:] for who, each in speeds.items()}
        ratios = [a / b for a, b in zip(found["ours"], found["theirs"], strict=True)]
        ours_middle, their_middle = (statistics.median(found[who]) for who in ("ours", "theirs"))
        print(f"images a second: ours {ours_middle:.0f}, torchvision {their_middle:.0f};"
              f" ratio {statistics.median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
