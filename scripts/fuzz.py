"""Try every parser on spoilt files: whatever their bytes, the program gives data or an error of its own.

    python scripts/fuzz.py                            # 1,000 files of every format
    python scripts/fuzz.py --files 100000 --only npz --only idx --seed 1

Files are made by changing small good ones (bytes, numbers, pieces, words; for half of them inside of their compression
or checksum). Workers read them with limits: 1 GiB of memory beyond the libraries' and 10 seconds, or less where a
format says so. A finding is a file that ends a worker, exceeds a limit, or raises anything but an error of LayerForge:
what the HDF5 library raises is one too, where it was not expected. Formats that the program itself reads in a process
of its own (foreign HDF5) may end that process: such files are counted as contained, and some of them are then read
through the front door, where they must give an error in time.

Exit code 1 where there are findings.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS.parent)]

from fuzzing.formats import FORMATS, Format  # noqa: E402
from fuzzing.mutations import spoilt  # noqa: E402

from layerforge.data.hdf5_child import Unreadable  # noqa: E402
from layerforge.schema.errors import LayerForgeError  # noqa: E402

MEMORY = 1 << 30
SECONDS = 10.0
CONTAINED_SECONDS = 2.0  # the program allows eight; nothing that takes two comes to an end
START = 60.0  # seconds in which a worker begins, on a machine that is busy
BATCH = 1000
CHECKED = 10  # contained files of a format that are read through the front door


@dataclass
class Report:
    """What came of a format."""

    files: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    contained: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0
    seconds: float = 0.0

    def add(self, other: dict[str, Any]) -> None:
        """Count what a worker did."""
        self.files += other["files"]
        self.accepted += other["accepted"]
        self.refused += Counter(other["refused"])
        self.findings += other["findings"]
        self.slowest = max(self.slowest, other["slowest"])


def content(name: str, seed: int, number: int, made: Format) -> bytes:
    """The spoilt file of that number."""
    return made.spoil(random.Random(f"{seed}/{name}/{number}"), spoilt)


# The worker -----------------------------------------------------------------------------------------------------------


def limit_memory(count: int) -> None:
    """So many bytes from here on."""
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + count, resource.RLIM_INFINITY))


def work(name: str, seed: int, first: int, count: int, pulse: str) -> None:
    """Try some files; the number of the present one and when it was begun stand in the file `pulse`."""
    warnings.simplefilter("error")
    made, report = FORMATS[name](), Report()
    try:
        made.read(Path("/nowhere"))  # loads what is loaded late
    except Exception as problem:
        del problem
    limit_memory(made.memory or MEMORY)
    with open(pulse, "r+b") as file, mmap.mmap(file.fileno(), 0) as beat:
        for number in range(first, first + count):
            path = Path(f"{number}") / made.name
            path.parent.mkdir()
            path.write_bytes(content(name, seed, number, made))
            began = time.monotonic()
            beat[:64] = f"{number} {began}".encode().ljust(64)
            tried(made, path, number, report)
            report.slowest = max(report.slowest, time.monotonic() - began)
            path.unlink()
            path.parent.rmdir()
    print(json.dumps(vars(report)))


def tried(made: Format, path: Path, number: int, report: Report) -> None:
    """Read one file and count what came of it."""
    report.files += 1
    try:
        made.read(path)
        report.accepted += 1
    except (LayerForgeError, Unreadable) as error:
        report.refused[type(error).__name__] += 1
    except Exception as problem:
        where = traceback.extract_tb(problem.__traceback__)[-1]
        text = f"{type(problem).__name__}: {problem} ({Path(where.filename).name}:{where.lineno})"
        report.findings.append({"number": number, "what": text[:300]})


# The parent -----------------------------------------------------------------------------------------------------------


def campaign(name: str, files: int, seed: int) -> Report:
    """Try that many files of a format."""
    made, report, began = FORMATS[name](), Report(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        todo = [(first, min(BATCH, files - first)) for first in range(0, files, BATCH)][::-1]
        while todo:
            first, count = todo.pop()
            if not count:
                continue
            ended = batch(name, seed, first, count, Path(folder), made)
            if isinstance(ended, dict):
                report.add(ended)
                continue
            number, what = ended
            report.files += 1
            if made.front is None:
                report.findings.append({"number": number, "what": what})
            else:
                report.contained[what] += 1
                if sum(report.contained.values()) <= CHECKED:
                    check_front(name, seed, number, Path(folder), report)
            todo += [(number + 1, first + count - number - 1), (first, number - first)]  # what it lost is done again
    report.seconds = time.monotonic() - began
    return report


def batch(name: str, seed: int, first: int, count: int, folder: Path, made: Format) -> dict[str, Any] | tuple[int, str]:
    """A worker's report, or the number of the file that ended it and how."""
    pulse = folder / "pulse"
    pulse.write_bytes(f"{first} {time.monotonic() + START}".encode().ljust(64))
    command = [sys.executable, __file__, "--worker", name, str(seed), str(first), str(count), str(pulse)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}
    allowed = made.seconds or SECONDS if made.front is None else CONTAINED_SECONDS
    with tempfile.TemporaryDirectory(dir=folder) as place, tempfile.TemporaryFile() as out:
        worker = subprocess.Popen(command, cwd=place, stdout=out, env=environment)
        slow = False
        while not slow and worker.poll() is None:
            time.sleep(0.02)
            _, since = pulse.read_text().split()
            slow = time.monotonic() - float(since) > allowed
        worker.kill()
        worker.wait()
        out.seek(0)
        text = out.read()
        if text.endswith(b"}\n"):
            return json.loads(text.splitlines()[-1])
        if worker.returncode > 0:
            raise RuntimeError("the worker itself failed")
        number, _ = pulse.read_text().split()
        return int(number), f"more than {allowed:g} s" if slow else f"ended by signal {-worker.returncode}"


