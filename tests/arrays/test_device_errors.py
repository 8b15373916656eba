"""What CuPy and CUDA raise, told as what the machine lacks; what is a layer's own fault stays that."""

from __future__ import annotations

from importlib import metadata

import pytest
from support.strict_faults import CUDARuntimeError, DynamicLibNotFoundError, OutOfMemoryError, named

from layerforge.arrays import cuda_packages
from layerforge.arrays.device_errors import told
from layerforge.schema.errors import BackendError, DeviceOutOfMemory, LayerError, OutOfMemory

CUDADriverError = named("CUDADriverError", "cupy_backends.cuda.api.driver", RuntimeError)
CUBLASError = named("CUBLASError", "cupy_backends.cuda.libs.cublas", RuntimeError)


@pytest.mark.parametrize(
    "problem",
    [
        OutOfMemoryError("Out of memory allocating 512 bytes (allocated so far: 1,024 bytes)."),
        CUDARuntimeError("cudaErrorMemoryAllocation: out of memory"),
        CUDADriverError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        CUBLASError("CUBLAS_STATUS_ALLOC_FAILED"),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_memory_of_the_device(problem: Exception) -> None:
    error = told(problem, "layer 'fc1' (Linear) in forward")
    assert isinstance(error, DeviceOutOfMemory)
    assert isinstance(error, BackendError)
    assert isinstance(error, MemoryError)
    assert error.exit_code == 5
    assert error.message.startswith("the GPU is out of memory: ")
    assert error.message.endswith(", asked for by layer 'fc1' (Linear) in forward")


def test_memory_of_the_host_has_its_own_code() -> None:
    error = told(MemoryError("Unable to allocate 8.00 GiB"))
    assert isinstance(error, OutOfMemory)
    assert not isinstance(error, BackendError)
    assert error.exit_code == 1
    assert error.message == "out of memory: Unable to allocate 8.00 GiB"


@pytest.mark.parametrize(
    ("problem", "library"),
    [
        (ImportError('Failure finding "libcublasLt.so.13 or libcublasLt.so.12": No such file'), "libcublasLt.so.13"),
        (DynamicLibNotFoundError('Failure finding "libnvrtc.so.12": No such file\nsearched: /usr'), "libnvrtc.so.12"),
        (OSError("libnvrtc.so.12: cannot open shared object file: No such file or directory"), "libnvrtc.so.12"),
        (RuntimeError("CuPy failed to load libcuda.so.1: OSError: libcuda.so.1: cannot open"), "libcuda.so.1"),
        (ImportError("DLL load failed: cublas64_12.dll not found"), "cublas64_12.dll"),
        (OSError("nvJitLink_120_0.dll: not found"), "nvJitLink_120_0.dll"),
    ],
)
def test_a_library_is_named_with_what_brings_it(
    problem: Exception, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_packages, "installed", lambda: {"cupy-cuda13x": "14.2.0"})
    error = told(problem, "layer 'fc1' (Linear) in forward")
    assert isinstance(error, BackendError)
    assert error.message.startswith(f"CuPy cannot load {library}, a library of CUDA (")
    assert "fc1" not in str(error)
    assert "\n" not in error.message
    assert error.hint is not None
    assert ("NVIDIA's driver" if "libcuda." in library else "pip install 'layerforge[cuda13]'") in error.hint


@pytest.mark.parametrize(
    "problem",
    [
        CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered"),
        CUDADriverError("CUDA_ERROR_MISALIGNED_ADDRESS: misaligned address"),
        CUDARuntimeError("cudaErrorLaunchFailure: unspecified launch failure"),
        CUBLASError("CUBLAS_STATUS_EXECUTION_FAILED"),
    ],
    ids=str,
)
def test_what_the_device_did_earlier_is_not_told_of_who_waited(problem: Exception) -> None:
    error = told(problem, "layer 'loss' (MSELoss) in forward")
    assert isinstance(error, BackendError)
    assert "seen in layer 'loss' (MSELoss) in forward, which need not be where it happened" in error.message
    assert "CUDA_LAUNCH_BLOCKING=1" in str(error)


def test_where_every_launch_waits_it_is_where_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    error = told(CUDARuntimeError("cudaErrorIllegalAddress: an illegal access"), "layer 'fc1' (Linear) in forward")
    assert isinstance(error, BackendError)
    assert error.message.startswith("the GPU failed for layer 'fc1' (Linear) in forward: cudaErrorIllegalAddress: ")
    assert "CUDA_LAUNCH_BLOCKING" not in str(error)


def test_headers_that_a_kernel_needs() -> None:
    compiling = named("CompileException", "cupy.cuda.compiler", Exception)
    text = '/tmp/x.cubin.cu(1): catastrophic error: cannot open source file "cuda_fp16.h"\n  #include <cuda_fp16.h>'
    error = told(compiling(text), "layer 'act' (Tanh) in forward")
    assert isinstance(error, BackendError)
    assert error.message == "CuPy cannot compile its kernels: cuda_fp16.h, a file of CUDA, is missing"
    assert told(compiling("x.cu(36): error: identifier tt is undefined")) is None


def test_a_driver_that_is_too_old() -> None:
    error = told(CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient"))
    assert isinstance(error, BackendError)
    assert "layerforge doctor" in str(error)


@pytest.mark.parametrize(
    "problem",
    [
        ValueError("operands could not be broadcast together"),
        RuntimeError("cudaErrorIllegalAddress: said by somebody else"),
        CUDARuntimeError("cudaErrorInvalidValue: invalid argument"),
        CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument"),
        ImportError("No module named 'scipy'"),
        OSError("libfoo.so.1: cannot open shared object file"),
        ImportError("libcurl.so.4: cannot open shared object file"),
        ImportError("DLL load failed: custom.dll not found"),
        LayerError("labels out of range"),
    ],
    ids=str,
)
def test_all_else_is_whose_it_is(problem: Exception) -> None:
    assert told(problem, "layer 'fc1' (Linear) in forward") is None


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["numpy", "cupy-cuda12x", "cupy-xarray"], ["cupy-cuda12x"]),
        (["cupy_cuda13x", "cupy-cuda12x"], ["cupy-cuda12x", "cupy-cuda13x"]),
        (["cupy", "amd-cupy", "cupy-rocm-7-0"], ["amd-cupy", "cupy", "cupy-rocm-7-0"]),
    ],
)
def test_distributions_of_cupy(names: list[str], found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Distribution:
        version = "14.2.0"

        def __init__(self, name: str) -> None:
            self.metadata = {"Name": name}

    monkeypatch.setattr(metadata, "distributions", lambda: map(Distribution, names))
    assert list(cuda_packages.installed()) == found


@pytest.mark.parametrize(
    ("cuda", "extra"), [(11, "[cuda12]"), (12, "[cuda12]"), (13, "[cuda13]"), (14, "[cuda13]"), (None, "' or pip ")]
)
def test_the_extra_that_fits_a_cuda(cuda: int | None, extra: str) -> None:
    assert extra in cuda_packages.pip_line(cuda)


@pytest.mark.parametrize(
    ("name", "cuda"), [("cupy-cuda12x", 12), ("cupy-cuda13x", 13), ("cupy-cuda112", 11), ("cupy", None)]
)
def test_the_cuda_of_a_distribution(name: str, cuda: int | None) -> None:
    assert cuda_packages.cuda_of(name) == cuda
