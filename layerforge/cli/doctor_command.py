"""`layerforge doctor`: what is there to compute with, and what of it does not work.

Python, NumPy and its BLAS, oneDNN, CuPy against NVIDIA's driver, processor, memory and what a container leaves of both,
and the extras, those that are missing with the line that installs them. Each package is imported once; where CuPy has
a GPU, it also multiplies two matrices.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from ..arrays.cuda_packages import cuda_in_words, cuda_of
from ..engines.onednn.library import INSTALL, bfloat16_missing
from ..schema.texts import bytes_in_words
from .arguments import add_json_option
from .output import print_json
from .terminal import note, tell

EPILOG = """\
Exit code 0 where all that is installed works, 5 where something does not: a package that everybody needs is missing, or
one that is installed cannot be imported or used. That holds for CuPy without a driver, too. What is not installed, but
could be, is no fault. With -q only what does not work is said."""

WIDTH = 12


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    words = "what is there to compute with"
    parser = subparsers.add_parser("doctor", help=words, description=__doc__, epilog=EPILOG)
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..debug.doctor import examine

    found = examine()
    if args.json:
        print_json(found)
        return 0 if found["ok"] else 5
    if not args.quiet:
        for label, text in rows(found):
            print(f"{label:{WIDTH}}{text}".rstrip())
        for remark in found["notes"]:
            note(f"{remark['message']}\n     = {remark['fix']}")
    for problem in found["problems"]:
        tell(f"error: {problem['message']}\n     = {problem['fix']}")
    return 0 if found["ok"] else 5


def rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The lines of the table: what it is about, and what is there."""
    yield "layerforge", f"{found['layerforge']['version']} in {found['layerforge']['folder']}"
    python = found["python"]
    yield "python", f"{python['version']}, {python['path']}, {python['platform']}"
    yield from _machine(found)
    yield "numpy", _numpy(found["numpy"])
    onednn = found["onednn"]
    yield "onednn", _onednn(onednn) if onednn else f"none that can be used: {INSTALL}"
    yield "bfloat16", _bfloat16(onednn)
    yield from _gpus(found)
    versions = [f"{package['name']} {package['version'] or 'missing'}" for package in found["packages"]]
    yield "packages", ", ".join(versions)
    for number, (name, extra) in enumerate(found["extras"].items()):
        yield "" if number else "extras", f"{name:{WIDTH}}{_extra(extra, found['cupy']['distributions'])}"
    if found["variables"]:
        yield "variables", ", ".join(f"{name}={value}" for name, value in found["variables"].items())


def _machine(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    cpu, memory = found["processor"], found["memory"]
    features = "features not told" if cpu["features"] is None else ", ".join(cpu["features"]) or "none of AVX2, AVX-512"
    yield "processor", f"{cpu['name']}: {features}"
    quota = f"; the container leaves the time of {cpu['quota']:g}" if cpu["quota"] is not None else ""
    yield "cores", f"{cpu['cores']} of {cpu['all']}{quota}"
    words = [bytes_in_words(memory.get("total")), f"{bytes_in_words(memory.get('free'))} of it free"]
    if "machine" in memory:
        words.append(f"the limit of its container; the machine has {bytes_in_words(memory['machine'])}")
    yield "memory", ", ".join(words)


def _numpy(numpy: Mapping[str, Any] | None) -> str:
    if numpy is None:
        return "cannot be imported"
    blas = " ".join(numpy["blas"].values()) or "a BLAS that is not told"
    return f"{numpy['version']} with {blas}" + (f", {_threads(numpy['threads'])}" if numpy["threads"] else "")


def _onednn(onednn: Mapping[str, Any]) -> str:
    return f"{onednn['version']} ({onednn['runtime']}), {_threads(onednn['threads'])}, {onednn['path']}"


def _bfloat16(onednn: Mapping[str, Any] | None) -> str:
    """Whether `precision: bf16-mixed` is computed here, and by which instructions."""
    if onednn is None:
        return "none without oneDNN: precision: bf16-mixed is computed in float32"
    return onednn["bfloat16"] or f"none: {bfloat16_missing()}; precision: bf16-mixed is computed in float32"


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


def _gpus(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    cupy, driver = found["cupy"], found["driver"]
    listed = ", ".join(f"{name} {version}" for name, version in cupy["distributions"].items())
    yield "cupy", f"{listed}{'' if cupy['works'] else ', which cannot be used'}" if listed else "not installed"
    if driver["problem"] and not driver["cuda"]:
        yield "driver", driver["problem"]
        return
    release = f", release {driver['release']}" if driver["release"] else ""
    problem = f": {driver['problem']}" if driver["problem"] else ""
    yield "driver", f"for CUDA {cuda_in_words(driver['cuda'])}{release}{problem}"
    for number, gpu in enumerate(driver["gpus"]):
        yield "" if number else "gpu", f"{number}: {gpu['name']}, {bytes_in_words(gpu['memory'])}"


def _extra(extra: Mapping[str, Any], distributions: Mapping[str, str]) -> str:
    packages = [f"{p['name']} {p['version']}" for p in extra["packages"] if p["version"] is not None]
    missing = [p["name"] for p in extra["packages"] if p["version"] is None]
    if not missing:
        return ", ".join(packages)
    words = ", ".join([*packages, *(f"{name} is missing" for name in missing)])
    if distributions and any(cuda_of(name) for name in missing):  # two of CuPy's would overwrite each other
        return f"{words}, and cannot be beside {next(iter(distributions))}"
    return f"{words}: {extra['install']}"
