"""`layerforge test --backend` and `--engine`: what is checked on what, what is left out and why, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.broken_layers import HEALTHY
from support.strict_backend import STRICT
from support.tools import demand_compiler, demand_engine

from layerforge import Net, gradcheck, register
from layerforge.arrays.backend import NUMPY
from layerforge.arrays.formula import DEVICE
from layerforge.check import contract, examine, grounds
from layerforge.check.gradients import Effort
from layerforge.check.grounds import Ground, ground
from layerforge.cli import main
from layerforge.contract.layer import Layer
from layerforge.plan.engines import FAST
from layerforge.schema import registry
from layerforge.schema.errors import BackendError, ConfigError
from layerforge.schema.registry import LAYERS

ReLU: type[Layer] = LAYERS.get("ReLU")
NET = {
    "inputs": {"x": {"shape": [8, 3], "grad": True}, "t": {"shape": [8], "dtype": "int64"}},
    "net": [
        {"name": "fc", "type": "Linear", "out_features": 4, "bottom": "x"},
        {"name": "act", "type": "ReLU"},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["act", "t"]},
    ],
}
TWICE = """
from layerforge import Example, Layer, Spec, register


@register
class Twice(Layer):
    examples = [Example({}, [Spec((2, 3))])]

    def setup(self, x):
        return x

    def forward(self, x):
        %s
        return 2 * x

    def backward(self, dy):
        return 2 * dy
