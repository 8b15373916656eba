"""What a device may lack, planted in the stand-in for CuPy: memory, a library of CUDA, a kernel that stays in bounds.

Each is a block; in it the stand-in raises what CuPy 14.2 raises, in its words and from classes of its names:

    with faults.memory_limited(2**20):      # to so much more than is held when the block begins
    with faults.library_missing("libcublas.so.12"):
    with faults.bad_kernel(after=10):       # the tenth launch from now goes wrong, and the next wait tells of it
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# The functions that need a library, by the name that its file has.
USERS = {
    "libcublas": ("matmul", "dot", "vdot", "inner", "tensordot", "einsum"),
    "libcusolver": ("inv", "solve", "slogdet", "cholesky"),
}
MEMORY = 2**33


def named(name: str, module: str, base: type[Exception]) -> Any:
    """An exception called as one of CuPy's is."""
    return type(name, (base,), {"__module__": module})


OutOfMemoryError = named("OutOfMemoryError", "cupy.cuda.memory", MemoryError)
CUDARuntimeError = named("CUDARuntimeError", "cupy_backends.cuda.api.runtime", RuntimeError)
DynamicLibNotFoundError = named(
    "DynamicLibNotFoundError", "cuda.pathfinder._dynamic_libs.load_dl_common", RuntimeError
)


@dataclass
class Planted:
    """What is wrong at present."""

    limit: int | None = None  # bytes
    held: int = 0  # bytes of allocations since the limit was planted
    block: int = 0  # how many limits were planted: what was allocated under another may be freed under this one
    missing: str = ""
    launches: int | None = None  # until one goes wrong
    broken: bool = False


PLANTED = Planted()


@contextmanager
def memory_limited(nbytes: int) -> Iterator[None]:
    """Let arrays have so many bytes beyond those that are held now."""
    PLANTED.limit, PLANTED.held, PLANTED.block = nbytes, 0, PLANTED.block + 1
    try:
        yield
    finally:
        PLANTED.limit = None


@contextmanager
def library_missing(library: str) -> Iterator[None]:
    """Let a library of CUDA be missing: every function that needs it says so."""
    PLANTED.missing = library
    try:
        yield
    finally:
        PLANTED.missing = ""


@contextmanager
def bad_kernel(after: int) -> Iterator[None]:
    """Let a kernel write where no memory is; from then on every wait tells of it, as no context survives that."""
    PLANTED.launches = after
    try:
        yield
    finally:
        PLANTED.launches, PLANTED.broken = None, False


# What the stand-in asks -----------------------------------------------------------------------------------------------


def allocated(array: Any) -> None:
    """An array with memory of its own is made."""
    if PLANTED.limit is None:
        return
    size = array.nbytes
    if PLANTED.held + size > PLANTED.limit:
        raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: {PLANTED.held:,} bytes).")
    PLANTED.held += size
    weakref.finalize(array, _freed, size, PLANTED.block)


def _freed(size: int, block: int) -> None:
    if block == PLANTED.block:
        PLANTED.held -= size


def launched(name: str, is_kernel: bool = False) -> None:
    """A function is called. `is_kernel`: CuPy compiles a kernel for it, and not for what only looks at memory."""
    library, _, number = PLANTED.missing.partition(".so.")
    if library and name in USERS.get(library, ()):
        raise ImportError(f'Failure finding "{library}.so.{number}": No such file: {library}.so.{number}\n')
    if library == "libnvrtc" and is_kernel:
        raise DynamicLibNotFoundError(f'Failure finding "{library}.so.{number}": No such file: {library}.so.{number}\n')
    if PLANTED.launches is not None:
        PLANTED.launches -= 1
        PLANTED.broken = PLANTED.broken or PLANTED.launches <= 0


def waited() -> None:
    """The host waits for the device."""
    if PLANTED.broken:
        raise CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")


def memory() -> tuple[int, int]:
    """Bytes that are free, and all."""
    total = MEMORY if PLANTED.limit is None else PLANTED.limit
    return total - held(), total


def held() -> int:
    """Bytes of the arrays since a limit was planted."""
    return 0 if PLANTED.limit is None else PLANTED.held
