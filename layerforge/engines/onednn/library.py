"""Finding oneDNN's shared library and loading it: any libdnnl of major version 3, whose C interface is stable.

Looked for, in this order: $LAYERFORGE_ONEDNN (a file, and then nothing else), the wheel `onednn-cpu-gomp` (the extra
`fast`) in this environment, a conda environment, the system. The wheel `onednn` is built for SYCL, whose queues this
engine does not drive: where it is what was found, that is said.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...schema.errors import BackendError

MAJOR = 3
VARIABLE = "LAYERFORGE_ONEDNN"
LIMIT = "ONEDNN_MAX_CPU_ISA"  # oneDNN's own variable: the instructions that it may use
INSTALL = "pip install 'layerforge[fast]' (Linux on x86-64), or name a libdnnl.so.3 in $LAYERFORGE_ONEDNN"
NOT_INSTALLED = "oneDNN is not installed"
GAIN = "with it training steps are several times faster"


class Version(ctypes.Structure):
    """What dnnl_version() points to; `cpu_runtime` is how it makes threads."""

    _fields_ = [
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
        ("patch", ctypes.c_int),
        ("hash", ctypes.c_char_p),
        ("cpu_runtime", ctypes.c_uint),
        ("gpu_runtime", ctypes.c_uint),
    ]


RUNTIMES = {1: "sequential", 2: "OpenMP", 4: "TBB", 8: "threadpool"}
SYCL_RUNTIME = 512
AVX512_BF16, AMX = 0xE7, 0xFEF  # of the flags by which oneDNN calls instruction sets
SYCL = "is built for SYCL, as the wheel `onednn` is, and cannot be used: pip uninstall onednn"


@dataclass(frozen=True)
class Library:
    """The loaded library: its functions, where it is, and which."""

    functions: Any
    path: str
    version: str
    runtime: str

    def describe(self) -> str:
        """For tables and the run's record."""
        return f"oneDNN {self.version} ({self.runtime}, {self.path})"


LOADING = threading.Lock()


def load() -> Library:
    """Load oneDNN, once.

    Errors   BackendError (exit 5), saying what was looked for or what is wrong with what was found
    """
    with LOADING:  # a cache alone lets all threads in that come at once
        return _load()


@functools.cache
def _load() -> Library:
    problems = []
    for path in candidates():
        try:
            return _open(path)
        except OSError as error:
            problems.append(f"{path} {SYCL}" if _is_sycl(path) else f"{path} cannot be loaded ({error})")
        except BackendError as error:
            problems.append(error.message)
    named = os.environ.get(VARIABLE)
    if named and not problems:
        problems.append(f"${VARIABLE} names {named}, which does not exist")
    raise BackendError("; ".join(problems) or NOT_INSTALLED, hint=INSTALL)


def missing() -> str | None:
    """Why oneDNN cannot be used, in a line that also says what it would bring; None where it can."""
    try:
        load()
    except BackendError as error:
        return f"{error.message}; {GAIN}: {error.hint}"
    return None


def bfloat16_missing() -> str | None:
    """Why nothing is computed in bfloat16 here; None where the processor has instructions for it."""
    return None if _can(AVX512_BF16) else "the processor has no AVX512-BF16 and no AMX"


def bfloat16_instructions() -> str | None:
    """The instructions that compute in bfloat16 here, the best of them; None where there are none."""
    return "AMX" if has_amx() else "AVX512-BF16" if _can(AVX512_BF16) else None


def has_amx() -> bool:
    """Whether the processor multiplies whole tiles of matrices."""
    return _can(AMX)


def _can(instructions: int) -> bool:
    """Whether oneDNN uses these instructions here, which $ONEDNN_MAX_CPU_ISA may forbid."""
    return load().functions.dnnl_get_effective_cpu_isa() & instructions == instructions


def candidates() -> Iterator[str]:
    """Paths or names to try, best first."""
    named = os.environ.get(VARIABLE)
    if named:
        if Path(named).exists():
            yield named
        return
    folders = [Path(sys.prefix) / "lib", Path(sys.base_prefix) / "lib"]
    if os.environ.get("CONDA_PREFIX"):
        folders.append(Path(os.environ["CONDA_PREFIX"]) / "lib")
    for folder in dict.fromkeys(folders):
        for name in (f"libdnnl.so.{MAJOR}", f"libdnnl.{MAJOR}.dylib"):
            if (folder / name).exists():
                yield str(folder / name)
    import ctypes.util  # with subprocess and tempfile: where a folder has the library nobody needs them

    system = ctypes.util.find_library("dnnl")
    if system:
        yield system


def _is_sycl(path: str) -> bool:
    """Whether the runtime of SYCL is stored beside a library: the wheel `onednn` brings it along."""
    return any(Path(path).parent.glob("libsycl.so*"))


def _open(path: str) -> Library:
    functions = ctypes.CDLL(path)
    try:
        functions.dnnl_version.restype = ctypes.POINTER(Version)
        version = functions.dnnl_version().contents
    except AttributeError:
        raise BackendError(f"{path} is not oneDNN: it has no function dnnl_version") from None
    text = f"{version.major}.{version.minor}.{version.patch}"
    if version.major != MAJOR:
        raise BackendError(f"{path} is oneDNN {text}; this engine speaks the interface of version {MAJOR}")
    if version.cpu_runtime == SYCL_RUNTIME:
        raise BackendError(f"{path} (oneDNN {text}) {SYCL}")
    runtime = RUNTIMES.get(version.cpu_runtime)
    if runtime is None:
        raise BackendError(f"{path} (oneDNN {text}) was built without a CPU engine")
    return Library(functions, path, text, runtime)
