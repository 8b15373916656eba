"""Importing packages in a process of its own: what is broken may raise anything, and end the process.

    python -m layerforge.debug.importing numpy cupy      a line of JSON for each: {"module": ..., "problem": ...}
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

from ..schema.optional import reason

LONGEST = 120.0  # seconds, for all of them


def problems_of(modules: Iterable[str], longest: float = LONGEST) -> dict[str, str]:
    """Why modules cannot be imported, in a line each; those that can be are not among them.

    One that ends the process, or takes too long, is told of, and the others are tried without it.
    """
    left, found = list(dict.fromkeys(modules)), {}
    while left:
        done, ended = _tried(left, longest)
        found |= {module: problem for module, problem in done.items() if problem}
        left = [module for module in left if module not in done]
        if left:
            found[left[0]] = ended
            left = left[1:]
    return found


def _tried(modules: list[str], longest: float) -> tuple[dict[str, str], str]:
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
            done[told["module"]] = told["problem"]
    return {module: done[module] for module in modules if module in done}, ended


def _end(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def tried(module: str) -> str:
    """Why a module cannot be imported in this process; "" where it can. CuPy is also made to compute."""
    try:
        imported = importlib.import_module(module)
        if module == "cupy" and imported.cuda.is_available():
            square = imported.ones((2, 2), dtype="float32")
            imported.asnumpy(imported.exp(square) @ square)  # CUDA's libraries are loaded when they are needed
    except Exception as problem:
        return _told(problem)
    return ""


def _told(problem: Exception) -> str:
    """Why it is so, in a line; in the words of device_errors.py where they fit."""
    from ..arrays.device_errors import told

    error = told(problem)
    return reason(problem) if error is None else f"{error.message}: {error.hint}" if error.hint else error.message


def main(modules: Iterable[str]) -> None:
    """Say of each module whether it can be imported."""
    stdout = sys.stdout
    for module in modules:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem = tried(module)
        print(json.dumps({"module": module, "problem": problem}), file=stdout, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
