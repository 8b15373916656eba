"""What a run was done with: recorded beside its results, because some of it changes the last bits."""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..arrays import cuda_packages, processor, threads
from ..config.document import Config
from ..net import Net
from ..plan.planner import choices_of
from ..plan.precision import computing_in
from ..schema.packages import version_of
from .commit import commit
from .rundir import RunDir

PACKAGES = ("numpy", "h5py", "PyYAML", "tqdm")


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
        "precision": _precision(net),
        "packages": _packages(net),
        "blas": threads.blas(),
        "threads": {name: os.environ[name] for name in threads.VARIABLES if name in os.environ},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": processor.name(),
        "cpu_count": os.cpu_count(),
    }


def _precision(net: Net) -> dict[str, Any]:
    """What was asked for and why it cannot be, if so (`computing_in`), and `layers`: how many compute in each."""
    request, graph = net.engine_request, net.graph
    known, layers = computing_in(request, graph.nodes), {net.dtype: len(graph.nodes)}
    if known["mixed"]:
        layers = dict(Counter(choice.precision for choice in choices_of(graph, request).values()))
    return {**known, "layers": layers}


def _packages(net: Net) -> dict[str, str]:
    """Versions by distribution; of CuPy's, whatever they are called, where it computes."""
    found = {name: version for name in PACKAGES if (version := version_of(name))}
    return found if net.xp is np else found | cuda_packages.installed()


def command(argv: list[str], overrides: list[str]) -> dict[str, Any]:
    """How the run was started and from which state of the code around it, as command.json holds it."""
    try:
        here: Path | None = Path.cwd()
    except OSError:  # the folder is not there any more
        here = None
    git = None if here is None else commit(here)
    return {"argv": argv, "cwd": None if here is None else str(here), "overrides": overrides, "git": git}
