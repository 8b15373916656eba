"""Runs on the device: killed and resumed; a step that diverged, replayed; weights that go from NumPy to it and back."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from layerforge import Net, train
from layerforge.arrays.backend import NUMPY, Backend
from layerforge.debug.replay import replay
from layerforge.schema.errors import DivergedError
from layerforge.snapshot import read_snapshot
from layerforge.training.console import Console

from .device import host, same_bits
from .stages import Check
from .training import listed

CHILD = Path(__file__).with_name("child.py")
SAMPLES, BATCH = 96, 8
STEPS, EVERY, KILLED = 24, 5, 13  # of a run; between two checkpoints; where it is killed
SPOILT = 20  # the sample of which the logarithm is NaN
PATIENCE = 60  # seconds that a child may take
CLOSE = 1e-5


class Silent(Console):
    """Every line goes into the run's log alone."""

    def __init__(self) -> None:
        super().__init__(progress="off", quiet=True)

    def result(self, text: str) -> None:
        self.log(text)


QUIET = Silent()


def arrays(spoilt: bool = False) -> dict[str, np.ndarray]:
    """The samples: positive numbers, words and labels; one of the numbers is negative, if that is asked for."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 2, size=(SAMPLES, 6)).astype("float32")
    if spoilt:
        x[SPOILT, 2] = -1
    return {"x": x, "word": rng.integers(0, 5, (SAMPLES, 3)), "label": rng.integers(0, 4, SAMPLES)}


def config(folder: Path, backend: str, name: str, spoilt: bool = False) -> dict[str, Any]:
    """A run whose state is of every kind: statistics, random masks, sums at places, a history of two arrays."""
    data = folder / f"{name}.npz"
    np.savez(data, **arrays(spoilt))  # type: ignore[arg-type]
    net = [
        {"name": "log", "type": "Log", "bottom": "x"},
        {"name": "fc1", "type": "Linear", "out_features": 16},
        {"name": "bn", "type": "BatchNorm"},
        {"name": "act", "type": "ReLU"},
        {"name": "drop", "type": "Dropout", "p": 0.3},
        {"name": "embed", "type": "Embedding", "bottom": "word", "num_embeddings": 5, "embedding_dim": 4},
        {"name": "flat", "type": "Flatten"},
        {"name": "both", "type": "Concat", "bottom": ["drop", "flat"], "dim": 1},
        {"name": "fc2", "type": "Linear", "out_features": 4},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "label"]},
    ]
    return {
        "version": 1,
        "name": name,
        "seed": 3,
        "backend": backend,
        "data": {"train": {"type": "NPZ", "path": str(data), "batch_size": BATCH, "shuffle": not spoilt}},
        "net": net,
        "solver": {"type": "Adam", "lr": 0.01, "schedule": {"type": "cosine"}, "clip_grad_norm": 1.0},
        "train": {"max_steps": STEPS, "output_dir": str(folder / "runs")},
        "checkpoint": {"every": {"steps": EVERY}},
    }


# Resume ---------------------------------------------------------------------------------------------------------------


def resume(check: Check, folder: Path) -> None:
    """Demand the same bits of a run that went through and one that was killed and resumed."""
    whole = train(config(folder, "cupy", "whole"), console=QUIET).run
    check.reached("resume: one run without a stop")
    broken = killed(check, folder)
    if broken is None:
        return
    check.reached("resume: one run killed")
    train(config(folder, "cupy", "broken"), resume_from=broken, console=QUIET)
    ours, right = (state(run) for run in (broken, whole))
    history = [path for path in right if path.startswith("history/")]
    check.demand(len(history) >= 2, f"the checkpoint of a run with Adam holds {len(history)} arrays of history")
    check.demand(ours.keys() == right.keys(), "a resumed run has other arrays than one that went through")
    wrong = [path for path in right if path in ours and not same_bits(ours[path], right[path])]
    check.demand(not wrong, f"a resumed run has other bits in {len(wrong)} of {len(right)} arrays: {listed(wrong)}")
    check.fact("resume", {"arrays": len(right), "killed_at": KILLED, "checkpoint": KILLED // EVERY * EVERY})


def killed(check: Check, folder: Path) -> Path | None:
    """The folder of a run whose process was killed in the middle; None, and a failure, where that did not happen."""
    file = folder / "broken.json"  # JSON is YAML
    file.write_text(json.dumps(config(folder, "cupy", "broken")))
    backend = "strict" if check.strict else "cupy"
    command = [sys.executable, str(CHILD), backend, str(KILLED), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
    check.demand(done.returncode == -9, f"the run that is to be killed ended with {done.returncode}: {last[0]}")
    found = sorted(run for run in (folder / "runs" / "broken").glob("*") if not run.is_symlink())
    check.demand(found, "the run that was killed has no folder")
    return found[-1] if found and done.returncode == -9 else None


def state(run: str | Path) -> Mapping[str, np.ndarray]:
    """All arrays of a run's last checkpoint."""
    return read_snapshot(Path(run) / "checkpoints" / "last.h5")[0]


