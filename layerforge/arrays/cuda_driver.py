"""NVIDIA's driver, asked without CuPy: is it there, for which CUDA, and which GPUs does it have.

Source   CUDA Driver API 13: cuInit, cuDriverGetVersion, cuDeviceGetCount, cuDeviceGetName, cuDeviceTotalMem
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KERNEL_MODULE = Path("/proc/driver/nvidia/version")
PROBLEMS = {
    34: "libcuda is a stub, made for building programs only",
    100: "NVIDIA's driver finds no GPU",
    101: "NVIDIA's driver finds no such GPU",
    802: "NVIDIA's driver is not ready yet",
    803: "the library and the kernel module of NVIDIA's driver are of different versions: restart the machine",
    804: "NVIDIA's driver and this GPU do not go together",
    999: "NVIDIA's driver fails for an unknown reason",
}


@dataclass(frozen=True)
class Gpu:
    """A GPU: its name and its bytes of memory."""

    name: str
    memory: int


@dataclass(frozen=True)
class Driver:
    """What the driver says.

    cuda      the newest CUDA that it can run, 12040 for 12.4; 0 where it does not say
    release   its own version, such as "550.54.15"; "" where the system does not say
    problem   why no GPU can be used; "" where one can
    """

    cuda: int = 0
    release: str = ""
    gpus: tuple[Gpu, ...] = ()
    problem: str = ""


def library_name() -> str:
    """The file of the driver's library."""
    return "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def find() -> Driver:
    """Load the driver's library and ask it."""
    release = _release()
    try:
        library = ctypes.CDLL(library_name())
    except OSError as problem:
        missing = f"NVIDIA's driver is not installed ({problem})"
        return Driver(release=release, problem=missing)
    try:
        return _asked(library, release)
    except AttributeError as problem:
        return Driver(release=release, problem=f"{library_name()} is not NVIDIA's driver ({problem})")


def _asked(library: Any, release: str) -> Driver:
    code = library.cuInit(0)
    number, count = ctypes.c_int(0), ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(number))
    if code == 0:
        code = library.cuDeviceGetCount(ctypes.byref(count))
    if code == 0 and not count.value:
        code = 100
    if code:
        return Driver(number.value, release, (), PROBLEMS.get(code, f"NVIDIA's driver fails with error {code}"))
    return Driver(number.value, release, tuple(_gpus(library, count.value)))


def _gpus(library: Any, count: int) -> Iterator[Gpu]:
    for i in range(count):
        device, name, size = ctypes.c_int(0), ctypes.create_string_buffer(256), ctypes.c_size_t(0)
        code = library.cuDeviceGet(ctypes.byref(device), i) or library.cuDeviceGetName(name, len(name), device)
        code = code or library.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        told = name.value.decode(errors="replace")
        yield Gpu(f"of which the driver does not tell (error {code})" if code else told, size.value)


def _release() -> str:
    try:
        found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", KERNEL_MODULE.read_text())
    except OSError:
        return ""
    return found[1] if found else ""
