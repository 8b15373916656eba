"""Raw samples of a written net: the columns of tables, names that are those of the file, and what is not taken."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.written_nets import loaded

from layerforge import ConfigError, Net, load_model, train
from layerforge.interop.python import write_model
from layerforge.interop.python.raw import Table
from layerforge.training.console import Console

CONFIGS = Path(__file__).parents[3] / "configs"
QUIET = Console(progress="off", quiet=True)
FC = {"name": "fc", "type": "Linear", "out_features": 2}
LOSS = {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]}
AFFINE = {"mean": "channel", "std": "channel"}


def trained(folder: Path, source: dict[str, Any], net: list[dict[str, Any]], **more: Any) -> Any:
    """The model of a short training."""
    settings = {"solver": {"lr": 0.05}, "train": {"epochs": 2, "output_dir": str(folder / "runs")}}
    data = {"train": {"batch_size": 20, **source}, **more}
    return load_model(str(train({"name": "small", "data": data, "net": net, **settings}, console=QUIET).run))


def table(folder: Path, columns: dict[str, Any], missing: bool = False) -> tuple[str, np.ndarray]:
    """A file of columns and its label, and the columns; some cells are empty if wanted."""
    x = np.column_stack(list(columns.values()))
    if missing:
        x[np.random.default_rng(4).random(x.shape) < 0.2] = np.nan
    rows = [",".join("" if np.isnan(cell) else repr(float(cell)) for cell in row) for row in x]
    kinds = np.array(["no", "yes"])[(np.arange(len(x)) % 3) // 2]
    lines = [f"{row},{kind}" for row, kind in zip(rows, kinds, strict=True)]
    (folder / "t.csv").write_text("\n".join([",".join([*columns, "kind"]), *lines]) + "\n")
    return str(folder / "t.csv"), x


def columns_of(count: int, width: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    return {f"c{i}": rng.normal(10.0**i, 3.0 + i, count) for i in range(width)}


@pytest.mark.parametrize("width", [2, 6])  # with constants in the file, and in weights.npz
@pytest.mark.parametrize("more", [
    {"standardize": True},
    {"missing": "median"},
    {"missing": {"strategy": "mean", "indicator": True}, "standardize": True},
], ids=["standardize", "missing", "both"])  # fmt: skip
@pytest.mark.parametrize("transform", [None, AFFINE], ids=["", "transform"])
def test_the_columns_of_a_table_become_what_training_made_of_them(
    tmp_path: Path, width: int, more: dict[str, Any], transform: dict[str, Any] | None
) -> None:
    path, x = table(tmp_path, columns_of(60, width), missing="missing" in more)
    source = {"type": "CSV", "path": path, "label": "kind", **more}
    further = {} if transform is None else {"transform": transform}
    model = trained(tmp_path, source, [{**FC, "bottom": "x"}, LOSS], **further)
    net = loaded(write_model(model))
    np.testing.assert_allclose(net.scores(x), model.scores(x), rtol=0, atol=2e-6)
    assert net.predict(x).tolist() == model.predict(x).tolist()
    with pytest.raises(ValueError, match=r"rows of . numbers are expected"):
        net.predict(x[:, 1:])
    wrong = x.copy()
    wrong[3, 1] = np.inf
    with pytest.raises(ValueError, match="row 3 has no number in column 1"):
        net.predict(wrong)
    if "missing" not in more:
        wrong[3, 1] = np.nan
        with pytest.raises(ValueError, match="row 3 has no number in column 1"):
            net.predict(wrong)


def test_words_stay_with_layerforge_and_the_file_says_so(tmp_path: Path) -> None:
    rows = [f"{i % 7},{'ab'[i % 2]},{['no', 'yes'][i % 2]}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["age,town,kind", *rows]) + "\n")
    source = {"type": "CSV", "path": str(tmp_path / "t.csv"), "label": "kind", "categorical": ["town"]}
    model = trained(tmp_path, source, [{**FC, "bottom": "x"}, LOSS])
    written = write_model(model)
    net = loaded(written)
    assert not {"prepare", "scores", "predict"} & set(dir(net))
    assert "columns of words are encoded by LayerForge alone: town" in written.source
    assert "columns of words" in written.why_prepared


def test_a_file_of_weights_that_says_nothing_of_samples_has_no_predict(tmp_path: Path) -> None:
    path, _ = table(tmp_path, columns_of(40, 2))
    model = trained(tmp_path, {"type": "CSV", "path": path, "label": "kind"}, [{**FC, "bottom": "x"}, LOSS])
    model._trained.transform = None
    written = write_model(model)
    assert not hasattr(loaded(written), "predict") and "how samples were read and scaled" in written.source


def test_wrong_preprocessing_is_found_before_anything_is_kept(tmp_path: Path, monkeypatch: Any) -> None:
    path, _ = table(tmp_path, columns_of(40, 3))
    source = {"type": "CSV", "path": path, "label": "kind", "standardize": True}
    model = trained(tmp_path, source, [{**FC, "bottom": "x"}, LOSS])
    right = Table.of
    shifted = lambda columns: Table(tuple(m + 1 for m in right(columns).mean), right(columns).factor, (), ())  # noqa: E731
    monkeypatch.setattr(Table, "of", shifted)
    with pytest.raises(ConfigError, match="does not compute what the net does: blob 'fc' differs"):
        write_model(model)


def test_inputs_and_layers_may_be_called_like_anything_in_the_file(tmp_path: Path) -> None:
    """Whatever names a written file has, of functions, variables and attributes: inputs and layers may have them."""
    rng = np.random.default_rng(2)
    arrays = {name: rng.normal(i, 1 + i, (30, 5)) for i, name in enumerate(("x", "x_", "a.b", "a_b"))}
    model = _summed(tmp_path, arrays, {})
    source = write_model(model).source
    nodes = list(ast.walk(ast.parse(source)))
    found = {n.id for n in nodes if isinstance(n, ast.Name)} | {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    found |= {n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    found |= {
        "__class__",
        "__a",
        "a__",
        "_a",
        "_Net__a",
        "__init__",
        "__dict__",
        "class",
        "input",
        "preparation_x_factor",
    }
    names = sorted(found - {"label", "loss", "fc", "self"})
    more = {name: rng.normal(i % 7, 1 + i % 5, (30, 5)) for i, name in enumerate(names)}
    many = _summed(tmp_path, more, {name: f"{name}.in" for name in names})
    net, given = loaded(write_model(many)), {name: array[:6] for name, array in more.items()}
    np.testing.assert_allclose(net.scores(*given.values()), many.scores(given), rtol=0, atol=1e-4)
    named = _summed(tmp_path, {"x": arrays["x"]}, {"x": names[0]}, [n for n in names[1:] if n != "x"])
    np.testing.assert_allclose(
        loaded(write_model(named)).scores(arrays["x"]), named.scores(arrays["x"]), rtol=0, atol=1e-5
    )


def _summed(folder: Path, arrays: dict[str, np.ndarray], names: dict[str, str], between: Any = ()) -> Any:
    """The model of a layer for each input, the sum of these, and layers of some names behind it."""
    layers = [
        {"name": names.get(name, f"l{i}"), "type": "Linear", "bottom": name, "out_features": 3}
        for i, name in enumerate(arrays)
    ]
    net = [*layers, {"name": "sum-of-all", "type": "Add", "bottom": [layer["name"] for layer in layers]}]
    net = layers if len(layers) == 1 else net
    net = [*net, *({"name": name, "type": "Tanh"} for name in between), FC, LOSS]
    labels = np.arange(30) % 2
    return trained(folder, {"type": "Arrays", "arrays": {**arrays, "label": labels}}, net, transform=AFFINE)


HEADS = """
name: heads
net:
  - {name: x, type: Input, shape: [4, 3, 5], top: x}
  - {name: boxes, type: Linear, bottom: x, out_features: 2}
  - {name: all, type: Reshape, bottom: boxes, shape: [1, -1, 2], top: all}
  - {name: side, type: Linear, bottom: x, out_features: 4}
