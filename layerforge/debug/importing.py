"""Importing packages in a process of its own: what is broken may raise anything, and end the process.

    python -m layerforge.debug.importing numpy cupy      a line of JSON for each: its name, the problem, what helps

NVIDIA's driver is asked there, too, before it is asked here.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..schema.optional import reason

DRIVER = "the driver"  # among the modules: that of NVIDIA
LONGEST = 120.0  # seconds, for all of them


class Found(NamedTuple):
    """Why a module cannot be used, "" where it can, and the line that helps, where one is known."""

    problem: str = ""
    fix: str = ""


def problems_of(modules: Iterable[str], longest: float = LONGEST) -> dict[str, Found]:
    """Why modules cannot be imported, and what helps; those that can be are not among them.

    One that ends the process, or takes too long, is told of, and the others are tried without it.
    """
    left, found = list(dict.fromkeys(modules)), dict[str, Found]()
    while left:
        done, ended = _tried(left, longest)
        found |= {module: told for module, told in done.items() if told.problem}
        left = [module for module in left if module not in done]
        if left:
            found[left[0]] = Found(ended)
            left = left[1:]
    return found


def _tried(modules: list[str], longest: float) -> tuple[dict[str, Found], str]:
    """What a process says of the modules that it came to, and how it ended."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-P", "-m", __name__, *modules]  # -P: nothing from the folder that the user is in
    try:
        ran = subprocess.run(
            command, capture_output=True, timeout=longest, env={**os.environ, "PYTHONPATH": path}, check=False
        )  # fmt: skip
        output, ended = ran.stdout, f"importing it ends the process ({_end(ran.returncode)})"
    except subprocess.TimeoutExpired as problem:
        output, ended = problem.stdout or b"", f"importing it takes more than {longest:g} s"
    done = {}
    for line in output.decode(errors="replace").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = json.loads(line)
            done[told["module"]] = Found(*told["found"])
    return {module: done[module] for module in modules if module in done}, ended


def _end(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def tried(module: str) -> Found:
    """Why a module cannot be imported in this process. CuPy is also made to compute."""
    from ..arrays import cuda_driver
    from ..arrays.device_errors import told

    if module == DRIVER:
        cuda_driver.find()  # whatever it says: the question is whether it comes back
        return Found()
    try:
        imported = importlib.import_module(module)
        if module == "cupy" and not imported.cuda.runtime.getDeviceCount():  # where there is no driver it raises
            return Found("it finds no GPU")
        if module == "cupy":
            square = imported.ones((2, 2), dtype="float32")
            imported.asnumpy(imported.exp(square) @ square)  # CUDA's libraries are loaded when they are needed
    except Exception as problem:
        error = told(problem)
        if error is None:
            return Found(reason(problem))
        return Found(error.message, error.hint if error.hint and error.hint.startswith("pip ") else "")
    return Found()


def main(modules: Iterable[str]) -> None:
    """Say of each module whether it can be imported."""
    stdout = sys.stdout
    for module in modules:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = tried(module)
        print(json.dumps({"module": module, "found": found}), file=stdout, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
