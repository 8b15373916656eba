"""What a run has learned says to some images: in this process, or in another with other variables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from layerforge import Net


def scores(run: Path) -> np.ndarray:
    """What the last checkpoint of a run says to some images."""
    net = Net.from_yaml(run.parent / "small.yaml", keep="none")
    net.load(next(run.rglob("last.h5")))
    images = np.random.default_rng(0).random((5, 1, 28, 28), dtype="float32")
    return net.forward(phase="eval", outputs="fc2", image=images)["fc2"]


def scores_elsewhere(folder: Path, runs: tuple[str, ...], variables: dict[str, str]) -> dict[str, np.ndarray]:
    """The scores of runs in a folder, computed in a process with these variables in its environment."""
    command = [sys.executable, __file__, *runs]
    subprocess.run(command, cwd=folder, env={**os.environ, **variables}, timeout=120, check=True)
    with np.load(folder / "scores.npz") as found:
        return dict(found)


if __name__ == "__main__":
    np.savez("scores.npz", **{name: scores(Path(name)) for name in sys.argv[1:]})