"""


pytestmark = pytest.mark.usefixtures("registry_as_before")


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "net.yaml"
    path.write_text(json.dumps(NET))
    return str(path)


def written(folder: Path, line: str) -> str:
    """The path of a file with a layer that has this line in its forward."""
    path = folder / "mine.py"
    path.write_text(TWICE % line)
    return str(path)


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code of `layerforge test` and what it says for machines."""
    capsys.readouterr()
    code = main(["test", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


# Faults on purpose ----------------------------------------------------------------------------------------------------

PLANTS = {
    "x = self.xp.block([[x]])": "module 'cupy' has no attribute 'block'",
    "x = x if bool((x < 9).all()) else 3 * x": "forward in train waits 1 times for the device, and may 0 times",
}


@pytest.mark.parametrize("line", PLANTS)
def test_a_mistake_that_numpy_forgives_fails_on_the_stand_in(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, line)
    assert main(["test", path]) == 0
    capsys.readouterr()
    assert main(["test", path, "--backend", "strict"]) == 1
    out = capsys.readouterr().out
    assert PLANTS[line] in out
    assert out.splitlines()[-1].endswith("failed (Twice)")


def test_a_wrong_number_of_the_engine_fails(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    demand_engine()
    theirs = registry.engine(FAST).layers()["Linear"]
    right = theirs.backward

    def backward(self: Any, dy: Any) -> Any:
        return right(self, dy) * 1.01

    assert main(["test", "Linear", "--engine", FAST, "--only", "agrees"]) == 0
    assert main(["gradcheck", config, "--engine", FAST]) == 0
    monkeypatch.setattr(theirs, "backward", backward)
    monkeypatch.setattr(theirs, "replays", False)
    capsys.readouterr()
    assert main(["test", "Linear", "--engine", FAST, "--only", "agrees"]) == 1
    out = capsys.readouterr().out
    assert f"Linear-0-{FAST}: agrees: bottom[0]: the gradient differs from the reference's" in out
    assert out.splitlines()[-1].endswith("failed (Linear)")
    assert main(["test", "Linear", "--engine", "reference", "--only", "views"]) == 0
    assert main(["gradcheck", config, "--engine", FAST]) == 1
    assert main(["gradcheck", config, "--engine", "reference", "--dtype", "float32"]) == 0


def test_a_wrong_number_of_a_backend_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class OtherThere(ReLU):
        type_name = "OtherThere"
        inplace = False

        def forward(self, x: Any) -> Any:
            y = super().forward(x)
            return y if self.xp is NUMPY.xp else 3 * y

        def backward(self, dy: Any) -> Any:
            dx = super().backward(dy)
            return dx if self.xp is NUMPY.xp else 3 * dx

    where = Ground(STRICT)
    told = examine.examine(OtherThere, Effort(), ["agrees_with_numpy"], where=where).text()
    assert "OtherThere-0: agrees_with_numpy: top[0]: differs on strict" in told
    assert examine.examine(ReLU, Effort(), ["agrees_with_numpy"], where=where).ok


def test_a_wrong_state_of_a_backend_fails() -> None:
    """Its tops and gradients are right: a training would go on and evaluate with other statistics."""
    batch_norm: Any = LAYERS.get("BatchNorm")

    class ForgetsThere(batch_norm):
        type_name = "ForgetsThere"

        def forward(self, x: Any) -> Any:
            y = super().forward(x)
            if self.xp is not NUMPY.xp:
                self.state.running_var[...] *= 1.5
            return y

    told = examine.examine(ForgetsThere, Effort(), ["agrees_with_numpy"], where=Ground(STRICT)).text()
    assert "agrees_with_numpy: running_var: the state differs from NumPy's (train)" in told


def test_a_net_is_checked_on_the_stand_in(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    @register
    class OnTheHost(ReLU):
        type_name = "OnTheHost"

        def backward(self, dy: Any) -> Any:
            return super().backward(dy) * NUMPY.xp.ones(dy.shape, dy.dtype)

    code, report = found(capsys, config, "--backend", "strict")
    assert (code, report["backends"]) == (0, {grounds.title(STRICT): {}})
    assert set(report["engines"]) <= {DEVICE}
    Path(config).write_text(json.dumps(NET).replace("ReLU", "OnTheHost"))
    assert main(["gradcheck", config]) == 0
    assert main(["test", config, "--backend", "strict"]) == 1
    assert "layer 'act' (OnTheHost): TypeError in backward" in capsys.readouterr().err


# What is checked ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", HEALTHY[:4], ids=lambda cls: cls.__name__)
def test_the_command_runs_the_checks_that_the_tests_run(cls: type[Layer]) -> None:
    report = examine.examine(cls, Effort(), where=ground(STRICT))
    applicable = [set(contract.applicable(case)) - {"gradients"} for _, case in contract.cases(cls, STRICT)]
    assert report.ok, report
    assert report.checks == sum(map(len, applicable))
    assert {"costs", "agrees_with_numpy"} <= applicable[0]
    assert report.backends == {grounds.title(STRICT): {cls.type_name: len(cls.examples)}}


def test_it_is_said_what_was_checked_on_what(capsys: pytest.CaptureFixture[str]) -> None:
    code, report = found(capsys, "ReLU", "Gather", "--backend", "strict", "--only", "views")
    assert code == 0
    counts = {cls.type_name: len(cls.examples) for cls in (ReLU, LAYERS.get("Gather"))}
    assert report["backends"] == {grounds.title(STRICT): counts}
    assert main(["test", "ReLU", "--backend", "strict", "--only", "views"]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line == f"backend {grounds.title(STRICT)}: 1 layer on {len(ReLU.examples)} examples"
    assert "a stand-in for CuPy" in line


def test_the_reference_alone_and_an_engine_alone(capsys: pytest.CaptureFixture[str]) -> None:
    demand_engine()
    engines = found(capsys, "ReLU", "--only", "views")[1]["engines"]
    assert found(capsys, "ReLU", "--only", "views", "--engine", "auto")[1]["engines"] == engines
    computed = len(list(contract.engine_cases(ReLU)))
    assert engines == {FAST: {"ReLU": computed}}
    _, reference = found(capsys, "ReLU", "--only", "views", "--engine", "reference")
    _, engine = found(capsys, "ReLU", "Gather", "--only", "views", "--engine", FAST)
    assert (reference["checks"], reference["engines"]) == (len(ReLU.examples), {})
    assert (engine["checks"], engine["engines"], engine["layers"]) == (computed, engines, ["ReLU"])
    assert list(engine["backends"].values()) == [{}]
    told = {(each["check"], each["reason"]) for each in engine["inapplicable"] if each["layer"] == "Gather-0"}
    assert told == {(f"engine {FAST}", "it has no such layer")}


def test_a_net_says_who_computed_its_layers(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    demand_engine()
    code, report = found(capsys, config, "--engine", FAST)
    assert (code, set(report["engines"][FAST])) == (0, {"fc", "act", "loss"})
    assert gradcheck(NET, dtype="float32", engine="reference").engines == {}
    assert gradcheck(Net.from_config(NET), backend="strict").backends == {grounds.title(STRICT): {}}
    assert gradcheck(ReLU, backend=STRICT).backends == {grounds.title(STRICT): {"ReLU": len(ReLU.examples)}}


def test_what_a_real_device_cannot_show_is_left_out_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(STRICT.xp, "counting")  # as CuPy, which counts nothing and whose memory has one address
    monkeypatch.delattr(STRICT.xp, "adopted")
    report = examine.examine(ReLU, Effort(), where=Ground(STRICT))
    assert report.ok, report
    reasons = {(each.check, each.reason) for each in report.inapplicable}
    assert ("costs", "the backend counts nothing") in reasons
    assert {(check, examine.ON_NUMPY) for check in examine.WITHOUT_ARRAYS} <= reasons
    assert {reason for check, reason in reasons if check == "in_place"} == {"it does not say inplace"}
    assert f"costs on {len(ReLU.examples)} examples" in report.text()


# Engines of devices ---------------------------------------------------------------------------------------------------


def fake_engine(cls: type[Any], name: str = "fake") -> types.SimpleNamespace:
    """An engine of devices with one layer in place of ReLU."""
    layers: Mapping[str, Any] = {"ReLU": cls}
    return types.SimpleNamespace(
        missing=lambda: None, on_device=lambda: True, layers=lambda: layers, kernels=lambda: {}, name=name
    )


class OnDevice(ReLU):  # type: ignore[misc, valid-type]
    """What an engine's ReLU could be."""

    engine = "fake"
    type_name = "ReLU"
    can_overwrite_grad = False

    @classmethod
    def instead_of(cls, reference: Layer) -> Any:
        made = cls.__new__(cls)
        vars(made).update(vars(reference))
        return made

    @classmethod
    def refuses(cls, reference: Layer, bottoms: Any, tops: Any) -> str | None:
        return "it is empty" if not bottoms[0].size else None


class WrongOnDevice(OnDevice):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy) * 1.01


@pytest.mark.parametrize(("cls", "right"), [(OnDevice, True), (WrongOnDevice, False)])
def test_an_engine_of_devices_appears_by_itself(
    cls: type[Any], right: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names, engine = registry.engine_names(), registry.engine
    monkeypatch.setattr(registry, "engine_names", lambda: [*names, "fake"])
    monkeypatch.setattr(registry, "engine", lambda kind: fake_engine(cls) if kind == "fake" else engine(kind))
    assert ground(NUMPY).engines == ground(NUMPY, "auto").engines
    assert "fake" not in ground(NUMPY).engines
    assert set(ground(STRICT).engines) - {DEVICE} == {"fake"}
    code, report = found(capsys, "ReLU", "--backend", "strict", "--engine", "fake")
    assert (code, report["engines"]) == (0 if right else 1, {"fake": {"ReLU": len(ReLU.examples) - 1}})
    assert [each["layer"] for each in report["inapplicable"] if each["reason"] == "it is empty"] != []
    assert {f["check"] for f in report["failures"]} == (set() if right else {"agrees", "jvp"})
    with pytest.raises(ConfigError, match="engine 'fake' computes nothing on backend numpy"):
        ground(NUMPY, "fake")


def test_a_wrong_kernel_of_a_device_fails(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    demand_compiler()
    arguments = ["Linear", "Flatten", "--backend", "strict", "--engine"]
    code, report = found(capsys, *arguments, DEVICE, "--only", "kernels_agree")
    assert (code, report["layers"]) == (0, ["Linear"])  # no kernel computes in a Flatten
    assert report["checks"] == report["engines"][DEVICE]["Linear"] > 0
    code, report = found(capsys, *arguments, "auto", "--only", "views")
    assert (code, set(report["engines"][DEVICE]), report["layers"]) == (0, {"Linear"}, ["Linear", "Flatten"])
    kernels = registry.engine(DEVICE).kernels()
    right = kernels["sum_of"]
    monkeypatch.setitem(kernels, "sum_of", lambda *given, **options: 1.01 * right(*given, **options))
    for check in ("kernels_agree", "agrees_with_numpy", "gradients"):
        assert main(["test", *arguments, DEVICE, "--only", check]) == 1
        assert capsys.readouterr().out.splitlines()[-1].endswith("failed (Linear)")
    assert main(["gradcheck", config, "--backend", "strict", "--engine", DEVICE]) == 1
    code, report = found(capsys, *arguments, "reference", "--only", "agrees_with_numpy")
    assert (code, report["engines"]) == (0, {})
    assert main(["gradcheck", config, "--backend", "strict", "--engine", "reference"]) == 0


def test_the_stand_in_without_a_compiler_has_no_kernels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(STRICT.xp, "ElementwiseKernel", raising=False)
    assert ground(STRICT).engines == ()
    assert main(["test", "Linear", "--backend", "strict", "--engine", DEVICE]) == 5
    assert "finds no C++ compiler" in capsys.readouterr().err


# What is refused ------------------------------------------------------------------------------------------------------

REFUSED = [
    (["Linear", "--backend", "cupy", "--engine", "onednn"], "engine 'onednn' computes nothing on backend cupy"),
    (["Linear", "--backend", "strict", "--engine", "onednn"], "engine 'onednn' computes nothing on backend strict"),
    (["Linear", "--backend", "strikt"], "unknown backend 'strikt'"),
    (["Linear", "--engine", "onedn"], "did you mean 'onednn'?"),
    (["Linear", "--only", "costs"], "there is no check 'costs' on backend numpy\n     = it is of devices"),
    (["Linear", "--only", "agrees", "--engine", "reference"], "there is no check 'agrees' on backend numpy"),
]
REFUSED_BESIDE_ENGINE = [
    (["Linear", "--only", "gradients"], "there is no check 'gradients' on engine onednn"),
    (["Linear", "--dtype", "float64"], "--dtype float64 has no meaning with --engine onednn"),
    (["Linear", "--rtol", "1e-3"], "--rtol has no meaning for layers with --engine onednn"),
    (["Linear", "--seed", "3"], "--seed has no meaning for layers"),
    (["Linear", "--against", "torch"], "--engine onednn has no meaning with --against torch"),
    (["Gather"], "engine 'onednn' computes nothing of what is asked for\n     = it has no such layer"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


@pytest.mark.parametrize(("arguments", "message"), REFUSED_BESIDE_ENGINE)
def test_what_makes_no_sense_beside_an_engine_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    demand_engine()
    test_what_makes_no_sense_is_refused([*arguments, "--engine", "onednn"], message, capsys)


def test_elsewhere_than_in_a_clone_there_is_no_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(grounds, "SUPPORT", tmp_path / "tests" / "support")
    assert main(["test", "ReLU", "--backend", "strict"]) == 5
    err = capsys.readouterr().err
    assert "error: backend 'strict' is a stand-in for CuPy that belongs to LayerForge's tests" in err
    assert "pip install -e ." in err


def test_an_engine_or_a_backend_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry.engine(FAST), "missing", lambda: "it is not installed")
    assert main(["test", "ReLU", "--engine", FAST]) == 5
    assert f"engine '{FAST}' is asked for, but it is not installed" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["test", "ReLU", "--backend", "cupy"]) == 5
    assert "backend 'cupy' needs the package 'cupy'" in capsys.readouterr().err
    with pytest.raises(BackendError):
        gradcheck(ReLU, backend="cupy")
    with pytest.raises(ConfigError, match="engine= is for nets"):
        gradcheck(ReLU, engine="reference")


def test_the_stand_in_hides_no_module_of_a_user(tmp_path: Path) -> None:
    """The tests' folder `support` is not what `import support` finds in a file of the user's."""
    (tmp_path / "support.py").write_text("factor = 2\n")
    line = "import support; x = x * support.factor / support.factor"
    path = written(tmp_path, line)
    command = [sys.executable, "-m", "layerforge", "test", path, "--backend", "strict", "--only", "costs"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={"PYTHONPATH": str(tmp_path)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "1 layer, 1 check: all pass"
