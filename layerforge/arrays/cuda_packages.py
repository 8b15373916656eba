"""The distributions of CuPy: each is built for one CUDA, all are imported as `cupy`, and only one may be installed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import metadata

from .cuda_driver import Driver

CUPY = re.compile(r"(?:amd-)?cupy(?:-(?:cuda|rocm)[\w.-]*)?")
EXTRAS = {12: "cuda12", 13: "cuda13"}  # by the major version of CUDA that its CuPy is built for
DRIVER = "libcuda"


def installed() -> dict[str, str]:
    """The distributions of CuPy that are there, with their versions."""
    found = {}
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if CUPY.fullmatch(name):
            found[name] = distribution.version
    return dict(sorted(found.items()))


def cuda_of(distribution: str) -> int | None:
    """The major version of CUDA that a distribution is built for; None where its name does not say."""
    found = re.fullmatch(r"cupy-cuda(\d\d)(?:x|\d)", distribution)
    return int(found[1]) if found else None


def pip_line(cuda: int | None = None) -> str:
    """What installs CuPy for that major version of CUDA; where it is not known, for either."""
    if cuda is not None:
        known = [major for major in EXTRAS if major <= cuda]
        return f"pip install 'layerforge[{EXTRAS[max(known, default=min(EXTRAS))]}]'"
    lines = [f"pip install 'layerforge[{extra}]'" for extra in EXTRAS.values()]
    return f"{' or '.join(lines)}, whichever fits the driver"


def library_line(library: str) -> str:
    """What brings a library of CUDA."""
    if library.startswith(DRIVER + ".") or library == "nvcuda.dll":
        return "it comes with NVIDIA's driver: install that, or set `backend: numpy`"
    return cuda_line()


def cuda_line() -> str:
    """What brings all that CuPy needs of CUDA."""
    cudas = [cuda_of(name) for name in installed()]
    line = pip_line(cudas[0] if len(cudas) == 1 else None)
    return f"{line}: it brings CUDA's libraries and headers, too; or set `backend: numpy`"


def obstacle(distributions: Mapping[str, str], driver: Driver) -> tuple[str, str] | None:
    """Why the CuPy that is installed cannot work with this driver, and what helps; None where it can."""
    names = list(distributions)
    if len(names) > 1:
        listed = ", ".join(f"{name} {version}" for name, version in distributions.items())
        line = pip_line(driver.cuda // 1000 or None)
        message = f"several distributions of CuPy are installed, which overwrite each other's files: {listed}"
        return message, f"pip uninstall -y {' '.join(names)}; then {line}"
    if not names:
        return None
    if driver.problem:
        away = f"or pip uninstall -y {names[0]}: nothing else needs it"
        return f"{names[0]} is installed, but {driver.problem}", f"install the driver, {away}"
    built, runs = cuda_of(names[0]), driver.cuda // 1000
    if not runs or built is None or built <= runs:
        return None
    message = f"{names[0]} needs a driver for CUDA {built}, and this one is for CUDA {in_words(driver.cuda)}"
    if runs < min(EXTRAS):
        return message, f"install a driver for CUDA {min(EXTRAS)} or newer"
    return message, f"pip uninstall -y {names[0]}; then {pip_line(runs)}; or install a newer driver"


def advice(distributions: Mapping[str, str], driver: Driver) -> tuple[str, str] | None:
    """What would fit this driver better, and the line that installs it; None where nothing would."""
    if driver.problem or not driver.gpus:
        return None
    runs, names = driver.cuda // 1000, list(distributions)
    if not names:
        return "there is a GPU, and no CuPy to use it with", pip_line(runs or None)
    built = cuda_of(names[0])
    if len(names) == 1 and built is not None and built < runs and built < max(EXTRAS):
        message = f"the driver is for CUDA {in_words(driver.cuda)}; {names[0]} works with it, but is for an older one"
        return message, f"pip uninstall -y {names[0]}; then {pip_line(runs)}"
    return None


def in_words(number: int) -> str:
    """CUDA's number of a version, 12090, as 12.9."""
    return f"{number // 1000}.{number % 1000 // 10}"
