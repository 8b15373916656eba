"""Check a GPU in five minutes: whether everything that is promised of CuPy holds on it, and how fast it is.

    python scripts/gpu_check.py                          on this machine's GPU; report in gpu_check.json
    python scripts/gpu_check.py --only training,runs     some of the stages
    python scripts/gpu_check.py --torch-python PATH      PATH is a Python that has torch with CUDA, to be compared with
    python scripts/gpu_check.py --backend strict         without a GPU: the stand-in of the tests, times mean nothing
    python scripts/gpu_check.py --read F --markdown      the tables of an earlier check, for a document

Each stage tells in a line what came of it and adds itself to the report at once, so that nothing is lost by a stop. One
that has used up its time is cut short, which is no pass: kernels that were compiled stay in CuPy's cache, so that a
second run comes further, and --patience 3 gives three times the time. Nothing is downloaded; where the data of an
example are not on this machine (LAYERFORGE_DATA) random numbers take their place, as the table says.

Exit code 0 where all stages passed, 1 where one did not, 2 for a wrong command line, 5 where there is no device.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(min(8, os.cpu_count() or 1)))  # of NumPy, beside which the device is held

SCRIPTS = Path(__file__).resolve().parent
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS.parent)]

from gpu_checking import basics, corners, costs, device, layers, nets, refusals, runs, tables, times, training  # noqa: E402
from gpu_checking.stages import Entry, Options, Outcome, all_passed, run_stage  # noqa: E402

from layerforge.arrays.backend import Backend  # noqa: E402
from layerforge.schema.errors import LayerForgeError  # noqa: E402

STAGES = {  # in the order in which they are run; together they may take five minutes
    "versions": Entry(basics.versions, "device, driver, versions", 5),
    "smoke": Entry(basics.smoke, "an operation of each library", 15),
    "philox": Entry(basics.random_bits, "random numbers are NumPy's bits", 10),
    "training": Entry(training.training, "example nets train as on NumPy, twice alike", 55),
    "layers": Entry(layers.layers, "an example of each type of layer", 110),
    "nets": Entry(nets.nets, "random nets agree with float64", 35),
    "refusals": Entry(refusals.refusals, "what is wrong is refused, the device goes on", 10),
    "corners": Entry(corners.corners, "nothing, one number, NaN, ties, duplicates", 10),
    "runs": Entry(runs.runs, "kill and resume, capsule, snapshots", 20),
    "costs": Entry(costs.costs, "waits, uploads and memory of a step", 10),
    "times": Entry(times.times, "milliseconds of a step, beside torch", 20),
}
ON_THE_HOST = 5  # times the time, where the stand-in computes what a device would


def chosen(text: str) -> list[str]:
    """The stages of comma-separated names, in their order."""
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in STAGES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'}: choose from {', '.join(STAGES)}")
    return [name for name in STAGES if name in names]


def factor(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text}: must be a number above 0")
    return value


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--backend", choices=device.NAMES, default="cupy", help="strict: the stand-in, on a machine without a GPU")
    add("--only", type=chosen, default=list(STAGES), metavar="STAGE,STAGE", help=", ".join(STAGES))
    add("--quick", action="store_true", help="fewer steps, nets and repetitions")
    add("--patience", type=factor, default=1.0, metavar="N", help="so many times the time for each stage (1)")
    add("--torch-python", default=sys.executable, metavar="PATH", help="a Python that has torch (this one)")
    add("-o", "--output", type=Path, default=Path("gpu_check.json"), metavar="F", help="the report (gpu_check.json)")
    add("--read", type=Path, metavar="F", help="check nothing: show the report of an earlier check")
    add("--json", action="store_true", help="the report on stdout, in place of the table")
    add("--markdown", action="store_true", help="the table as markdown")
    add("-q", "--quiet", action="store_true", help="only what does not pass")
    return made


def check(
    backend: Backend, names: Sequence[str], options: Options, report: dict[str, Any], ended: Callable[[Outcome], None]
) -> None:
    """Run stages one after the other into a report; `ended` is told of each."""
    report["surroundings"] = device.surroundings(backend)
    for name in names:
        outcome = run_stage(name, STAGES[name], backend, options)
        report["stages"].append(outcome.plain())
        report["passed"] = all_passed(report["stages"])
        ended(outcome)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    args = parser().parse_args(argv)
    if args.read:
        return show(args, json.loads(args.read.read_text()))
    report: dict[str, Any] = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"), "backend": args.backend,
        "quick": args.quick, "asked_for": args.only, "surroundings": {}, "passed": False, "stages": [],
    }  # fmt: skip

    def ended(outcome: Outcome) -> None:
        args.output.write_text(json.dumps(report, indent=1) + "\n")
        if not args.quiet or outcome.status != "passed":
            print(tables.line(outcome.plain()), file=sys.stderr if args.json else sys.stdout, flush=True)

    patience = args.patience * (ON_THE_HOST if args.backend == device.STRICT else 1)
    options = Options(args.quick, patience, args.torch_python)
    try:
        with warnings.catch_warnings(), device.opened(args.backend) as backend:
            warnings.simplefilter("ignore")
            check(backend, args.only, options, report, ended)
    except LayerForgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {args.output}: {error.strerror or error}", file=sys.stderr)
        return 1
    return show(args, report)


def show(args: argparse.Namespace, report: dict[str, Any]) -> int:
    """Print a report; the exit code that it stands for."""
    if args.json:
        print(json.dumps(report))
    elif not (args.quiet and report["passed"]):
        print("\n" + tables.render(report, args.markdown))
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
