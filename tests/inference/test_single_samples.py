"""Single samples take a shorter way to the same numbers, and to the same refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import DataError, Net, load_model
from layerforge.data.kinds import Kind
from layerforge.data.transform import InputTransform

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import predict_benchmark


def refused(kind: Kind, array: np.ndarray) -> bool:
    try:
        kind.check("x", array, "here")
    except DataError:
        return True
    return False


def test_a_quick_look_at_samples_never_lets_through_what_a_close_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    cases: list[tuple[Kind, np.ndarray]] = []
    for _ in range(600):
        shape = [(), (3,), (12,), (1, 3, 3)][rng.integers(4)]
        dtype = ["uint8", "float64", "float32", "int64"][rng.integers(4)]
        scale = 10.0 ** rng.integers(-3, 4)

        def drawn(size: float, dtype: str = dtype, shape: tuple[int, ...] = shape) -> np.ndarray:
            numbers = rng.normal(size=(rng.integers(1, 4), *shape)) * size
            return (np.clip(abs(numbers), 0, 255) if dtype == "uint8" else numbers).astype(dtype)

        other = drawn(scale * 10.0 ** rng.integers(-4, 4))
        cases.append((Kind.of(drawn(scale)), other.astype("float64") if rng.random() < 0.2 else other))
    quick = [refused(*case) for case in cases]
    monkeypatch.setattr(Kind, "_plainly_fits", lambda self, array: False)
    assert [refused(*case) for case in cases] == quick
    assert 50 < sum(quick) < 550


def test_bytes_go_through_the_transform_as_all_others_do() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 2, 4, 5), dtype=np.uint8)
    for affine in ((np.asarray(1 / 255), np.asarray(0.0)), (rng.normal(size=(2, 1, 1)), rng.normal(size=(2, 4, 5)))):
        transform = InputTransform({"image": affine})
        for raw in (images, images[::2], np.moveaxis(np.moveaxis(images, 1, -1).copy(), -1, 1)):
            for dtype in ("float32", "float64"):
                wanted = transform._of_any("image", raw, dtype)
                found = transform("image", raw, dtype)
                assert found.dtype == wanted.dtype == dtype and found.flags.c_contiguous
                np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("given", [np.float32, np.float64, np.int64])
def test_a_single_sample_gets_the_answer_that_it_gets_among_others(tmp_path: Path, given: type) -> None:
    layers: list[dict[str, Any]] = [
        {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 4},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
    ]
    inputs = {"x": {"shape": [4, 3]}, "t": {"shape": [4], "dtype": "int64"}}
    Net.from_config({"inputs": inputs, "net": layers}).save(tmp_path / "w.h5")
    model = load_model(tmp_path / "w.h5")
    x = (np.random.default_rng(2).normal(size=(9, 3)) * 5).astype(given)
    assert [model.predict(one) for one in x] == model.predict(x).tolist()
    assert [model.predict(list(map(float, one))) for one in x] == model.predict(x).tolist()
    np.testing.assert_allclose([model.predict_proba(one) for one in x], model.predict_proba(x), rtol=1e-5)
    if given is not np.int64:
        with pytest.raises(DataError, match="not finite"):
            model.predict(np.full(3, np.inf, given))


def test_the_script_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = {"name": "flat", "type": "Flatten", "bottom": "image"}
    layers = [flat, {"name": "fc", "type": "Linear", "out_features": 3}, {"name": "p", "type": "Softmax"}]
    Net.from_config({"inputs": {"image": {"shape": [2, 1, 3, 3]}}, "net": layers}).save(tmp_path / "w.h5")
    arguments = ["--run", str(tmp_path / "w.h5"), "--samples", "60", "--rounds", "1", "--most", "1e9", "--json"]
    monkeypatch.setattr(sys, "argv", ["predict_benchmark.py", *arguments])
    assert predict_benchmark.main() == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["ratio"]["clock"] == pytest.approx(found["predict"]["clock"] / found["bare"]["clock"])
