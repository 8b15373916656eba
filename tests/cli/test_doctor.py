"""`layerforge doctor`: what is there, what is broken, and that it has an answer whatever is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from layerforge._version import __version__
from layerforge.arrays import cgroups, cuda_driver, cuda_packages, threads
from layerforge.arrays.cuda_driver import Driver, Gpu
from layerforge.cli import main
from layerforge.debug import doctor
from layerforge.debug.importing import DRIVER, Found, problems_of
from layerforge.engines.onednn import library
from layerforge.schema import packages
from layerforge.schema.errors import BackendError
from layerforge.schema.packages import Wanted

H200 = Gpu("NVIDIA H200", 150 * 2**30)
NONE = Driver(problem="NVIDIA's driver is not installed (libcuda.so.1)")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set what the machine has; what is not said is well."""

    def made(
        driver: Driver = NONE,
        cupy: dict[str, str] | None = None,
        broken: dict[str, Found] | None = None,
        wanted: list[Wanted] | None = None,
        versions: dict[str, str] | None = None,
    ) -> None:
        monkeypatch.setattr(cuda_driver, "find", lambda: driver)
        monkeypatch.setattr(cuda_packages, "installed", lambda: cupy or {})
        monkeypatch.setattr(doctor, "problems_of", lambda modules: broken or {})
        monkeypatch.setattr(cgroups, "cores", lambda: None)
        if wanted is not None:
            monkeypatch.setattr(doctor, "wanted", lambda: wanted)
        if versions is not None:
            monkeypatch.setattr(doctor, "version_of", versions.get)

    made()
    return made


