"""Threads, paths and versions: what surrounds a measurement."""

from __future__ import annotations

import datetime
import os
from typing import Any

from . import processors
from .catalogue import ROOT

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def environment_for(threads: int) -> dict[str, str]:
    """The environment of a process that is to compute with so many threads and finds the project's own code.

    Libraries read these variables when they are loaded, so they are set before the process starts.
    """
    paths = [str(ROOT), str(ROOT / "scripts"), *filter(None, [os.environ.get("PYTHONPATH")])]
    eigen = "true" if threads > 1 else "false"
    own = {name: str(threads) for name in THREAD_VARIABLES}
    own["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={threads}"
    return {**os.environ, **own, "PYTHONPATH": os.pathsep.join(paths)}


def machine() -> dict[str, Any]:
    """Processor, versions and date, as the result holds them."""
    from layerforge import Net
    from layerforge.training.environment import environment

    linear = {"name": "fc", "type": "Linear", "out_features": 1}
    about = environment(Net.from_config({"inputs": {"x": {"shape": [1, 1]}}, "net": [linear]}))
    about.pop("threads")
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    return {**about, "processor": processors.described(), "date": date}
