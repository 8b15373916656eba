"""What is found out about driver, container and processor, from files and libraries made for it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from layerforge.arrays import cgroups, cuda_driver, host_memory, processor
from layerforge.arrays.cuda_driver import Driver, Gpu
from layerforge.arrays.cuda_packages import advice, obstacle

H200 = Gpu("NVIDIA H200", 150 * 10**9)


class Library:
    """The driver's library: functions with results by pointer, as ctypes calls them."""

    def __init__(self, code: int = 0, cuda: int = 12040, gpus: tuple[Gpu, ...] = (H200,)) -> None:
        self.code, self.cuda, self.gpus = code, cuda, gpus

    def cuInit(self, flags: int) -> int:
        return self.code

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self.cuda
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:
        device._obj.value = number
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:
        name.value = self.gpus[device.value].name.encode()[: length - 1]
        return 0

    def cuDeviceTotalMem_v2(self, size: Any, device: Any) -> int:
        size._obj.value = self.gpus[device.value].memory
        return 0


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "version"
    monkeypatch.setattr(cuda_driver, "KERNEL_MODULE", path)
    return path


def asked(monkeypatch: pytest.MonkeyPatch, library: Any) -> Driver:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    return cuda_driver.find()


def test_a_driver_with_two_gpus(monkeypatch: pytest.MonkeyPatch, release: Path) -> None:
    release.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n")
    gpus = (H200, Gpu("NVIDIA A100", 80 * 10**9))
    assert asked(monkeypatch, Library(gpus=gpus)) == Driver(12040, "550.54.15", gpus, "")


def test_an_open_kernel_module(monkeypatch: pytest.MonkeyPatch, release: Path) -> None:
    text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
    release.write_text(text)
    assert asked(monkeypatch, Library()).release == "580.65.06"


@pytest.mark.parametrize(
    ("library", "words"),
    [
        (Library(code=100), "finds no GPU"),
        (Library(gpus=()), "finds no GPU"),
        (Library(code=803), "of different versions"),
        (Library(code=35), "fails with error 35"),
        (object(), "is not NVIDIA's driver"),
    ],
)
def test_a_driver_that_does_not_work(
    library: Any, words: str, monkeypatch: pytest.MonkeyPatch, release: Path
) -> None:
    found = asked(monkeypatch, library)
    assert words in found.problem
    assert found.gpus == ()
    assert found.release == ""


def test_a_gpu_that_the_driver_does_not_tell_of(monkeypatch: pytest.MonkeyPatch, release: Path) -> None:
    library = Library(gpus=(H200,))
    monkeypatch.setattr(library, "cuDeviceGetName", lambda name, length, device: 101)
    assert asked(monkeypatch, library).gpus == (Gpu("of which the driver does not tell (error 101)", 0),)


def test_no_driver(monkeypatch: pytest.MonkeyPatch, release: Path) -> None:
    def missing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert "NVIDIA's driver is not installed (" in cuda_driver.find().problem


CUDA12, CUDA13 = {"cupy-cuda12x": "14.2.0"}, {"cupy-cuda13x": "14.2.0"}


@pytest.mark.parametrize(
    ("distributions", "driver", "message", "fix"),
    [
        ({}, Driver(problem="none"), None, None),
        (CUDA12, Driver(12040, "", (H200,)), None, None),
        (CUDA12, Driver(13000, "", (H200,)), None, None),
        ({"cupy": "14.2.0"}, Driver(12040, "", (H200,)), None, None),
        (
            CUDA13,
            Driver(12040, "", (H200,)),
            "cupy-cuda13x needs a driver for CUDA 13, and this one is for CUDA 12.4",
            "pip uninstall -y cupy-cuda13x; then pip install 'layerforge[cuda12]'; or install a newer driver",
        ),
        (CUDA12, Driver(11080, "", (H200,)), "this one is for CUDA 11.8", "a driver for CUDA 12 or newer"),
        (CUDA12, Driver(problem="no driver"), "cupy-cuda12x is installed, but no driver", "pip uninstall"),
        (
            CUDA12 | CUDA13,
            Driver(13000, "", (H200,)),
            "overwrite each other's files: cupy-cuda12x 14.2.0, cupy-cuda13x 14.2.0",
            "pip uninstall -y cupy-cuda12x cupy-cuda13x; then pip install 'layerforge[cuda13]'",
        ),
    ],
)
def test_cupy_against_the_driver(
    distributions: dict[str, str], driver: Driver, message: str | None, fix: str | None
) -> None:
    found = obstacle(distributions, driver)
    if message is None or fix is None:
        assert found is None
    else:
        assert found is not None
        assert message in found[0]
        assert fix in found[1]


