"""What a run was done with: recorded beside its results, because some of it changes the last bits."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..net import Net
from .commit import commit

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PACKAGES = ("numpy", "h5py", "PyYAML", "tqdm", "cupy-cuda12x", "cupy-cuda13x")


def environment(net: Net) -> dict[str, Any]:
    """Versions, processor, threads, engine and linear algebra library, as env.json holds them."""
    return {
        "layerforge": __version__,
        "python": sys.version.split()[0],
        "backend": net.backend.describe(),
        "engine": net.engine_request.computing(net.graph.nodes),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "blas": _blas(),
        "threads": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cpu_count": os.cpu_count(),
    }


def command(argv: list[str], overrides: list[str]) -> dict[str, Any]:
    """How the run was started and from which state of the code around it, as command.json holds it."""
    try:
        here: Path | None = Path.cwd()
    except OSError:  # the folder is not there any more
        here = None
    git = None if here is None else commit(here)
    return {"argv": argv, "cwd": None if here is None else str(here), "overrides": overrides, "git": git}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _blas() -> dict[str, Any]:
    configuration = np.show_config(mode="dicts")
    blas = configuration.get("Build Dependencies", {}).get("blas", {}) if isinstance(configuration, dict) else {}
    return {key: blas[key] for key in ("name", "version") if key in blas}


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine() or "unknown"  # platform.processor would start a program
