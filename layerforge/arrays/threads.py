"""How many threads compute: one decision for all libraries.

Two pools of threads on the same cores wait for each other.

NumPy's products of matrices come from a BLAS with threads of its own; oneDNN has those of OpenMP. Where oneDNN
computes, the BLAS gets a single thread. Environment variables (OMP_NUM_THREADS) work only before a library is loaded,
so what is loaded already is told through its own functions.

OpenMP counts for each of the program's threads by itself, and what an engine has made for a number of threads may only
be run by as many: a net tells the thread that runs it how many are its own (`enter`). A BLAS has one number for all.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What the libraries read when they are loaded.
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# What OpenBLAS's setter is called in the builds that are around; NumPy's wheels have the first two.
BLAS_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)


@dataclass
class Threads:
    """The present decision: `asked` by the configuration; `engine` is whether an engine has a pool of its own."""

    asked: int | None = None
    engine: bool = False
    openmp: tuple[Any, ...] = ()  # the libraries that were told of it last

    @property
    def count(self) -> int:
        """Threads that compute: as asked, as OMP_NUM_THREADS says, or one for each core that this process may use."""
        if self.asked is not None:
            return self.asked
        environment = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
        return int(environment) if environment.isdigit() and int(environment) > 0 else cores()

    @property
    def blas(self) -> int | None:
        """Threads of the BLAS; None leaves it as it is."""
        if self.engine:
            return 1
        return self.asked


CURRENT = Threads()


class Here(threading.local):
    """What the calling thread computes with; None for the present decision."""

    count: int | None = None


HERE = Here()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use(count: int) -> None:
    """Compute with that many threads from now on, in this process and in those that it starts.

    Nets that are there already go on with as many as they were made for.
    """
    CURRENT.asked, HERE.count = count, None
    settle()


def enter(count: int) -> None:
    """The calling thread computes with that many until it is told otherwise."""
    if HERE.count == count:
        return
    HERE.count = count
    for library in CURRENT.openmp:
        library.omp_set_num_threads(count)


def here() -> int:
    """With how many the calling thread computes."""
    return HERE.count or CURRENT.count


def engine_loaded() -> None:
    """An engine with threads of its own is there: from now on the BLAS has one thread."""
    CURRENT.engine = True
    settle()


def settle() -> None:
    """Tell the libraries. Those of OpenMP that are not loaded yet will read the environment."""
    if CURRENT.blas is not None:
        for library, setter in blas_setters():
            getattr(library, setter)(CURRENT.blas)
    if CURRENT.asked is not None:
        os.environ["OMP_NUM_THREADS"] = str(CURRENT.asked)
    if CURRENT.engine:
        CURRENT.openmp = tuple(_loaded("libgomp", "libomp", "libiomp5"))
        for library in CURRENT.openmp:
            library.omp_set_num_threads(here())


def blas_setters() -> Iterator[tuple[Any, str]]:
    """Every OpenBLAS in this process, with the name of the function that sets its threads."""
    for library in _loaded("openblas"):
        for setter in BLAS_SETTERS:
            if hasattr(library, setter):
                yield library, setter
                break


def blas_threads() -> int | None:
    """With how many threads NumPy's OpenBLAS computes; None where it is another library."""
    for library, setter in blas_setters():
        return int(getattr(library, setter.replace("_set_", "_get_"))())
    return None


def blas() -> dict[str, Any]:
    """Name and version of the BLAS that NumPy was built with, as far as it says."""
    import numpy as np  # not above: `layerforge doctor` looks at threads where NumPy is broken, too

    configuration = np.show_config(mode="dicts")
    found = configuration.get("Build Dependencies", {}).get("blas", {}) if isinstance(configuration, dict) else {}
    return {key: found[key] for key in ("name", "version") if key in found}


@contextmanager
def alone() -> Iterator[None]:
    """While this lasts, OpenMP is told of a single thread: what an engine makes now is for one."""
    one()
    try:
        yield
    finally:
        all_again()


def one() -> None:
    """OpenMP is told of a single thread."""
    for library in CURRENT.openmp:
        library.omp_set_num_threads(1)


def all_again() -> None:
    """OpenMP is told of all threads that the calling one computes with."""
    for library in CURRENT.openmp:
        library.omp_set_num_threads(here())


def _loaded(*names: str) -> list[Any]:
    """The libraries in this process whose file is called so."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return []
    paths = {line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines() if line.count(" ") >= 5}
    wanted = sorted(p for p in paths if any(name in Path(p).name for name in names) and Path(p).exists())
    return [ctypes.CDLL(path) for path in wanted]
