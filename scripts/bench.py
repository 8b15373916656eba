"""The yardstick: LayerForge against other libraries, training step by training step.

    python scripts/bench.py                                         all nets against torch, with 1 and 2 threads
    python scripts/bench.py --only mlp,lenet --threads 2 --json F
    python scripts/bench.py --against torch,torch-autocast,torch-compile,jax,numpy
    python scripts/bench.py --ours float32,bf16-mixed,medium,reference --keep none,all
    python scripts/bench.py --neighbour --only mlp,lenet,resnet20   beside a program that keeps a core busy
    python scripts/bench.py --verify                                do both sides compute the same?
    python scripts/bench.py --read F --markdown                     the tables of an earlier run, for a document

Every competitor, and every way of ours, runs in a process of its own. They take turns, a burst of steps each, round
after round; only one works at any time. Reported are medians with least value and quartiles, and medians of the ratios
within rounds. Torch needs not be in this environment: --torch-python names an interpreter that has it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from benchmarks import agreement, catalogue, results, surroundings, tables, whole_runs  # noqa: E402
from benchmarks.catalogue import KEEPS, NETS, OUR_WAYS, STANDARD  # noqa: E402
from benchmarks.driver import Settings, WorkerError  # noqa: E402
from benchmarks.neighbour import NoNeighbour  # noqa: E402

from layerforge.schema.errors import LayerForgeError  # noqa: E402

FAILURES = (WorkerError, LayerForgeError, NoNeighbour, whole_runs.NoData, OSError)


def names_among(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A reader of comma-separated names."""

    def read(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'}: choose from {', '.join(known)}")
        return list(dict.fromkeys(names))

    return read


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number >= 1")
    return int(text)


def count(text: str) -> int:
    """A whole number from 0."""
    return 0 if text == "0" else positive(text)


def thread_counts(text: str) -> list[int]:
    """Comma-separated numbers of threads."""
    return [positive(part) for part in text.split(",")]


def interpreter(text: str) -> str:
    """A program by name or path, as an absolute path; links stay, for a virtual environment is found by them."""
    found = shutil.which(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text}: there is no such program")
    return os.path.abspath(found)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, known = made.add_argument, results.known_competitors()
    add("--against", type=names_among(known), default=["torch"], metavar="A,B", help=", ".join(known))
    ours = ", ".join(OUR_WAYS)
    add("--ours", type=names_among(list(OUR_WAYS)), default=["float32"], metavar="A,B", help=f"our ways: {ours}")
    add("--keep", type=names_among(KEEPS), default=["none"], metavar="A,B", help="blobs that we keep: none, all (none)")
    add("--threads", type=thread_counts, default=[1, 2], metavar="N,M", help="numbers of threads (1,2)")
    add("--only", type=names_among(list(NETS)), default=STANDARD, metavar="NET,NET", help=", ".join(NETS))
    add("--bursts", type=positive, default=5, metavar="N", help="rounds that count (5)")
    add("--spare", type=count, default=0, metavar="N", help="further rounds; the most disturbed do not count (0)")
    add("--seconds", type=float, default=0.5, metavar="S", help="about how long a burst lasts (0.5)")
    add("--steps", type=positive, metavar="K", help="steps of a burst, instead of --seconds")
    add("--clock", choices=("wall", "cpu"), default="wall", help="cpu: time of computing, on a busy machine")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change our configurations (repeatable)")
    add("--torch-python", type=interpreter, default=sys.executable, metavar="PATH", help="one that has torch or jax")
    add("--no-training", action="store_true", help="leave the training steps out")
    add("--inference", action="store_true", help="also forward in eval, batches of 1 and 64")
    add("--neighbour", action="store_true", help="also training steps, quiet and beside a busy process on one core")
    add("--startup", action="store_true", help="also from process start to the first step of configs/mnist_mlp.yaml")
    add("--end-to-end", action="store_true", help="also from process start to an accuracy on MNIST")
    add("--accuracy", type=float, default=0.98, metavar="A", help="that accuracy (0.98)")
    add("--profile", action="store_true", help="also our milliseconds of each layer")
    add("--verify", action="store_true", help="instead: compare losses, gradients, updates; code 1 if they differ")
    add("--json", type=Path, metavar="F", help="write everything to a file")
    add("--read", type=Path, metavar="F", help="measure nothing: show what --json wrote")
    add("--markdown", action="store_true", help="print tables as markdown")
    return made


def say(text: str) -> None:
    """Progress, beside the result."""
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    args = parser().parse_args(argv)
    pythons = sys.executable, args.torch_python
    settings = Settings(pythons, args.bursts, args.spare, args.seconds, args.steps, args.clock, tuple(args.set))
    result: dict[str, Any] = {}
    try:
        if args.verify:
            return verify(args, settings)
        if args.read:
            result = json.loads(args.read.read_text())
        else:
            result = results.empty(surroundings.machine(), settings)
            measure(result, args, settings)
        code = 0
    except FAILURES as error:
        say(f"error: {error}")
        code = 1
    except subprocess.CalledProcessError as error:
        say(f"error: {' '.join(error.cmd)} ended with code {error.returncode}\n{error.stderr or ''}")
        code = 1
    if result:  # what was measured before an error is not lost
        if args.json:
            args.json.write_text(json.dumps(result, indent=1) + "\n")
        print(tables.render(result, args.markdown))
    return code


def measure(result: dict[str, Any], args: argparse.Namespace, settings: Settings) -> None:
    """Everything that was asked for, into the result."""
    training, most = not args.no_training, max(args.threads)
    if args.startup or args.end_to_end:
        whole_runs.mnist_folder()
    if training or args.inference or args.neighbour:
        ways = catalogue.ways(args.ours, args.keep)
        parts = training, args.inference, args.neighbour
        results.fill(result, results.Wanted(args.only, ways, args.against, args.threads, *parts), settings, say)
    if args.startup:
        say("start-up")
        result["startup"] = whole_runs.startup(most, settings)
    if args.end_to_end:
        say("end to end")
        result["end_to_end"] = whole_runs.end_to_end(most, settings, args.accuracy)
    if args.profile:
        say("profile")
        result["profile"] = {net: whole_runs.profile(NETS[net].config, most, settings) for net in args.only}


def verify(args: argparse.Namespace, settings: Settings) -> int:
    """Print how far others, and our other ways, are from our float32; 1 where that is too far, or where nobody could
    be compared."""
    ways = catalogue.ways(["float32", *(way for way in args.ours if way != "float32")], args.keep)
    found, notes = agreement.compare(args.only, ways, args.against, max(args.threads), settings)
    print(tables.agreement_table(found).text())
    for note in notes:
        say(f"note: {note}")
    return 0 if found and all(comparison.fine for comparison in found) else 1


if __name__ == "__main__":
    sys.exit(main())
