"""A net on sparse samples against the same net on all their zeros: memory and time.

    python scripts/sparse_benchmark.py [--samples 20000] [--features 50000] [--density 0.01] [--hidden 64]

Each of the two runs in a process of its own, on the same numbers: bags of words of which 1 % are not 0, through
Linear, ReLU, Linear and a softmax loss, with SGD and momentum. What is printed, for each and as a ratio:

    data           MiB that the samples take
    peak           MiB at most beyond what Python and its libraries take before there are data
    step           seconds of a training step (forward, backward, update) on all samples at once, the median of several
    epoch          seconds of an epoch in batches of --batch, with the loader

each as the processor counts them, on all threads together, and as the clock does. Other programs lengthen the second
only, but for what the caches do for them; on one thread, which is the default, a machine without them has both alike.

The dense net needs about twice its data: 8 GiB at the usual sizes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median
from typing import Any

import numpy as np
import scipy.sparse

from layerforge import Net, Solver
from layerforge.config.data_section import DataSection, Feed
from layerforge.data.arrays import Arrays
from layerforge.data.opening import open_data

CLASSES, WARM_UP, SEED = 10, 1, 0
KINDS = ("sparse", "dense")
ROWS = {"data": "MiB", "peak": "MiB"} | dict.fromkeys(["step", "step, clock", "epoch", "epoch, clock"], "s")
AT_ONCE = 1000  # rows that are made dense at a time


def bags(samples: int, features: int, density: float) -> scipy.sparse.csr_array:
    """Random rows, each with one word of every 1 / density neighbours: all of the same length, columns going up."""
    rng, wide = np.random.default_rng(SEED), round(1 / density)
    words = features // wide
    columns = rng.integers(0, wide, (samples, words), dtype=np.int32) + np.arange(words, dtype=np.int32) * wide
    counts = rng.random(samples * words, dtype=np.float32)
    begins = np.arange(samples + 1, dtype=np.int32) * words
    return scipy.sparse.csr_array((counts, columns.reshape(-1), begins), shape=(samples, features))


def dense(x: scipy.sparse.csr_array) -> np.ndarray:
    """All of its numbers, made without a second copy."""
    full = np.zeros(x.shape, np.float32)
    for start in range(0, x.shape[0], AT_ONCE):
        full[start : start + AT_ONCE] = x[start : start + AT_ONCE].toarray()
    return full


def peak() -> float:
    """MiB that the process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def build(args: argparse.Namespace, kind: str, samples: int) -> Net:
    """The net, for so many samples at once."""
    x = {"shape": [samples, args.features], "sparse": "csr" if kind == "sparse" else None}
    layers = [
        {"name": "fc1", "type": "Linear", "bottom": "x", "out_features": args.hidden},
        {"name": "act", "type": "ReLU"},
        {"name": "fc2", "type": "Linear", "out_features": CLASSES},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "label"]},
    ]
    inputs = {"x": x, "label": {"shape": [samples], "dtype": "int64"}}
    config = {"name": f"{kind} bags", "threads": args.threads, "inputs": inputs, "net": layers}
    return Net.from_config(config, keep="none")


class Clocks:
    """What the processor and the clock on the wall count from now on."""

    def __init__(self) -> None:
        self.began = time.process_time(), time.perf_counter()

    def seconds(self) -> tuple[float, float]:
        """Of both, since it was made."""
        return time.process_time() - self.began[0], time.perf_counter() - self.began[1]


def steps(args: argparse.Namespace, kind: str, x: Any, labels: np.ndarray) -> tuple[tuple[float, float], list[float]]:
    """Seconds of a step on everything, by both clocks, and the losses."""
    solver = Solver(build(args, kind, args.samples), lr=0.1, momentum=0.9)
    seconds, losses = [], []
    for _ in range(WARM_UP + args.repeats):
        clocks = Clocks()
        losses.append(solver.step(x=x, label=labels))
        seconds.append(clocks.seconds())
    ours, elapsed = (median(each) for each in zip(*seconds[WARM_UP:], strict=True))
    return (ours, elapsed), losses


def epoch(args: argparse.Namespace, kind: str, x: Any, labels: np.ndarray) -> tuple[float, float]:
    """Seconds of an epoch in batches, by both clocks: the median of several."""
    feed = Feed(source=Arrays(arrays={"x": x, "label": labels}), batch_size=args.batch)
    loader = open_data(DataSection(train=feed)).loaders["train"]
    solver = Solver(build(args, kind, args.batch), lr=0.1, momentum=0.9)
    solver.step(**loader.batch(0, 0).blobs)
    seconds = []
    for number in range(1, args.repeats + 1):
        clocks = Clocks()
        for batch in loader.epoch(number):
            solver.step(**batch.blobs)
        seconds.append(clocks.seconds())
    ours, elapsed = (median(each) for each in zip(*seconds, strict=True))
    return ours, elapsed


def measure(args: argparse.Namespace, kind: str) -> dict[str, Any]:
    """What one of the two comes to, in this process."""
    before = peak()
    x: Any = bags(args.samples, args.features, args.density)
    labels = np.random.default_rng(SEED + 1).integers(0, CLASSES, args.samples)
    size = x.data.nbytes + x.indices.nbytes + x.indptr.nbytes
    if kind == "dense":
        x = dense(x)
        size = x.nbytes
    step, losses = steps(args, kind, x, labels)
    found = {"data": size / 2**20, "peak": peak() - before, "loss": losses}
    for name, (ours, elapsed) in {"step": step, "epoch": epoch(args, kind, x, labels)}.items():
        found |= {name: ours, f"{name}, clock": elapsed}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=50_000)
    parser.add_argument("--density", type=float, default=0.01)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.kind:
        print(json.dumps(measure(args, args.kind)))
        return
    found = {}
    for kind in KINDS:
        done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--kind", kind], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"error: the {kind} net did not come to its end (exit {done.returncode})\n{done.stderr}")
        found[kind] = json.loads(done.stdout)
    np.testing.assert_allclose(found["sparse"]["loss"], found["dense"]["loss"], rtol=1e-4)
    many = f"{args.threads} thread{'s' if args.threads > 1 else ''}"
    print(f"{args.samples} x {args.features}, {args.density:.2g} of it stored, Linear to {args.hidden}, {many}")
    print(f"{'':14}{'':5}{'sparse':>12}{'dense':>12}{'ratio':>8}")
    for name, unit in ROWS.items():
        ours, theirs = found["sparse"][name], found["dense"][name]
        print(f"{name:14}{unit:5}{ours:12.3f}{theirs:12.3f}{theirs / ours:8.1f}")


if __name__ == "__main__":
    main()