def check_front(name: str, seed: int, number: int, folder: Path, report: Report) -> None:
    """Read a contained file as the program does; a finding where that takes too long or says nothing."""
    path = folder / "front"
    made = FORMATS[name]()
    path.write_bytes(content(name, seed, number, made))
    began = time.monotonic()
    try:
        assert made.front is not None
        made.front(path)
        what = "was accepted"
    except LayerForgeError:
        what = ""
    except Exception as problem:
        what = f"{type(problem).__name__}: {problem}"[:300]
    seconds = time.monotonic() - began
    report.slowest = max(report.slowest, seconds)
    if what or seconds > SECONDS:
        report.findings.append({"number": number, "what": what or f"the front door took {seconds:.1f} s"})


def show(name: str, report: Report) -> str:
    """A format's report in a few lines."""
    refused = ", ".join(f"{kind} {n}" for kind, n in report.refused.most_common())
    lines = [
        f"{name:10} {report.files:>8} files: {report.accepted} accepted, {sum(report.refused.values())} refused,"
        f" {sum(report.contained.values())} contained, {len(report.findings)} findings;"
        f" slowest {report.slowest:.2f} s, {report.seconds:.0f} s in all",
        f"{'':10} refused: {refused or 'none'}",
    ]
    lines += [f"{'':10} contained: {n} {what}" for what, n in report.contained.most_common(8)]
    kinds = Counter(f["what"] for f in report.findings)
    lines += [f"{'':10} FINDING {n} x {what}" for what, n in kinds.most_common(20)]
    numbers = [f["number"] for f in report.findings[:10]]
    return "\n".join(lines + ([f"{'':10} first numbers: {numbers}"] if numbers else []))


def main() -> int:
    """The command line."""
    if sys.argv[1:2] == ["--worker"]:
        name, seed, first, count, pulse = sys.argv[2:]
        work(name, int(seed), int(first), int(count), pulse)
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, metavar="N", help="of each format")
    parser.add_argument("--only", action="append", choices=list(FORMATS), help="this format; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=int, metavar="NUMBER", help="write the file of that number to stdout instead")
    args = parser.parse_args()
    names = args.only or list(FORMATS)
    if args.save is not None:
        sys.stdout.buffer.write(content(names[0], args.seed, args.save, FORMATS[names[0]]()))
        return 0
    reports = {}
    for name in names:
        reports[name] = campaign(name, args.files, args.seed)
        print(show(name, reports[name]), file=sys.stderr if args.json else sys.stdout, flush=True)
    if args.json:
        print(json.dumps({name: vars(report) for name, report in reports.items()}))
    return 1 if any(report.findings for report in reports.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
