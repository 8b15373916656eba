"""The distributions of CuPy: each is built for one CUDA, all are imported as `cupy`, and only one may be installed."""

from __future__ import annotations

import re
from importlib import metadata

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
    cudas = [cuda_of(name) for name in installed()]
    line = pip_line(cudas[0] if len(cudas) == 1 else None)
    return f"{line}: it brings CUDA's libraries, too; or set `backend: numpy`"
