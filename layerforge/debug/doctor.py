"""What is there to compute with, and what of it does not work: plain values for `layerforge doctor`.

No part of it may keep the others from being looked at: packages are imported in a process of their own (importing.py),
libraries are asked for versions, and what cannot be found out is None.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .._version import __version__
from ..arrays import cgroups, cuda_device, cuda_driver, cuda_packages, host_memory, processor, threads
from ..engines.onednn import library
from ..schema.errors import BackendError
from ..schema.packages import Wanted, satisfies, version_of, wanted
from .importing import DRIVER, Found, problems_of

VARIABLES = (*threads.VARIABLES, "CUDA_VISIBLE_DEVICES", *cuda_device.VARIABLES, library.VARIABLE, library.LIMIT)


def examine() -> dict[str, Any]:
    """All of it.

    layerforge, python  versions and places
    processor    name; features (None: not told); cores, which this process may use; all of the machine; quota, the
                 cores' time that its container lets it have (None: all)
    memory       bytes: total, free, and machine, where a container has less
    numpy        version, blas, threads; None where NumPy cannot be imported
    onednn       version, path, runtime, threads, bfloat16 (the instructions that compute in it; None: there are none);
                 None where it is not there or cannot be loaded
    cupy         distributions with versions; works: whether it can be used
    driver       NVIDIA's: cuda, release, gpus, problem ("" where it works)
    packages     that everybody needs: name, wanted, version (None: not there), problem ("" where there is none)
    extras       by name: packages as above, there (whether all are there and work), install
    variables    of the environment, those that are set and matter
    problems     what is broken: message and fix
    notes        what could be better: message and fix
    ok           whether nothing is broken
    """
    asked = wanted()
    own = [one for one in asked if one.extra not in cuda_packages.EXTRAS.values()]
    distributions = cuda_packages.installed()
    modules = [one.module for one in own if one.module and _is_there(one)]
    broken = problems_of([DRIVER, *modules, *(["cupy"] if distributions else [])])
    problems: list[dict[str, str]] = []
    notes: list[dict[str, str]] = []
    packages = [_package(one, broken) for one in own if not one.extra]
    extras = _extras([one for one in asked if one.extra], broken)
    for package in packages:
        problems += _wrong(package, f"pip install '{package['name']}{package['wanted']}'")
    for extra in extras.values():
        for package in extra["packages"]:
            if package["name"] not in distributions:
                found = _wrong(package, extra["install"]) if package["version"] is not None else []
                (problems if package["problem"] else notes).extend(found)
    driver = _driver(broken.get(DRIVER, Found()))
    cupy_problems, cupy_notes = _of_cupy(distributions, driver, broken.get("cupy", Found()))
    onednn, onednn_problem = _onednn()
    cpu, cpu_notes = _processor()
    problems += cupy_problems + onednn_problem
    return {
        "layerforge": {"version": __version__, "folder": str(Path(__file__).parents[1])},
        "python": {"version": platform.python_version(), "path": sys.executable, "platform": platform.platform()},
        "processor": cpu,
        "memory": _memory(),
        "numpy": None if "numpy" in broken else _numpy(),
        "onednn": onednn,
        "cupy": {"distributions": distributions, "works": bool(distributions) and not cupy_problems},
        "driver": asdict(driver),
        "packages": packages,
        "extras": extras,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "problems": problems,
        "notes": notes + cupy_notes + cpu_notes,
        "ok": not problems,
    }


def finding(message: str, fix: str) -> dict[str, str]:
    """A problem or a note."""
    return {"message": message, "fix": fix}


# Packages -------------------------------------------------------------------------------------------------------------


def _is_there(one: Wanted) -> bool:
    return version_of(one.name) is not None


def _package(one: Wanted, broken: Mapping[str, Found]) -> dict[str, Any]:
    version = version_of(one.name)
    problem = "" if version is None else broken.get(one.module, Found()).problem
    return {"name": one.name, "wanted": one.versions, "version": version, "problem": problem}


def _wrong(package: Mapping[str, Any], install: str) -> list[dict[str, str]]:
    """What is wrong with a package: it is missing, cannot be imported, or is of a version that will not do."""
    name, version, versions = package["name"], package["version"], package["wanted"]
    if version is None:
        return [finding(f"{name} is missing", install)]
    if package["problem"]:
        again = install.replace("pip install ", "pip install --force-reinstall ", 1)
        return [finding(f"{name} {version} is installed and cannot be imported: {package['problem']}", again)]
    if not satisfies(version, versions):
        return [finding(f"{name} {version} is installed, and {versions} is asked for", install)]
    return []


def _extras(asked: Iterable[Wanted], broken: Mapping[str, Found]) -> dict[str, Any]:
    """The extras by name: their packages, whether all of them are there and work, and what installs them."""
    found: dict[str, Any] = {}
    for one in asked:
        extra = found.setdefault(one.extra, {"packages": [], "there": True})
        package = _package(one, broken)
        extra["packages"].append(package)
        extra["there"] &= package["version"] is not None and not package["problem"]
        extra["install"] = f"pip install 'layerforge[{one.extra}]'"
    return found


# Libraries ------------------------------------------------------------------------------------------------------------


def _numpy() -> dict[str, Any] | None:
    try:
        import numpy as np
    except Exception:  # it is told of among the packages
        return None
    return {"version": np.__version__, "blas": threads.blas(), "threads": threads.blas_threads()}


def _onednn() -> tuple[dict[str, Any] | None, list[dict[str, str]]]:
    """oneDNN as the engine finds it; a library that is there and cannot be used is a problem."""
    try:
        loaded = library.load()
    except BackendError as error:
        broken = error.message != library.NOT_INSTALLED
        return None, [finding(error.message, error.hint or library.INSTALL)] if broken else []
    known = {"version": loaded.version, "path": loaded.path, "runtime": loaded.runtime}
    return {**known, "threads": threads.CURRENT.count, "bfloat16": library.bfloat16_instructions()}, []


def _driver(broken: Found) -> cuda_driver.Driver:
    """What NVIDIA's driver says, unless asking it would end this process, or never end."""
    if not broken.problem:
        return cuda_driver.find()
    how = broken.problem.replace("importing it", f"loading {cuda_driver.library_name()} and asking it", 1)
    return cuda_driver.Driver(problem=f"NVIDIA's driver fails: {how}")


