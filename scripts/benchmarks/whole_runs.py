"""Whole processes against each other: the way to the first step, and to an accuracy on MNIST."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from .catalogue import OURS, ROOT
from .driver import Settings
from .surroundings import environment_for

CONFIG = ROOT / "configs" / "mnist_mlp.yaml"
NEEDED = "train-images-idx3-ubyte"


class NoData(Exception):
    """MNIST is not where these measurements look for it."""


def mnist_folder() -> Path:
    """The folder with MNIST's files: both sides read the same. NoData where there is none."""
    places = [ROOT / "data" / "mnist", *(Path(p) / "mnist" for p in filter(None, [os.environ.get("LAYERFORGE_DATA")]))]
    for place in places:
        if list(place.glob(f"{NEEDED}*")):
            return place.resolve()
    raise NoData(f"{NEEDED} is not in {' or '.join(map(str, places))}; set LAYERFORGE_DATA")


def commands(settings: Settings, output: str, ends_early: bool) -> dict[str, list[str]]:
    """By competitor, what to start; ours leaves its run in `output`."""
    own, foreign = settings.pythons
    module = "benchmarks.first_step" if ends_early else "layerforge"
    ours = [own, "-m", module, "train", str(CONFIG), "--set", f"train.output_dir={output}"]
    for override in settings.overrides:
        ours += ["--set", override]
    theirs = [foreign, "-m", "benchmarks.torch_mnist", str(mnist_folder()), *["--first-step"] * ends_early]
    return {OURS: ours, "torch": theirs}


def environment_of_runs(threads: int) -> dict[str, str]:
    """The environment of a worker, with the data where `mnist_folder` found them and no network."""
    return environment_for(threads) | {"LAYERFORGE_DATA": str(mnist_folder().parent), "LAYERFORGE_OFFLINE": "1"}


def startup(threads: int, settings: Settings) -> dict[str, list[float]]:
    """Seconds from the start of the process to the end of the first update, round by round.

    Errors   NoData, subprocess.CalledProcessError
    """
    environment = environment_of_runs(threads)
    with tempfile.TemporaryDirectory() as output:
        found: dict[str, list[float]] = {name: [] for name in commands(settings, output, True)}
        for number in range(-1, settings.bursts):  # the first round fills the disk's cache
            for name, command in commands(settings, output, True).items():
                seconds = seconds_to_line(command, environment, "first step")
                if number >= 0:
                    found[name].append(seconds)
    return found


def seconds_to_line(command: list[str], environment: dict[str, str], wanted: str) -> float:
    """Start a process and wait for a line of its output. CalledProcessError where it does not come."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.strip() == wanted:
                return time.perf_counter() - began
        words = process.stderr.read()
    raise subprocess.CalledProcessError(process.returncode, command, stderr=words)


def end_to_end(threads: int, settings: Settings, accuracy: float) -> dict[str, Any]:
    """Seconds from the start of the process until the val accuracy is first reached, and until the process ends.

    Errors   NoData, subprocess.CalledProcessError
    """
    runs: dict[str, list[dict[str, Any]]] = {OURS: [], "torch": []}
    for _ in range(settings.bursts):
        with tempfile.TemporaryDirectory() as output:
            for name, command in commands(settings, output, False).items():
                began, printed, seconds = one_run(command, threads)
                epochs = our_epochs(Path(output)) if name == OURS else torch_epochs(printed)
                runs[name].append({"seconds": seconds, **outcome(epochs, began, accuracy)})
    return {"accuracy": accuracy, "threads": threads, "runs": runs}


Epochs = list[tuple[float, float]]


def one_run(command: list[str], threads: int) -> tuple[float, str, float]:
    """When a process began, what it printed, and how many seconds it took."""
    began, environment = time.time(), environment_of_runs(threads)
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return began, done.stdout, time.time() - began


def outcome(epochs: Epochs, began: float, accuracy: float) -> dict[str, float | None]:
    """Seconds until the accuracy was reached (None: never), and the best accuracy."""
    reached = next((when - began for when, share in epochs if share >= accuracy), None)
    return {"reached": reached, "best": max(share for _, share in epochs)}


def our_epochs(output: Path) -> Epochs:
    """(seconds since 1970, accuracy) of each epoch, from the metrics of the one run in the folder."""
    (metrics,) = {path.resolve() for path in output.glob("*/*/metrics.jsonl")}
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [(row["seconds"], row["val/accuracy"]) for row in rows if "val/accuracy" in row]


def torch_epochs(text: str) -> Epochs:
    """The same from what the torch script prints."""
    rows = [json.loads(line) for line in text.splitlines()]
    return [(row["seconds"], row["accuracy"]) for row in rows]


def profile(config: Path, threads: int, settings: Settings) -> dict[str, Any]:
    """`layerforge time`: milliseconds of each layer's forward and backward."""
    command = [settings.pythons[0], "-m", "layerforge", "time", str(config), "--json"]
    for override in settings.overrides:
        command += ["--set", override]
    environment = environment_for(threads)
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return {**json.loads(done.stdout), "threads": threads}
