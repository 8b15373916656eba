"""scripts/gpu_check.py passes on the stand-in, and says what is wrong wherever something is."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import strict_cupy
from support.strict_backend import STRICT

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import gpu_check
from gpu_checking import costs, examples, layers, nets, refusals, runs, stages, tables, times, training
from gpu_checking.device import opened

from layerforge import Net
from layerforge.arrays import functional, philox
from layerforge.arrays.backend import Backend
from layerforge.contract import call
from layerforge.debug import replay
from layerforge.schema.registry import LAYERS
from layerforge.solvers.solver import Solver

Patch = pytest.MonkeyPatch


@pytest.fixture
def backend() -> Iterator[Backend]:
    """The stand-in in the place of CuPy."""
    with opened("strict") as found:
        assert found.xp is STRICT.xp
        yield found


def on_device(array: Any) -> bool:
    return isinstance(array, strict_cupy.ndarray)


def report_of(capsys: pytest.CaptureFixture[str], folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of a command line."""
    code = gpu_check.main(["--backend", "strict", "--quick", "--json", "-o", str(folder / "report.json"), *options])
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert json.loads((folder / "report.json").read_text()) == report
    return code, report


# All is well ----------------------------------------------------------------------------------------------------------


def test_the_stand_in_passes_as_a_whole(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, report = report_of(capsys, tmp_path)
    assert {s["name"]: s["failures"] for s in report["stages"] if s["status"] != "passed"} == {}
    assert code == 0
    assert [stage["name"] for stage in report["stages"]] == list(gpu_check.STAGES)
    assert sum(stage["checks"] for stage in report["stages"]) > 900
    assert report["surroundings"]["cupy"].endswith("strict")
    assert gpu_check.main(["--read", str(tmp_path / "report.json"), "--markdown"]) == 0
    shown = capsys.readouterr().out
    assert "| cifar10_resnet20 |" in shown
    assert "THE FIGURES MEAN NOTHING" in shown
    for stage in gpu_check.STAGES:
        assert f"| {stage} | " in shown


def test_the_stages_together_take_five_minutes() -> None:
    assert sum(entry.budget for entry in gpu_check.STAGES.values()) <= 300


def test_without_cupy_the_exit_code_is_5(
    monkeypatch: Patch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert gpu_check.main(["-o", str(tmp_path / "report.json")]) == 5
    assert "pip install" in capsys.readouterr().err
    assert not (tmp_path / "report.json").exists()


def test_the_stand_in_is_gone_afterwards(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = sys.modules.get("cupy")
    assert report_of(capsys, tmp_path, "--only", "smoke")[0] == 0
    assert sys.modules.get("cupy") is before


@pytest.mark.parametrize("words", [["--only", "smoke,nothing"], ["--patience", "0"], ["--backend", "numpy"]])
def test_a_wrong_command_line(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        gpu_check.main(words)
    assert stop.value.code == 2


# Stages that do not come to their end ---------------------------------------------------------------------------------


def test_a_stage_that_is_cut_short_is_no_pass(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, report = report_of(capsys, tmp_path, "--only", "smoke,philox", "--patience", "1e-9")
    assert code == 1
    assert [stage["status"] for stage in report["stages"]] == ["cut short", "cut short"]
    assert report["stages"][1]["checks"] == 1


def test_a_stop_loses_nothing_and_an_error_only_its_stage(
    monkeypatch: Patch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(check: stages.Check) -> None:
        raise RuntimeError("a library is missing")

    def stopped(check: stages.Check) -> None:
        raise KeyboardInterrupt

    for name, stage in (("smoke", broken), ("costs", stopped)):
        monkeypatch.setitem(gpu_check.STAGES, name, stages.Entry(stage, "", 1))
    with pytest.raises(KeyboardInterrupt):
        gpu_check.main(["--backend", "strict", "--only", "smoke,philox,costs", "-o", str(tmp_path / "report.json")])
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(s["name"], s["status"]) for s in report["stages"]] == [("smoke", "failed"), ("philox", "passed")]
    assert report["stages"][0]["failures"][0].startswith("RuntimeError: a library is missing")
    assert not report["passed"]


# Planted faults -------------------------------------------------------------------------------------------------------

NOISE = np.random.default_rng(0)


def of_layer(monkeypatch: Patch, kind: str, method: str, changed: Callable[[Any, Any], Any]) -> None:
    """Change what a layer's method returns, where it is computed on the device."""
    cls: Any = LAYERS.get(kind)
    original = getattr(cls, method)

    def planted(self: Any, *arrays: Any) -> Any:
        result = original(self, *arrays)
        return changed(self, result) if self.xp is strict_cupy else result

    monkeypatch.setattr(cls, method, planted)


def wrong_bit(monkeypatch: Patch) -> None:
    """One random number has another last bit."""
    uniform = philox.uniform

    def planted(xp: Any, *args: Any, **kwargs: Any) -> Any:
        numbers = uniform(xp, *args, **kwargs)
        if xp is strict_cupy and numbers.size > 1000:
            numbers.reshape(-1)[1000:1001] += 2.0**-24
        return numbers

    monkeypatch.setattr(philox, "uniform", planted)


def float64_leak(monkeypatch: Patch) -> None:
    of_layer(monkeypatch, "Softplus", "forward", lambda layer, y: y.astype("float64"))


def uneven(layer: Any, array: Any) -> Any:
    """An array whose last bits are others each time, as where a device adds up in any order."""
    return array * float(1 + 2.0**-22 * NOISE.integers(1, 99))


def sums_in_any_order(monkeypatch: Patch) -> None:
    of_layer(monkeypatch, "ScatterAdd", "forward", uneven)


def labels_unchecked(monkeypatch: Patch) -> None:
    refuse = functional.refuse_labels
    monkeypatch.setattr(functional, "refuse_labels", lambda labels, *a: on_device(labels) or refuse(labels, *a))


def singular_unseen(monkeypatch: Patch) -> None:
    """The inverse of a singular matrix is what a library makes of it."""
    module: Any = sys.modules[LAYERS.get("Inverse").__module__]
    inverse = module.inverse
    monkeypatch.setattr(module, "inverse", lambda xp, x: xp.linalg.inv(x) if xp is strict_cupy else inverse(xp, x))


def memory_blamed_on_a_layer(monkeypatch: Patch) -> None:
    monkeypatch.setattr(call, "told", lambda problem, doing="": None)


def history_lost(monkeypatch: Patch) -> None:
    """A resumed run begins with the history of a new one."""
    load = Solver.load_state

    def planted(self: Solver, *args: Any, **kwargs: Any) -> None:
        load(self, *args, **kwargs)
        for array in self.history:
            array[...] = 0

    monkeypatch.setattr(Solver, "load_state", planted)


def wait_more(monkeypatch: Patch) -> None:
    of_layer(monkeypatch, "ReLU", "forward", lambda layer, y: y if bool((y >= 0).all()) else -y)


def upload_more(monkeypatch: Patch) -> None:
    of_layer(monkeypatch, "ReLU", "forward", lambda layer, y: y + layer.xp.asarray(np.zeros(1, "float32")))


def wrong_statistic(monkeypatch: Patch) -> None:
    """The running variance is off by a thousandth of itself."""

    def changed(layer: Any, y: Any) -> Any:
        if layer.phase == "train":
            layer.state.running_var *= 1.001
        return y

    of_layer(monkeypatch, "BatchNorm", "forward", changed)


def wrong_gradient(monkeypatch: Patch) -> None:
    of_layer(monkeypatch, "Tanh", "backward", lambda layer, dx: dx * 1.001)


def not_twice_alike(monkeypatch: Patch) -> None:
    of_layer(monkeypatch, "ReLU", "backward", uneven)


def capsule_without_its_batch(monkeypatch: Patch) -> None:
    read = replay.read_capsule

    def planted(target: Any) -> Any:
        capsule = read(target)
        for batch in capsule.batches:
            batch["x"] = np.abs(batch["x"])
        return capsule

    monkeypatch.setattr(replay, "read_capsule", planted)


def snapshot_rounded(monkeypatch: Patch) -> None:
    """Weights that go to the device lose digits."""
    load = Net.load_arrays

    def planted(self: Net, arrays: Any, *rest: Any, **kwargs: Any) -> Any:
        if self.xp is strict_cupy:
            arrays = {k: a.astype("float16").astype(a.dtype) if a.dtype.kind == "f" else a for k, a in arrays.items()}
        return load(self, arrays, *rest, **kwargs)

    monkeypatch.setattr(Net, "load_arrays", planted)


def wrong_ties(monkeypatch: Patch) -> None:
    """Of equal scores the last is taken."""
    of_layer(monkeypatch, "ArgMax", "forward", lambda layer, y: y * 0 + y.max() if y.size > 1 else y)


@dataclass(frozen=True)
class Fault:
    """What is planted, the stage (and the part of it) that must say so, and words of what it says."""

    plant: Callable[[Patch], None]
    stage: str
    words: str
    part: str = ""


FAULTS = [
    Fault(wrong_bit, "philox", "uniform numbers differ from NumPy's: shape (64, 1024)"),
    Fault(float64_leak, "layers", "Softplus, shapes_and_dtypes"),
    Fault(sums_in_any_order, "corners", "have other bits each time"),
    Fault(labels_unchecked, "refusals", "SoftmaxCrossEntropy, label 4: nothing is said on the device"),
    Fault(singular_unseen, "refusals", "Inverse, a matrix of zeros: nothing is said on the device"),
    Fault(memory_blamed_on_a_layer, "refusals", "out of memory: exit code"),
    Fault(history_lost, "runs", "a resumed run has other bits", "resume"),
    Fault(wait_more, "costs", "mnist_mlp: a step waits 3 times"),
    Fault(upload_more, "costs", "mnist_mlp: a step uploads 4 times"),
    Fault(wrong_statistic, "training", "state/bn1/running_var"),
    Fault(wrong_statistic, "layers", "BatchNorm, running statistics"),
    Fault(wrong_gradient, "layers", "Tanh, agrees_with_numpy"),
    Fault(wrong_gradient, "nets", "gradients"),
    Fault(not_twice_alike, "training", "two trainings differ"),
    Fault(capsule_without_its_batch, "runs", "names nothing", "capsule"),
    Fault(snapshot_rounded, "runs", "a snapshot from numpy to cupy has other bits", "snapshots"),
    Fault(wrong_ties, "corners", "ArgMax"),
]


@pytest.fixture
def sampled(monkeypatch: Patch) -> None:
    """Of each stage the part that meets the faults."""
    mlp = [examples.Example("mnist_mlp", 8)]
    monkeypatch.setattr(training, "QUICK", mlp)
    monkeypatch.setattr(costs, "EXAMPLES", ("mnist_mlp",))
    monkeypatch.setattr(layers, "types", lambda: ["Softplus", "Tanh", "BatchNorm"])
    monkeypatch.setattr(
        examples.Example, "batches", lambda self, n: (examples.random_batches(self.config(), n), "random")
    )
    chosen = refusals.cases()
    monkeypatch.setattr(refusals, "cases", lambda: {name: chosen[name] for name in ("SoftmaxCrossEntropy", "Inverse")})
    numbers = [n for n in range(60) if any(layer["type"] == "Tanh" for layer in nets.draw(nets.SEED, n).config["net"])]
    monkeypatch.setattr(nets, "QUICK", 2)
    draw = nets.draw
    monkeypatch.setattr(nets, "draw", lambda seed, number: draw(seed, numbers[number]))


def run(stage: str, backend: Backend) -> stages.Outcome:
    """A stage, quickly."""
    return stages.run_stage(stage, gpu_check.STAGES[stage], backend, stages.Options(quick=True, patience=50))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.plant.__name__}-{fault.stage}")
def test_a_planted_fault_is_found(fault: Fault, monkeypatch: Patch, backend: Backend, sampled: None) -> None:
    if fault.part:
        monkeypatch.setattr(runs, "PARTS", {fault.part: runs.PARTS[fault.part]})
    fault.plant(monkeypatch)
    outcome = run(fault.stage, backend)
    assert outcome.status == "failed"
    assert any(fault.words in sentence for sentence in outcome.failures), outcome.failures


@pytest.mark.parametrize("stage", sorted({fault.stage for fault in FAULTS} - {"philox", "runs"}))
def test_the_same_stage_without_a_fault(stage: str, backend: Backend, sampled: None) -> None:
    assert run(stage, backend).failures == []


def test_a_run_that_does_not_die_is_told_of(monkeypatch: Patch, backend: Backend, tmp_path: Path) -> None:
    program = tmp_path / "child.py"
    program.write_text("import sys; sys.exit('no such device')")
    monkeypatch.setattr(runs, "CHILD", program)
    monkeypatch.setattr(runs, "PARTS", {"resume": runs.PARTS["resume"]})
    assert any("ended with 1: no such device" in sentence for sentence in run("runs", backend).failures)


# Counting on a real device, and torch ---------------------------------------------------------------------------------


def test_calls_are_counted_without_a_stand_in(backend: Backend) -> None:
    """The counts at the module's functions are the stand-in's, where these know them."""
    config = examples.Example("mnist_mlp", 4).config("backend=cupy")
    (batch,) = examples.random_batches(config, 1)
    counting, counts = costs.counting_backend(backend)
    _, solver = examples.trainer(config, counting)
    solver.step(**batch)
    before = counts.copy()
    with strict_cupy.counting() as strict:
        solver.step(**batch)
    found = {name: count - before[name] for name, count in counts.items()}
    assert (found["waits"], found["uploads"]) == (strict["waits"], strict["uploads"]) == (1, 2)
    assert 10 < found["calls"] < strict["launches"] + strict["views"]


def test_what_a_counted_function_has_is_its_own(backend: Backend) -> None:
    """A gradient that is added at places that are named twice takes a ufunc's `at`."""
    counting, counts = costs.counting_backend(backend)
    places = backend.from_host(np.array([0, 2, 2]))
    sums = counting.xp.zeros(3)
    counting.xp.maximum.at(sums, places, counting.xp.asarray(np.array([1.0, 5.0, 3.0])))
    assert sums.get().tolist() == [1, 0, 5]
    assert (counts["calls"], counts["uploads"]) == (2, 1)


def test_memory_that_a_step_asks_for_is_counted() -> None:
    """A pool that calls its hooks as CuPy's does."""
    hooks: list[Any] = []

    class MemoryHook:
        def __enter__(self) -> None:
            hooks.append(self)

        def __exit__(self, *error: object) -> None:
            hooks.remove(self)

    cupy = types.SimpleNamespace(cuda=types.SimpleNamespace(MemoryHook=MemoryHook))
    counts = {"pool": 0, "driver": 0}
    with costs.pool_counted(cupy, counts):
        hooks[0].malloc_preprocess(device_id=0, size=100, mem_size=512)
        hooks[0].malloc_preprocess(device_id=0, size=100, mem_size=512)
        hooks[0].alloc_preprocess(device_id=0, mem_size=512)
    assert counts == {"pool": 2, "driver": 1}
    assert not hooks


def torch_that_says(folder: Path, answer: str) -> str:
    """A program in the place of a Python with torch."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(("parameters", "status"), [(235914, "passed"), (235913, "failed")])
def test_torch_stands_beside_us(
    monkeypatch: Patch, backend: Backend, tmp_path: Path, parameters: int, status: str
) -> None:
    monkeypatch.setattr(times, "EXAMPLES", ("mnist_mlp",))
    row = {"eager": 2.0, "graph": 0.5, "parameters": parameters}
    python = torch_that_says(tmp_path, json.dumps({"torch": "2", "device": "a GPU", "nets": {"mnist_mlp": row}}))
    options = stages.Options(quick=True, patience=50, torch_python=python)
    outcome = stages.run_stage("times", gpu_check.STAGES["times"], backend, options)
    assert outcome.status == status
    (ours,) = tables.times(outcome.facts)[1:]
    assert ours[4] == "2.000"
    assert float(ours[7]) == pytest.approx(outcome.facts["times"]["mnist_mlp"]["ms"] / 0.5, abs=0.01)


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/false"])
def test_without_torch_the_table_says_so(python: str) -> None:
    found = times.torch_times(python, {})
    assert found["missing"].startswith("torch was not measured")