def told(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> tuple[str, str]:
    assert main(["doctor", *words]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out, err


def found(capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    out, err = told(capsys, code, "--json")
    assert err == ""
    return dict(json.loads(out))


def test_the_table(machine: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    machine(Driver(13000, "580.65.06", (H200,)))
    out, err = told(capsys, 0)
    labels = [line[:12].strip() for line in out.splitlines()]
    wanted = ["layerforge", "python", "processor", "cores", "memory", "numpy", "onednn", "bfloat16", "cupy"]
    wanted += ["driver", "gpu"]
    assert [label for label in labels if label in wanted] == wanted
    assert f"layerforge  {__version__} in " in out
    assert "driver      for CUDA 13.0, release 580.65.06\n" in out
    assert "gpu         0: NVIDIA H200, 150.0 GiB\n" in out
    assert "extras      cuda12      cupy-cuda12x is missing: pip install 'layerforge[cuda12]'\n" in out
    assert err == "note: there is a GPU, and no CuPy to use it with\n     = pip install 'layerforge[cuda13]'\n"


def test_quiet_says_what_is_broken_alone(machine: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    machine(Driver(13000, "", (H200,)))
    assert told(capsys, 0, "-q") == ("", "")
    machine(cupy={"cupy-cuda12x": "14.2.0"})
    out, err = told(capsys, 5, "-q")
    assert out == ""
    assert err.startswith("error: cupy-cuda12x is installed, but NVIDIA's driver is not installed")


def test_json(machine: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    machine(Driver(13000, "580.65.06", (H200,)), {"cupy-cuda13x": "14.2.0"})
    about = found(capsys)
    assert about["ok"] is True
    assert about["numpy"]["version"] == np.__version__
    assert about["cupy"] == {"distributions": {"cupy-cuda13x": "14.2.0"}, "works": True}
    assert about["driver"]["gpus"] == [{"name": "NVIDIA H200", "memory": 150 * 2**30}]
    assert about["processor"]["cores"] >= 1
    assert {package["name"] for package in about["packages"]} == {"numpy", "h5py", "pyyaml", "tqdm"}


def test_a_distribution_for_another_cuda(machine: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    machine(Driver(13000, "", (H200,)), {"cupy-cuda12x": "14.2.0"})
    [note] = found(capsys)["notes"]
    assert note["message"].startswith("the driver is for CUDA 13.0; cupy-cuda12x works with it")
    assert note["fix"] == "pip uninstall -y cupy-cuda12x; then pip install 'layerforge[cuda13]'"
    machine(Driver(12040, "", (H200,)), {"cupy-cuda13x": "14.2.0"})
    [problem] = found(capsys, 5)["problems"]
    assert problem["message"] == "cupy-cuda13x needs a driver for CUDA 13, and this one is for CUDA 12.4"


def test_two_distributions(machine: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    machine(Driver(13000, "", (H200,)), {"cupy-cuda12x": "14.2.0", "cupy-cuda13x": "14.2.0"})
    about = found(capsys, 5)
    assert "overwrite each other's files" in about["problems"][0]["message"]
    assert about["cupy"]["works"] is False
    assert "cupy        cupy-cuda12x 14.2.0, cupy-cuda13x 14.2.0, which cannot be used\n" in told(capsys, 5)[0]


def test_no_second_distribution_is_advised(machine: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    machine(Driver(12040, "", (H200,)), {"cupy-cuda12x": "14.2.0"})
    out, _ = told(capsys, 0)
    assert "cuda13      cupy-cuda13x is missing, and cannot be beside cupy-cuda12x\n" in out


def test_cupy_that_cannot_be_imported(machine: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    gpu, cupy = Driver(13000, "", (H200,)), {"cupy-cuda13x": "14.2.0"}
    machine(gpu, cupy, {"cupy": Found("libcudart.so.13: cannot open shared object file")})
    [problem] = found(capsys, 5)["problems"]
    assert problem["message"] == (
        "cupy-cuda13x 14.2.0 cannot be used: libcudart.so.13: cannot open shared object file"
    )
    assert problem["fix"] == "pip install --force-reinstall 'layerforge[cuda13]'"
    machine(gpu, cupy, {"cupy": Found("CuPy cannot load libcublas.so.13", "pip install 'layerforge[cuda13]': it")})
    assert found(capsys, 5)["problems"][0]["fix"] == "pip install 'layerforge[cuda13]': it"


@pytest.mark.parametrize(
    ("version", "broken", "code", "message", "fix"),
    [
        ("1.3", {}, 0, None, None),
        (None, {}, 0, None, None),
        ("1.1", {}, 0, "gadget 1.1 is installed, and >=1.2 is asked for", "pip install 'layerforge[fancy]'"),
        (
            "1.3",
            {"gadget": Found("signal 11")},
            5,
            "gadget 1.3 is installed and cannot be imported: signal 11",
            "pip install --force-reinstall 'layerforge[fancy]'",
        ),
    ],
)
def test_extras(
    version: str | None,
    broken: dict[str, Found],
    code: int,
    message: str | None,
    fix: str | None,
    machine: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = [Wanted("numpy", ">=2.0"), Wanted("gadget", ">=1.2", "fancy")]
    versions = {"numpy": "2.4", **({} if version is None else {"gadget": version})}
    machine(broken=broken, wanted=wanted, versions=versions)
    about = found(capsys, code)
    told_of = about["problems"] + about["notes"]
    assert told_of == ([] if message is None else [{"message": message, "fix": fix}])
    assert about["extras"]["fancy"]["there"] is (version is not None and not broken)
    out, _ = told(capsys, code)
    assert ("gadget is missing: pip install 'layerforge[fancy]'" in out) is (version is None)


@pytest.mark.parametrize(
    ("versions", "broken", "message"),
    [
        ({}, {}, "gadget is missing"),
        ({"gadget": "1.0"}, {}, "gadget 1.0 is installed, and >=1.2 is asked for"),
        ({"gadget": "1.3"}, {"gadget": Found("no")}, "gadget 1.3 is installed and cannot be imported: no"),
    ],
)
def test_what_everybody_needs(
    versions: dict[str, str],
    broken: dict[str, Found],
    message: str,
    machine: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine(broken=broken, wanted=[Wanted("gadget", ">=1.2")], versions=versions)
    [problem] = found(capsys, 5)["problems"]
    assert problem["message"] == message
    assert "'gadget>=1.2'" in problem["fix"]


def test_onednn(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(message: str) -> None:
        def load() -> Any:
            raise BackendError(message, hint="get it")

        monkeypatch.setattr(library, "load", load)

    failing(library.NOT_INSTALLED)
    assert found(capsys)["onednn"] is None
    assert "onednn      none that can be used: pip install 'layerforge[fast]'" in told(capsys, 0)[0]
    assert "bfloat16    none without oneDNN: " in told(capsys, 0)[0]
    failing("libdnnl.so.3 cannot be loaded")
    assert found(capsys, 5)["problems"] == [{"message": "libdnnl.so.3 cannot be loaded", "fix": "get it"}]


@pytest.mark.parametrize(
    ("flags", "instructions", "words"),
    [(library.AMX, "AMX", "AMX\n"), (library.AVX512_BF16, "AVX512-BF16", "AVX512-BF16\n"),
     (library.AVX512_BF16 >> 1, None, "none: the processor has no AVX512-BF16 and no AMX; precision: bf16-mixed ")],
)  # fmt: skip
def test_what_bfloat16_is_computed_with(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    flags: int, instructions: str | None, words: str,
) -> None:  # fmt: skip
    functions = SimpleNamespace(dnnl_get_effective_cpu_isa=lambda: flags)
    monkeypatch.setattr(library, "load", lambda: library.Library(functions, "libdnnl.so.3", "3.2.0", "OpenMP"))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "ALL")
    about = found(capsys)
    assert about["onednn"]["bfloat16"] == instructions
    assert about["variables"]["ONEDNN_MAX_CPU_ISA"] == "ALL"
    assert f"\nbfloat16    {words}" in told(capsys, 0)[0]


def test_more_threads_than_the_container_has_time_for(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setattr(threads.CURRENT, "asked", None)
    monkeypatch.setattr(cgroups, "cores", lambda: 2.5)
    monkeypatch.setattr(cgroups, "memory", lambda: (2**30, 2**29))
    out, err = told(capsys, 0)
    assert "the container leaves the time of 2.5\n" in out
    assert "memory      1.0 GiB, " in out
    assert "the limit of its container" in out
    assert "note: 8 threads compute, and the container lets them have the time of 2.5 cores" in err
    assert "OMP_NUM_THREADS=2" in err
    assert "variables   OMP_NUM_THREADS=8" in out


# Processes of their own -----------------------------------------------------------------------------------------------


def test_whatever_an_import_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "well_made": "print('hello')",
        "missing_library": "raise ImportError('libx.so: gone')",
        "torn": "raise ValueError('size changed')",
        "leaves": "import os; os._exit(3)",
        "crashes": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert problems_of(["missing_library", "leaves", "well_made", "torn", "crashes", "no_such_module"]) == {
        "missing_library": Found("libx.so: gone"),
        "leaves": Found("importing it ends the process (exit code 3)"),
        "torn": Found("ValueError: size changed"),
        "crashes": Found("importing it ends the process (signal 9)"),
        "no_such_module": Found("No module named 'no_such_module'"),
    }


def test_an_import_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeps.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert problems_of(["sleeps"], longest=1.5) == {"sleeps": Found("importing it takes more than 1.5 s")}


DRIVER_ENDS = """
import ctypes, os, time
def load(name, *more):
    if name == {name!r}:
        {action}
    return kept(name, *more)
kept, ctypes.CDLL = ctypes.CDLL, load
"""


def test_a_driver_that_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = cuda_driver.library_name()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(DRIVER_ENDS.format(name=library, action="time.sleep(60)"))
    assert problems_of([DRIVER], longest=1.5) == {DRIVER: Found("importing it takes more than 1.5 s")}
    (tmp_path / "sitecustomize.py").write_text(DRIVER_ENDS.format(name=library, action="os._exit(4)"))
    main(["doctor"])
    line = f"driver      NVIDIA's driver fails: loading {library} and asking it ends the process (exit code 4)"
    assert line in capsys.readouterr().out


CUPY = """
class CUDARuntimeError(RuntimeError):
    pass
CUDARuntimeError.__module__ = "cupy_backends.cuda.api.runtime"
class runtime:
    def getDeviceCount():
        {count}
class cuda:
    runtime = runtime
class Array:
    def __matmul__(self, other):
        {product}
def ones(shape, dtype):
    return Array()
exp = asnumpy = lambda array: array
"""


@pytest.mark.parametrize(
    ("count", "product", "found"),
    [
        ("return 1", "return self", {}),
        ("return 0", "return self", {"cupy": Found("it finds no GPU")}),
        (
            "raise CUDARuntimeError('cudaErrorInsufficientDriver: too old')",
            "return self",
            {"cupy": Found("the GPU cannot be used: cudaErrorInsufficientDriver: too old")},
        ),
        ("return 1", "raise ImportError('Failure finding \"libcublas.so.12\": No such file')", None),
    ],
)
def test_cupy_is_made_to_compute(
    count: str, product: str, found: dict[str, Found] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cupy.py").write_text(CUPY.format(count=count, product=product))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    seen = problems_of(["cupy"])
    if found is not None:
        assert seen == found
    else:
        assert seen["cupy"].problem.startswith("CuPy cannot load libcublas.so.12, a library of CUDA")
        assert seen["cupy"].fix.startswith("pip install 'layerforge[cuda12]'")


def test_without_numpy_there_is_an_answer(tmp_path: Path) -> None:
    """Nothing of it needs NumPy."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("raise ImportError('numpy is torn')")
    path = os.pathsep.join([str(tmp_path), str(packages.BESIDE.parent)])
    ran = subprocess.run(
        [sys.executable, "-m", "layerforge", "doctor"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 5
    assert "Traceback" not in ran.stderr
    assert "numpy       cannot be imported\n" in ran.stdout
    assert "is installed and cannot be imported: numpy is torn" in ran.stderr
    assert "pip install --force-reinstall 'numpy>=2.0'" in ran.stderr