"""


def test_all_that_a_net_predicts_comes_and_lengths_follow_the_number_of_samples(tmp_path: Path) -> None:
    (tmp_path / "heads.yaml").write_text(HEADS)
    net = Net.from_yaml(tmp_path / "heads.yaml", keep="none")
    written = write_model(net)
    assert written.blobs == ["all", "side"]
    assert "all (1, 3 N, 2), side (N, 3, 4) of x (N, 3, 5)" in written.source
    x = np.random.default_rng(1).normal(size=(6, 3, 5)).astype("float32")
    boxes, side = loaded(written).forward(x)
    mine = net.forward(phase="eval", outputs=("all", "side"), x=x)
    np.testing.assert_allclose(boxes, mine["all"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(side, mine["side"], rtol=0, atol=1e-6)


def test_of_several_heads_scores_and_predict_are_those_of_the_model(tmp_path: Path) -> None:
    x = np.random.default_rng(7).normal(3, 2, (40, 3))
    net = [{**FC, "bottom": "x"}, {"name": "value", "type": "Linear", "bottom": "x", "out_features": 1}]
    net += [LOSS, {"name": "more", "type": "MSELoss", "bottom": ["value", "height"]}]
    arrays = {"x": x, "label": np.arange(40) % 2, "height": x[:, :1]}
    transform = {**AFFINE, "blobs": ["x"]}
    model = trained(tmp_path, {"type": "Arrays", "arrays": arrays}, net, transform=transform)
    written = write_model(model)
    assert sorted(written.blobs) == ["fc", "value"]
    np.testing.assert_allclose(loaded(written).scores(x), model.scores(x), rtol=0, atol=1e-6)
    assert loaded(written).predict(x).tolist() == model.predict(x).tolist()


def test_a_prediction_of_another_input_is_told_of() -> None:
    net = Net.from_yaml(CONFIGS / "mnist_siamese.yaml", keep="none")
    written = write_model(net)
    assert written.inputs == ["image_a"] and written.apart == ["feat_b"]
    assert "Of other inputs the net computes feat_b as well" in written.source