def _of_cupy(
    distributions: Mapping[str, str], driver: cuda_driver.Driver, broken: Found
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """What is wrong with CuPy, and what could be better. CuPy that is installed is meant to be used."""
    obstacle = cuda_packages.obstacle(distributions, driver)
    if obstacle is not None:
        return [finding(*obstacle)], []
    if broken.problem:
        listed = ", ".join(f"{name} {version}" for name, version in distributions.items())
        again = cuda_packages.pip_line(driver.cuda // 1000 or None)
        again = again.replace("pip install ", "pip install --force-reinstall ")
        return [finding(f"{listed} cannot be used: {broken.problem}", broken.fix or again)], []
    better = cuda_packages.advice(distributions, driver)
    return [], [finding(*better)] if better is not None else []


# The machine ----------------------------------------------------------------------------------------------------------


def _processor() -> tuple[dict[str, Any], list[dict[str, str]]]:
    cores, quota = threads.cores(), cgroups.cores()
    known: dict[str, Any] = {"name": processor.name(), "features": processor.features()}
    known |= {"cores": cores, "all": os.cpu_count(), "quota": quota}
    if quota is None or quota >= threads.CURRENT.count:
        return known, []
    message = f"{threads.CURRENT.count} threads compute, and the container lets them have the time of {quota:g} cores"
    return known, [finding(message, f"set `threads: {max(1, int(quota))}` or OMP_NUM_THREADS={max(1, int(quota))}")]


def _memory() -> dict[str, int]:
    found, machine = host_memory.memory(), host_memory.memory_of_this_machine(-1)
    with contextlib.suppress(KeyError):
        if found["total"] < machine:
            found["machine"] = int(machine)
    return found
