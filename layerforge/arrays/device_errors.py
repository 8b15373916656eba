"""What the machine lacks, told as such: memory, a library of CUDA, a GPU that answers. No layer is to blame for it.

CuPy's exceptions are known by their names, as CuPy need not be installed. Where they come up says little: memory is
used up by all that is held, libraries are loaded when they are first needed, and what went wrong in work that the
device did later shows at the next wait of the host.

Source   cupy/cuda/memory.pyx, cupy_backends/cuda/{api,libs}, cuda.pathfinder of CuPy 14.2; CUDA Runtime API 13, 6.36
"""

from __future__ import annotations

import os
import re
from typing import NoReturn

from ..schema.errors import BackendError, DeviceOutOfMemory, LayerForgeError, OutOfMemory
from .cuda_packages import cuda_line, library_line

# The words that CUDA's libraries use, without their prefixes and underscores.
OUT_OF_MEMORY = frozenset(["outofmemory", "memoryallocation", "allocfailed"])
LATE = frozenset(
    [
        *("illegaladdress", "launchfailure", "launchfailed", "launchtimeout", "illegalinstruction"),
        *("misalignedaddress", "invalidaddressspace", "invalidpc", "hardwarestackerror", "assert"),
        *("eccuncorrectable", "externaldevice", "tensormemoryleak", "contextisdestroyed", "executionfailed", "unknown"),
    ]
)
UNUSABLE = frozenset(
    [
        *("nodevice", "invaliddevice", "devicesunavailable", "deviceunavailable", "devicenotlicensed"),
        *("insufficientdriver", "stublibrary", "systemdrivermismatch", "compatnotsupportedondevice", "systemnotready"),
        *("initializationerror", "startupfailure", "notinitialized", "deinitialized", "cudartunloading"),
        *("nokernelimagefordevice", "nobinaryforgpu", "unsupportedptxversion", "callrequiresnewerdriver"),
    ]
)
CODE = re.compile(r"^(?:cudaError|CUDA_ERROR_|CU[A-Z]+_STATUS_|NVRTC_ERROR_)(\w+)")
HEADER = re.compile(r"cannot open source file [\"']?([\w./-]+)")
FAMILIES = "cublas|cuda|cudnn|cufft|cufile|cupti|curand|cusolver|cusparse|cutensor|nccl|nvcuda|nvJitLink|nvrtc|nvvm"
LIBRARY = re.compile(rf"\blib(?:{FAMILIES})\w*\.so(?:\.\d+)*|\b(?:{FAMILIES})\w*\.dll", re.IGNORECASE)
OURS = ("cupy", "cupy_backends", "cuda")  # the packages whose exceptions are CUDA's

SMALLER = "a smaller batch_size needs less"
BLOCKING = "CUDA_LAUNCH_BLOCKING"
LOST = "this process cannot use the GPU any more"
DOCTOR = "`layerforge doctor` says what is there"


def told(problem: BaseException, doing: str = "") -> LayerForgeError | None:
    """The error for what the machine lacks; None for any other problem, and for one that is told already.

    doing   who asked for it, where that is known: "layer 'fc1' (Linear) in forward"
    """
    if isinstance(problem, LayerForgeError):
        return None
    code, text = _code(problem), first_line(problem)
    if code in OUT_OF_MEMORY or (_is_of_cuda(problem) and isinstance(problem, MemoryError)):
        who = f", asked for by {doing}" if doing else ""
        return DeviceOutOfMemory(f"the GPU is out of memory: {text}{who}", hint=SMALLER)
    if isinstance(problem, MemoryError):
        who = f", asked for by {doing}" if doing else ""
        return OutOfMemory(f"out of memory{f': {text}' if text else ''}{who}", hint=SMALLER)
    if code in LATE:
        return _of_kernel(text, doing)
    if code in UNUSABLE:
        return BackendError(f"the GPU cannot be used: {text}", hint=DOCTOR)
    if _is_of_cuda(problem) and (header := HEADER.search(str(problem))):
        message = f"CuPy cannot compile its kernels: {header[1]}, a file of CUDA, is missing"
        return BackendError(message, hint=cuda_line())
    return _of_library(problem)


def _of_kernel(text: str, doing: str) -> LayerForgeError:
    """The error for a kernel that went wrong: whoever waits is told of it, unless every launch waits for its kernel."""
    if os.environ.get(BLOCKING, "0") not in ("", "0"):
        return BackendError(f"the GPU failed{f' for {doing}' if doing else ''}: {text}", hint=LOST)
    seen = f", seen in {doing}, which need not be where it happened" if doing else ""
    message = f"the GPU failed in work that it had been given before: {text}{seen}"
    find = f"{BLOCKING}=1 lets every kernel end before the next is asked for: run again with it to see which fails"
    return BackendError(message, hint=f"{find}. {LOST[0].upper()}{LOST[1:]}")


def is_lack(problem: BaseException) -> bool:
    """Whether a problem is that the machine lacks something, told or not."""
    return isinstance(problem, (OutOfMemory, BackendError)) or told(problem) is not None


def raise_told(problem: Exception) -> NoReturn:
    """Raise what `told` makes of a problem that is being handled, or the problem itself."""
    error = told(problem)
    try:
        if error is None:
            raise problem
        raise error from problem
    finally:
        del problem, error  # their tracebacks hold this frame: a cycle, which would keep arrays alive


def first_line(problem: BaseException) -> str:
    """What an exception says, without the lines that follow; "" where it says nothing."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip(" =")]
    return lines[0].rstrip(".") if lines else ""


def _is_of_cuda(problem: BaseException) -> bool:
    return type(problem).__module__.partition(".")[0] in OURS


def _code(problem: BaseException) -> str:
    """CUDA's word for what went wrong, such as "illegaladdress"; "" where the problem is none of CUDA's."""
    found = CODE.match(str(problem)) if _is_of_cuda(problem) else None
    return found[1].replace("_", "").lower() if found else ""


def _of_library(problem: BaseException) -> LayerForgeError | None:
    """The error for a library of CUDA that is missing or cannot be loaded."""
    loading = isinstance(problem, (ImportError, OSError)) or _is_of_cuda(problem)
    loading = loading or str(problem).startswith("CuPy failed to load")
    library = LIBRARY.search(str(problem)) if loading else None
    if library is None:
        return None
    message = f"CuPy cannot load {library[0]}, a library of CUDA ({first_line(problem)})"
    return BackendError(message, hint=library_line(library[0]))