@pytest.mark.parametrize(
    ("distributions", "driver", "fix"),
    [
        ({}, Driver(problem="no driver"), None),
        ({}, Driver(13000, "", (H200,)), "pip install 'layerforge[cuda13]'"),
        ({}, Driver(12040, "", (H200,)), "pip install 'layerforge[cuda12]'"),
        (CUDA12, Driver(12040, "", (H200,)), None),
        (CUDA12, Driver(13000, "", (H200,)), "pip uninstall -y cupy-cuda12x; then pip install 'layerforge[cuda13]'"),
        (CUDA13, Driver(14000, "", (H200,)), None),
    ],
)
def test_what_would_fit_the_driver_better(distributions: dict[str, str], driver: Driver, fix: str | None) -> None:
    found = advice(distributions, driver)
    assert (None if found is None else found[1]) == fix


# Containers -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(cgroups, "MINE", tmp_path / "mine")
    return tmp_path


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


def test_no_container(groups: Path) -> None:
    assert (cgroups.memory(), cgroups.cores()) == (None, None)
    assert "total" in host_memory.memory()


@pytest.mark.parametrize(
    "mine", [b"", b"\n", b"0:x\n", b"nothing of it\n", b"0::/a\xff\n", b"3:cpu,cpuacct:/x:y\n0::/../..\n"]
)
def test_groups_that_are_called_anything(groups: Path, mine: bytes) -> None:
    (groups / "mine").write_bytes(mine)
    write(groups / "cgroup", memory_max="soon", cpu_max="max")
    (groups / "cgroup" / "memory.max").write_bytes(b"\xff")
    assert (cgroups.memory(), cgroups.cores()) == (None, None)


def test_limits_of_version_2_hold_for_all_that_is_within(groups: Path) -> None:
    (groups / "mine").write_text("0::/slice/job\n")
    write(groups / "cgroup", memory_max="max", cpu_max="max 100000")
    write(groups / "cgroup/slice", memory_max="1000000", memory_current="400000", cpu_max="150000 100000")
    write(groups / "cgroup/slice/job", memory_max="max", memory_current="300000", cpu_max="400000 100000")
    assert cgroups.memory() == (1_000_000, 400_000)
    assert cgroups.cores() == 1.5
    found = host_memory.memory()
    assert found["total"] == 1_000_000
    assert found["free"] <= 600_000


def test_limits_of_version_1(groups: Path) -> None:
    (groups / "mine").write_text("9:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n")
    (groups / "cgroup/memory/docker/a").mkdir(parents=True)
    (groups / "cgroup/memory/docker/a/memory.limit_in_bytes").write_text("2000000\n")
    (groups / "cgroup/memory/docker/a/memory.usage_in_bytes").write_text("500000\n")
    (groups / "cgroup/memory/memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")
    (groups / "cgroup/cpu/docker/a").mkdir(parents=True)
    (groups / "cgroup/cpu/docker/a/cpu.cfs_quota_us").write_text("200000\n")
    (groups / "cgroup/cpu/docker/a/cpu.cfs_period_us").write_text("100000\n")
    (groups / "cgroup/cpu/cpu.cfs_quota_us").write_text("-1\n")
    (groups / "cgroup/cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cgroups.memory() == (2_000_000, 500_000)
    assert cgroups.cores() == 2.0


# Processor ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "features"),
    [
        (
            "processor\t: 0\nmodel name\t: Intel Xeon\nflags\t\t: fpu avx2 avx512f amx_bf16 amx_tile\n",
            "Intel Xeon",
            ["AVX2", "AVX-512", "AMX", "AMX BF16"],
        ),
        ("processor : 0\nFeatures : fp asimd bf16 sve\n", None, ["NEON", "SVE", "BF16"]),
        ("model name : Old\nflags : fpu sse2\n", "Old", []),
        ("", None, None),
    ],
)
def test_the_processor(
    text: str, name: str | None, features: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(text)
    assert processor.features() == features
    assert processor.name() == name or name is None


def test_a_system_without_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    assert processor.features() is None
    assert processor.name()


def test_vendor_family_and_model_tell_processors_of_one_name_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    x86 = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n"
    (tmp_path / "cpuinfo").write_text(x86)
    assert processor.numbers() == ("AuthenticAMD", 25, 17)
    (tmp_path / "cpuinfo").write_text("processor : 0\nFeatures : fp asimd\n")
    assert processor.numbers() is None
