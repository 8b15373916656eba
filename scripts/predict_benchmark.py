"""What a single prediction costs beside the bare forward of the same net.

    python scripts/predict_benchmark.py [--run RUN] [--samples 1000] [--rounds 9] [--threads 1]

Two things take turns, round by round, on the same images of one net of mnist_mlp:

    bare      net.forward(phase="eval", outputs=[scores], image=x) on inputs that were prepared before
    predict   model.predict(image): conversion, the checks of shape, kind and range, the transform, forward, the class

Without --run the net is trained for a few steps on Digits, which has images of the same size. Printed are microseconds
for one sample, of the processor and by the clock, as medians over the rounds, and their ratio. A forward of one sample
by several threads that share few cores waits more than it computes: hence one thread unless --threads says otherwise.

Exit code 1 where the ratio of processor times is above --most (1.5).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from layerforge import load_model, train
from layerforge.training.console import Console

ROOT = Path(__file__).parent.parent
WARM_UP = 50


def trained(folder: str, threads: int) -> str:
    """A run of a few steps."""
    digits = "type: Digits, batch_size: 64"
    overrides = [
        f"data={{train: {{{digits}}}, val: {{{digits}, split: test}}, transform: {{mean: pixel, std: pixel}}}}",
        f"train.output_dir={folder}", "train.max_steps=5", f"threads={threads}",
    ]  # fmt: skip
    quiet = Console(progress="off", quiet=True, results=False)
    return str(train(ROOT / "configs" / "mnist_mlp.yaml", overrides, console=quiet).run)


def seconds(work: Callable[[], None]) -> tuple[float, float]:
    """Of the processor, and by the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - processor, time.perf_counter() - clock


def compared(run: str, samples: int, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of both, in microseconds for one sample."""
    model = load_model(run)
    net, blob, [name] = model.net, model.blob, list(model.inputs)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, model.inputs[name].shape, dtype=np.uint8) for _ in range(samples)]
    ready = [{name: model.prepared(name, image[None])} for image in images]

    def bare() -> None:
        for blobs in ready:
            net.forward(phase="eval", outputs=[blob], **blobs)

    def predict() -> None:
        for image in images:
            model.predict(image)

    for image, blobs in zip(images[:WARM_UP], ready[:WARM_UP], strict=True):
        net.forward(phase="eval", outputs=[blob], **blobs)
        model.predict(image)
    taken: dict[str, list[tuple[float, float]]] = {"bare": [], "predict": []}
    for _ in range(rounds):
        taken["bare"].append(seconds(bare))
        taken["predict"].append(seconds(predict))
    return {
        kind: {what: median(pair[i] for pair in pairs) / samples * 1e6 for i, what in enumerate(("processor", "clock"))}
        for kind, pairs in taken.items()
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="a run or checkpoint of a net of images")
    parser.add_argument("--samples", type=int, default=1000, metavar="N", help="predictions in a round")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--most", type=float, default=1.5, metavar="RATIO")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = compared(args.run or trained(folder, args.threads), args.samples, args.rounds)
    ratios = {what: found["predict"][what] / found["bare"][what] for what in ("processor", "clock")}
    if args.json:
        print(json.dumps({**found, "ratio": ratios}))
    else:
        for kind, times in [*found.items(), ("ratio", ratios)]:
            unit = "" if kind == "ratio" else " us"
            print(f"{kind:8} processor {times['processor']:7.2f}{unit}   clock {times['clock']:7.2f}{unit}")
    return 1 if ratios["processor"] > args.most else 0


if __name__ == "__main__":
    sys.exit(main())
