"""The kernels of a device give what their texts give, in fewer launches: on the stand-in, which compiles them."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import strict_cupy, strict_kernels
from support.kernel_calls import CALLS, calls_of
from support.tools import demand_compiler

from layerforge import Net
from layerforge.arrays.formula import FORMULAS, as_text
from layerforge.cli import main
from layerforge.engines import cuda, onednn
from layerforge.engines.cuda import activations, recurrent, scattering, scores
from layerforge.engines.cuda.kernel import Elementwise
from layerforge.schema import registry
from layerforge.schema.errors import BackendError

OTHERWISE = {
    "uniform",  # compared bit by bit in tests/arrays/test_formula.py
    *("rounded", "rounded_to_float16"),  # and these, of float32 alone, in test_device_precision.py
    # and in tests/arrays/test_formulas_of_windows.py, as they take windows or write into arrays:
    *("unfold", "fold", "maxima", "find_winners", "to_winners", "of_winners", "places_of_maxima", "window_sums"),
    *("to_windows", "standardize", "standardize_by", "standardize_backward", "add_sums"),
}
ROUNDINGS = {"float32": 3e-6, "float64": 1e-13}  # of each element, or of 1


@pytest.fixture(autouse=True)
def compiler() -> None:
    demand_compiler()
    registry.LAYERS.names()  # imports them all, and their formulas


def on_device(value: Any) -> Any:
    return strict_cupy.asarray(value) if isinstance(value, np.ndarray) else value


def on_host(result: Any) -> list[np.ndarray]:
    return [r.get() for r in (result if isinstance(result, tuple) else (result,))]


def run(name: str, args: Any, options: Any) -> tuple[list[np.ndarray], int]:
    """The results of a formula on the stand-in, as it is called in a layer, and its launches."""
    text = FORMULAS[name]
    function = getattr(importlib.import_module(text.__module__), name)
    wants_namespace = text.__code__.co_varnames[0] == "xp"
    arrays = [on_device(a) for a in args]
    with strict_cupy.counting() as counts, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = function(strict_cupy, *arrays, **options) if wants_namespace else function(*arrays, **options)
    return on_host(result), counts["launches"]


def test_every_kernel_is_tried() -> None:
    assert set(CALLS) | OTHERWISE == set(cuda.kernels())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_kernel_gives_what_its_text_gives(name: str, dtype: str) -> None:
    saved = 0
    for args, options in calls_of(name, dtype):
        got, launches = run(name, args, options)
        with as_text():
            want, of_text = run(name, args, options)
        saved += of_text - launches
        assert launches <= of_text
        for mine, theirs in zip(got, want, strict=True):
            assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
            np.testing.assert_allclose(mine, theirs, rtol=ROUNDINGS[dtype], atol=ROUNDINGS[dtype])
    assert saved > 0


def test_threads_are_tried_in_both_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a device has them in any. Where it makes a difference to the bits of a kernel, the stand-in raises."""
    tried: set[str] = set()
    at_once = strict_kernels.at_once

    def noted(run_threads: Any, kernel: str, written: Any) -> None:
        assert written
        tried.add(kernel)
        at_once(run_threads, kernel, written)

    monkeypatch.setattr(strict_kernels, "at_once", noted)
    for name in CALLS:
        for args, options in calls_of(name, "float32"):
            run(name, args, options)
    modules = activations, recurrent, scattering, scores
    kernels = {k.name for m in modules for k in vars(m).values() if isinstance(k, Elementwise)}
    assert kernels <= tried


