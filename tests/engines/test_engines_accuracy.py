"""How exact the engine is on inputs that cost digits; what the check of its contract that measures it catches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from layerforge import Net
from layerforge.check import accuracy
from layerforge.check.contract import ENGINE_CHECKS, engine_cases, run
from layerforge.check.harness import reference_of
from layerforge.engines.onednn import norm, sums, table
from layerforge.engines.onednn.conv import OneDnnConvTranspose1d, OneDnnConvTranspose3d
from layerforge.engines.onednn.cross_entropy import OneDnnSoftmaxCrossEntropy
from layerforge.engines.onednn.linear import OneDnnLinear

MUTANTS: list[type[Any]] = []


def mutant(cls: type[Any]) -> type[Any]:
    """Collect a layer that is right but for its rounding."""
    cls.replays = False
    MUTANTS.append(cls)
    return cls


@mutant
class TrustsTheStatisticsOfOneDnn(norm.OneDnnBatchNorm):
    """oneDNN's own mean and variance: running sums in float32."""

    def normalize_many(self, x: Any, mean: Any, var: Any, y: Any, mask: Any, y_rows: Any) -> None:
        self.normalize(x, mean, var, y, mask, fixed=False)


@mutant
class TakesTheMeanOfSquares(norm.OneDnnBatchNorm):
    """The variance as Σ x² / N - mean², however large the mean is."""

    def normalize_many(self, x: Any, mean: Any, var: Any, y: Any, mask: Any, y_rows: Any) -> None:
        rows = sums.positions(x)
        centre, square = (total / len(rows) for total in sums.column_sums((rows,), (rows, rows)))
        mean[...], var[...] = centre, np.maximum(square - centre * centre, 0)
        self.normalize(x, mean, var, y, mask)


@mutant
class AddsUpInFloat32(OneDnnLinear):
    """The gradient of the bias as a running sum."""

    def add_column_sums(self, rows: Any, total: Any, name: str = "db") -> None:
        total += rows.cumsum(axis=0)[-1]


@mutant
class AddsUpPositionsInFloat32(OneDnnConvTranspose1d):
    """The gradient of the bias as a running sum."""

    def add_column_sums(self, rows: Any, total: Any, name: str = "db") -> None:
        total += rows.cumsum(axis=0)[-1]


@mutant
class HasFewerDigits(OneDnnConvTranspose3d):
    """The top is off by 3e-6 of itself, as what a faster format computes."""

    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        y *= np.float32(1 + 3e-6)
        return y


@mutant
class NormalisesRowsAsTheyAre(norm.OneDnnLayerNorm):
    def act(self, name: str, function: Any) -> Any:
        if name == "apart":
            return super().act("plain", lambda rows, first, out: np.copyto(out, rows))
        return super().act("none", lambda *_: None) if name == "mean" else super().act(name, function)


@mutant
class TakesTheLogarithmOfARoundedSum(OneDnnSoftmaxCrossEntropy):
    """Its log p is off by 3e-6, as oneDNN's is."""

    def forward(self, x: Any, t: Any) -> Any:
        super().forward(x, t)
        self.saved.log_p[...] += np.float32(3e-6)
        return self.buf("loss", ()) - np.float32(3e-6)


@pytest.mark.parametrize("cls", MUTANTS)
def test_lost_digits_are_noticed(cls: type[Any]) -> None:
    _, case = next(engine_cases(reference_of(cls)))
    said = run("accurate", type(case)(cls, case.example))
    assert said is not None and "off by" in said
    assert run("agrees", type(case)(cls, case.example)) is None, "a mutant that another check catches proves nothing"


def test_every_recorded_use_is_measured() -> None:
    keys = {f"{use.name} {kind}" for use in accuracy.USES for kind in use.kinds}
    assert keys == set(accuracy.recorded()), "python scripts/make_accuracy.py, with torch, writes accuracy.json anew"
    assert {use.type_name for use in accuracy.USES} <= set(table.LAYERS)
    assert "accurate" in ENGINE_CHECKS


def test_without_the_record_nothing_is_held_against_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "recorded", dict)
    assert not list(accuracy.verdicts(TrustsTheStatisticsOfOneDnn, "BatchNorm"))


@pytest.mark.parametrize("value", [3.3, 1000.1, -0.7])
@pytest.mark.parametrize("shape", [(64, 8, 24, 24), (7, 5, 9, 11), (100, 12), (1000, 12), (3, 4, 5)], ids=str)
def test_batch_norm_of_one_number_everywhere(value: float, shape: tuple[int, ...]) -> None:
    layer = {"name": "y", "type": "BatchNorm", "momentum": 1.0}
    net = Net.from_config({"seed": 1, "engine": "onednn", "inputs": {"x": {"shape": list(shape)}}, "net": [layer]})
    y = net.forward(x=np.full(shape, value, "float32"), phase="train")["y"]
    assert np.abs(y).max() <= 1e-4 * abs(value)
    state = net.layers["y"].state
    np.testing.assert_allclose(state.running_mean, np.float32(value), rtol=1e-6)
    np.testing.assert_allclose(state.running_var, 0, atol=1e-9)


@pytest.mark.parametrize("shape", [(4096, 3), (4097, 3), (131, 1), (129, 2500), (33, 4)])
def test_column_sums(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(1, 1, shape).astype("float32") for _ in range(2))
    for laid in (a, np.asfortranarray(a), np.repeat(a, 2, axis=0)[::2]):
        found = sums.column_sums((laid,), (laid, b))
        wanted = a.astype("float64").sum(0), (a.astype("float64") * b).sum(0)
        for got, want in zip(found, wanted, strict=True):
            assert got.dtype == np.float64
            np.testing.assert_allclose(got, want, rtol=3e-7, atol=2e-6 * shape[0] ** 0.5)


def test_statistics_far_from_zero_and_near_it() -> None:
    x = np.random.default_rng(1).normal([0, 1000, -1e4, 1], [1, 1, 0.1, 1e-3], (5000, 4)).astype("float32")
    mean, var, memory = np.empty(4, "float32"), np.empty(4, "float32"), np.empty_like(x)
    sums.statistics(x, memory, mean, var)
    np.testing.assert_allclose(mean, x.astype("float64").mean(0), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(var, x.astype("float64").var(0), rtol=1e-6)
    x[7, 1] = np.nan
    sums.statistics(x, memory, mean, var)
    assert np.isnan(mean[1]) and np.isnan(var[1]) and np.isfinite(mean[0]) and np.isfinite(var[[0, 2, 3]]).all()