# Capsule --------------------------------------------------------------------------------------------------------------


def capsule(check: Check, folder: Path) -> None:
    """Demand that a run stops at the first NaN, and that its capsule, on either backend, names where it came up."""
    code = 0
    try:
        train(config(folder, "cupy", "spoilt", spoilt=True), console=QUIET)
    except DivergedError as error:
        code = error.exit_code
    check.demand(code == 4, f"a run with the logarithm of a negative number ends with exit code {code}, not 4")
    places = sorted((folder / "runs" / "spoilt").glob("*/capsules/*.h5"))
    if not check.demand(places, "a step that was not finite left no capsule"):
        return
    for backend in ("cupy", "numpy"):
        found = replay(places[0], backend=backend)
        step, cause = found.capsule.meta["iteration"], found.cause
        named = "nothing" if cause is None else f"{cause.kind} '{cause.name}' of layer '{cause.layer}', {cause.nan} NaN"
        right = "blob 'log' of layer 'log', 1 NaN"
        where = f"replayed on {backend}, the capsule of step {step} names {named}"
        check.demand((step, named) == (SPOILT // BATCH, right), f"{where}, not {right}, of step {SPOILT // BATCH}")


# Snapshots ------------------------------------------------------------------------------------------------------------


def snapshots(check: Check, folder: Path) -> None:
    """Demand that weights saved on NumPy are the same bits on the device, and the other way, and do the same."""
    for source, target in ((NUMPY, check.backend), (check.backend, NUMPY)):
        way = f"from {source.name} to {target.name}"
        first, second = (net_of(folder, backend) for backend in (source, target))
        scores = evaluated(first, source, trains=True)
        file = folder / f"from-{source.name}.h5"
        first.save(file)
        second.load(file)
        wrong = [path for path, array in first.arrays().items() if not same_bits(array, second.arrays()[path])]
        check.demand(not wrong, f"a snapshot {way} has other bits in {listed(wrong)}")
        off = np.abs(evaluated(second, target) - scores).max() / np.abs(scores).max()
        check.demand(off <= CLOSE, f"a snapshot {way}: the scores are off by {off:.1g} of the largest")


def net_of(folder: Path, backend: Backend) -> Net:
    """The net of the runs."""
    tree = config(folder, "numpy", "snapshot")
    inputs = {"x": [BATCH, 6], "word": [BATCH, 3], "label": [BATCH]}
    declared = {name: {"shape": shape, **({} if name == "x" else {"dtype": "int64"})} for name, shape in inputs.items()}
    return Net.from_config({"seed": 3, "inputs": declared, "net": tree["net"]}, backend=backend)


def evaluated(net: Net, backend: Backend, trains: bool = False) -> np.ndarray:
    """The scores of the first samples; before that the running statistics may move."""
    batch = {name: array[:BATCH] for name, array in arrays().items()}
    if trains:
        net.forward(phase="train", **batch)
    return host(backend, net.forward(phase="eval", outputs="fc2", **batch)["fc2"])


# All of it ------------------------------------------------------------------------------------------------------------

PARTS = {"resume": resume, "capsule": capsule, "snapshots": snapshots}


def runs(check: Check) -> None:
    """Resume is exact after a kill, a capsule names the planted NaN, snapshots are exchanged with NumPy."""
    with tempfile.TemporaryDirectory(prefix="layerforge-gpu-check-") as place:
        folder = Path(place)
        for name, part in PARTS.items():
            check.reached(name)
            with check.guarded(name):
                part(check, folder)
        check.finished(", ".join(PARTS))
