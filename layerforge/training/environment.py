"""What a run was done with: recorded beside its results, because some of it changes the last bits."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from .._version import __version__
from ..arrays import processor
from ..arrays.threads import blas
from ..config.document import Config
from ..net import Net
from .commit import commit
from .rundir import RunDir

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PACKAGES = ("numpy", "h5py", "PyYAML", "tqdm", "cupy-cuda12x", "cupy-cuda13x")


def write_down(
    folder: RunDir, config: Config, resolved: str, overrides: Sequence[str], net: Net, *, first: bool
) -> None:
    """Write into a run's folder what the run is, before anything can go wrong with it.

    resolved  the configuration with all defaults
    first     the run begins, and has no copies of its files yet
    """
    for i, (path, text) in enumerate(config.files if first else ()):
        folder.write_text("config.yaml" if i == 0 else f"config.{Path(path).name}", text)
    folder.write_text("config.resolved.yaml", resolved)
    folder.write_json("command.json", command(sys.argv, list(overrides)))
    folder.write_json("env.json", environment(net))


def environment(net: Net) -> dict[str, Any]:
    """Versions, processor, threads, engine and linear algebra library, as env.json holds them."""
    return {
        "layerforge": __version__,
        "python": sys.version.split()[0],
        "backend": net.backend.describe(),
        "engine": net.engine_request.computing(net.graph.nodes),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "blas": blas(),
        "threads": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": processor.name(),
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