def changed(value: Any, change: str, number: int) -> Any:
    """An array of reals as other callers may have it."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    if change == "mixed":
        return value.astype("float64") if number == 0 else value
    if change == "whole":
        return np.nan_to_num(value, posinf=4, neginf=-4).clip(-4, 4).astype("int64")
    return np.asfortranarray(np.repeat(value, 2, axis=0))[::-2] if value.ndim > 1 else value[::-1].copy()[::-1]


@pytest.mark.parametrize("change", ["mixed", "whole", "upside down"])
@pytest.mark.parametrize("name", sorted(CALLS))
def test_arrays_of_any_kind_become_what_the_text_makes_of_them(name: str, change: str) -> None:
    some = [call for call in calls_of(name, "float32") if all(np.ndim(a) for a in call[0] if hasattr(a, "ndim"))]
    for args, options in some[:6]:
        if name == "scatter_add_there":  # whose first array is written, and is contiguous
            args = (args[0], *(changed(a, change, k) for k, a in enumerate(args[1:], start=1)))
        else:
            args = tuple(changed(a, change, k) for k, a in enumerate(args))
        found = []
        for text in (as_text(), nullcontext()):
            with text:
                try:
                    found.append(run(name, args, options)[0])
                except TypeError:  # as NumPy has no such function of integers
                    found.append([])
        want, got = found
        assert len(got) == len(want)
        for mine, theirs in zip(got, want, strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_allclose(mine, theirs, rtol=3e-6, atol=3e-6)


# Who computes --------------------------------------------------------------------------------------------------------

NET = {
    "seed": 3,
    "inputs": {"x": {"shape": [4, 6]}},
    "net": [
        {"type": "Linear", "name": "fc", "out_features": 5},
        {"type": "GELU", "name": "act"},
        {"type": "Softmax", "name": "p"},
    ],
}


def launches(config: dict[str, Any]) -> int:
    from support.strict_backend import STRICT

    net = Net.from_config(config, backend=STRICT)
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    net.forward(x=x)
    with strict_cupy.counting() as counts:
        net.forward(x=x)
    return counts["launches"]


def test_the_reference_is_the_text() -> None:
    by_kernels, by_text = launches(NET), launches({**NET, "engine": "reference"})
    assert by_kernels < by_text
    one = [layer | ({"engine": "reference"} if layer["name"] == "act" else {}) for layer in NET["net"]]
    assert by_kernels < launches({**NET, "net": one}) < by_text


def test_a_net_says_that_kernels_compute() -> None:
    from support.strict_backend import STRICT

    assert "engine: CuPy's kernels\n" in f"{Net.from_config(NET, backend=STRICT)}\n"


def test_an_engine_of_another_backend_is_refused() -> None:
    with pytest.raises(BackendError, match="engine 'cuda' is asked for, but the backend is numpy"):
        Net.from_config({**NET, "engine": "cuda"}).forward(x=np.zeros((4, 6), "float32"))
    assert launches({**NET, "engine": "cuda"}) == launches(NET)


def test_the_engine_of_the_host_has_no_say_in_a_net_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as about forks: its threads are not waited for."""

    def refuse() -> None:
        raise BackendError("threads of the parent")

    monkeypatch.setattr(onednn, "refuse_after_fork", refuse)
    assert launches(NET)
    with pytest.raises(BackendError, match="threads of the parent"):
        Net.from_config(NET).forward(x=np.zeros((4, 6), "float32"))


@pytest.mark.parametrize("engine", ["auto", "cuda", "reference"])
def test_a_check_says_who_computes_on_the_device(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)  # a config may be checked where there is none
    path = tmp_path / "net.yaml"
    path.write_text(json.dumps({**NET, "backend": "cupy", "engine": engine}))
    assert main(["check", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["files"][0]["net"]
    who = "reference" if engine == "reference" else "cuda"
    assert [layer["engine"] for layer in found["layers"]] == [who] * 3 and found["totals"]["kept_bytes"] > 0
    assert found["engine"]["library"] == (None if engine == "reference" else "CuPy's kernels")
    path.write_text(json.dumps({**NET, "backend": "cupy", "engine": "onednn"}))
    assert main(["check", str(path)]) == 5
    assert "engine 'onednn' is asked for, but the backend is cupy" in capsys.readouterr().err
