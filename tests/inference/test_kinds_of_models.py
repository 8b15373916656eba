"""Model for every kind of net: what it answers, how it is saved and copied, and what it refuses."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import ConfigError, DataError, LayerError, Net, load_model, train
from layerforge.data.arrays import Arrays
from layerforge.inference.model import Model
from layerforge.schema.registry import LAYERS
from layerforge.snapshot import read_snapshot, write_snapshot
from layerforge.training.console import Console

QUIET = Console(progress="off", quiet=True)
RNG = np.random.default_rng(5)


def model_of(folder: Path, arrays: dict[str, np.ndarray], net: list[dict[str, Any]], **more: Any) -> Model:
    """A model that was trained for a step on arrays."""
    data = {"train": {"source": Arrays(arrays=arrays), "batch_size": 4}, **more}
    config = {"name": "n", "data": data, "net": net, "solver": {"lr": 0.1}, "train": {"max_steps": 1}}
    return load_model(train(config, [f"train.output_dir={folder / 'runs'}"], console=QUIET).run)


def linear(width: int, bottom: str = "x", name: str = "fc") -> dict[str, Any]:
    return {"name": name, "type": "Linear", "bottom": bottom, "out_features": width}


def loss(kind: str, *bottoms: str, **more: Any) -> dict[str, Any]:
    return {"name": "loss", "type": kind, "bottom": list(bottoms), **more}


X = RNG.normal(size=(12, 3))
NEW = RNG.normal(size=(5, 3))


def test_two_classes_with_one_score(tmp_path: Path) -> None:
    target = (X[:, :1] > 0).astype(np.float32)
    model = model_of(tmp_path, {"x": X, "t": target}, [linear(1), loss("BCEWithLogitsLoss", "fc", "t")])
    scores, p = model.scores(NEW), model.predict_proba(NEW)
    assert scores.shape == (5, 1) and p.shape == (5, 2)
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-scores[:, 0])), rtol=1e-5)
    np.testing.assert_array_equal(model.predict(NEW), (scores[:, 0] > 0).astype(int))
    assert model.predict(NEW[0]) in (0, 1) and model.predict_proba(NEW[0]).shape == (2,)


def test_several_answers_at_once(tmp_path: Path) -> None:
    target = (X > 0).astype(np.float32)
    model = model_of(tmp_path, {"x": X, "t": target}, [linear(3), loss("BCEWithLogitsLoss", "fc", "t")])
    np.testing.assert_array_equal(model.predict(NEW), (model.scores(NEW) > 0).astype(int))
    assert model.predict_proba(NEW).shape == (5, 3) and model.predict(NEW[0]).shape == (3,)


def test_a_class_at_each_place(tmp_path: Path) -> None:
    images, labels = RNG.integers(0, 256, (6, 2, 4, 5), dtype=np.uint8), RNG.integers(0, 3, (6, 4, 5))
    net = [
        {"name": "conv", "type": "Conv2d", "bottom": "image", "out_channels": 3, "kernel_size": 1},
        loss("SoftmaxCrossEntropy", "conv", "label"),
    ]
    model = model_of(tmp_path, {"image": images, "label": labels}, net)
    p = model.predict_proba(images)
    assert p.shape == (6, 3, 4, 5)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(images), model.scores(images).argmax(axis=1))
    assert model.predict(images[0]).shape == (4, 5)
    last = np.moveaxis(images, 1, -1)
    np.testing.assert_array_equal(model.scores(last), model.scores(images))


def test_values(tmp_path: Path) -> None:
    model = model_of(tmp_path, {"x": X, "t": X[:, :2]}, [linear(2), loss("MSELoss", "fc", "t")])
    np.testing.assert_array_equal(model.predict(NEW), model.scores(NEW))
    assert model.classes == () and "values" in model.summary()
    with pytest.raises(ConfigError, match="gives values, no probabilities"):
        model.predict_proba(NEW)


def test_a_net_without_losses_and_with_declared_inputs(tmp_path: Path) -> None:
    inputs = {"x": {"shape": [2, 3]}}
    net = Net.from_config({"inputs": inputs, "net": [linear(4), {"name": "p", "type": "Softmax"}]})
    net.save(tmp_path / "w.h5")
    model = load_model(tmp_path / "w.h5")
    np.testing.assert_allclose(model.predict_proba(NEW), model.blobs(NEW, "p")["p"])
    np.testing.assert_array_equal(model.predict(NEW), model.blobs(NEW, ["fc"])["fc"].argmax(axis=1))
    np.testing.assert_allclose(model.scores(NEW), net.forward(phase="eval", x=NEW)["p"], rtol=1e-6)


def test_several_inputs(tmp_path: Path) -> None:
    arrays = {"a": X, "b": X[:, :2], "label": np.arange(12) % 2}
    net = [
        {"name": "both", "type": "Concat", "bottom": ["a", "b"]},
        linear(2, "both"),
        loss("SoftmaxCrossEntropy", "fc", "label"),
    ]
    model = model_of(tmp_path, arrays, net)
    assert list(model.inputs) == ["a", "b"]
    found = model.scores({"a": NEW, "b": NEW[:, :2]})
    np.testing.assert_array_equal(model.scores([{"a": row, "b": row[:2]} for row in NEW]), found)
    assert model.predict({"a": NEW[0], "b": NEW[0, :2]}) in (0, 1)
    for wrong, words in (
        (NEW, "the net has the inputs a, b"),
        ({"a": NEW}, "no 'b'"),
        ({"a": NEW, "b": NEW[:3, :2]}, "different numbers of samples"),
        ([{"a": NEW[0], "b": NEW[0, :2]}, {"a": NEW[0]}], "sample 1 has a, sample 0 has a, b"),
    ):
        with pytest.raises(DataError, match=words):
            model.scores(wrong)


def test_sequences_of_indices_through_a_recurrent_layer(tmp_path: Path) -> None:
    x = RNG.integers(0, 6, (12, 4))
    net = [
        {"name": "vectors", "type": "Embedding", "bottom": "x", "num_embeddings": 6, "embedding_dim": 3},
        {"name": "lstm", "type": "LSTM", "hidden_size": 5},
        {"name": "flat", "type": "Flatten"},
        linear(2, "flat"),
        loss("SoftmaxCrossEntropy", "fc", "label"),
    ]
    model = model_of(tmp_path, {"x": x, "label": np.arange(12) % 2}, net)
    assert model.predict(x).shape == (12,) and model.predict(x[0].tolist()) in (0, 1)
    with pytest.raises(LayerError, match="indices must be 0 to 5"):
        model.predict(x + 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.zeros((2, 4)), "samples of the shape"),
        ([[1.0, 2.0], [1.0]], "samples of the shape|is no array"),
        ([["a", "b", "c"]], "must hold numbers|there is no such file|is no kind"),
        ([], "shape"),
        (np.zeros((0, 3)), "there are no samples"),
        (np.full((2, 3), np.nan), "not finite"),
        (None, "must hold numbers, got NoneType"),
        (np.ma.masked_array(np.zeros((2, 3)), mask=np.eye(2, 3)), "masked"),
        ("nothing.npz", r"nothing\.npz"),
    ],
)
def test_what_is_no_sample_is_refused(tmp_path: Path, wrong: Any, words: str) -> None:
    net = Net.from_config({"inputs": {"x": {"shape": [2, 3]}}, "net": [linear(4)]})
    net.save(tmp_path / "w.h5")
    with pytest.raises(DataError, match=words):
        load_model(tmp_path / "w.h5").predict(wrong)


def test_scores_that_are_no_numbers_name_no_class(tmp_path: Path) -> None:
    model = model_of(
        tmp_path, {"x": X, "label": np.arange(12) % 2}, [linear(2), loss("SoftmaxCrossEntropy", "fc", "label")]
    )
    model.net.params["fc"]["bias"].data[1] = np.nan
    for ask in (model.predict, model.predict_proba):
        for samples in (NEW, NEW[0]):
            with pytest.raises(DataError, match="scores of sample 0 are not a number"):
                ask(samples)
    with pytest.raises(ConfigError, match="one number for a whole batch"):
        model.blobs(NEW, ["loss"])
    with pytest.raises(ConfigError, match="did you mean 'fc'"):
        model.blobs(NEW, ["fcc"])
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        model.scores(NEW, batch_size=0)


# Saved and copied -----------------------------------------------------------------------------------------------------


@pytest.fixture
def scaled(tmp_path: Path) -> Model:
    """Its inputs go through a transform that was fitted."""
    images, labels = RNG.integers(0, 256, (12, 1, 4, 4), dtype=np.uint8), np.arange(12) % 3
    net = [
        {"name": "flat", "type": "Flatten", "bottom": "image"},
        linear(3, "flat"),
        {"name": "bn", "type": "BatchNorm"},
        loss("SoftmaxCrossEntropy", "bn", "label"),
    ]
    transform = {"mean": "pixel", "std": "channel"}
    return model_of(tmp_path, {"image": images, "label": labels}, net, transform=transform)


IMAGES = RNG.integers(0, 256, (7, 1, 4, 4), dtype=np.uint8)


def test_a_saved_model_is_the_same_model(scaled: Model, tmp_path: Path) -> None:
    folder = scaled.save(tmp_path / "out" / "model")
    assert sorted(p.name for p in folder.iterdir()) == ["net.yaml", "weights.h5"]
    for path in (folder, folder / "weights.h5"):
        other = load_model(path)
        np.testing.assert_array_equal(other.scores(IMAGES), scaled.scores(IMAGES))
        assert other.inputs == scaled.inputs and other.classes == scaled.classes and other.kinds == scaled.kinds
    again = load_model(load_model(folder).save(tmp_path / "again"))
    np.testing.assert_array_equal(again.scores(IMAGES), scaled.scores(IMAGES))
    with pytest.raises(DataError, match="give whole numbers from 0 to 255"):
        again.predict(IMAGES / 255.0)
    net = Net.from_yaml(folder / "net.yaml")
    net.load(folder / "weights.h5")


def test_python_files_travel_with_a_saved_model(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "docs" / "examples" / "snake.py"
    inputs = {"x": {"shape": [2, 3]}}
    net = Net.from_config(
        {"import": [str(source)], "inputs": inputs, "net": [linear(4), {"name": "s", "type": "Snake"}]}
    )
    try:
        net.save(tmp_path / "w.h5")
        with pytest.raises(ConfigError, match="imports Python files"):
            load_model(tmp_path / "w.h5")
        folder = load_model(tmp_path / "w.h5", allow_import=True).save(tmp_path / "model")
        assert (folder / "snake.py").read_bytes() == source.read_bytes()
        assert str(source.parent) not in (folder / "net.yaml").read_text()
    finally:
        LAYERS.remove("Snake")
        for name in [n for n in sys.modules if n.startswith("layerforge_user_snake")]:
            del sys.modules[name]


def predict_elsewhere(model: Model) -> list[int]:
    return model.predict(IMAGES).tolist()


def test_copies_are_models_of_their_own_also_in_another_process(scaled: Model) -> None:
    other = copy.deepcopy(scaled)
    other.net.params["fc"]["weight"].data[...] = 0
    assert not np.array_equal(other.scores(IMAGES), scaled.scores(IMAGES))
    again = pickle.loads(pickle.dumps(scaled))
    np.testing.assert_array_equal(again.scores(IMAGES), scaled.scores(IMAGES))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(predict_elsewhere, [scaled, other])) == [
            scaled.predict(IMAGES).tolist(),
            predict_elsewhere(other),
        ]


def test_a_file_without_its_signature_needs_the_data(tmp_path: Path) -> None:
    """As earlier versions wrote it."""
    np.savez(tmp_path / "d.npz", x=X, label=np.arange(12) % 2)
    data = {"train": {"type": "NPZ", "path": str(tmp_path / "d.npz"), "batch_size": 4}}
    net = [linear(2), loss("SoftmaxCrossEntropy", "fc", "label")]
    config = {"name": "n", "data": data, "net": net, "solver": {"lr": 0.1}, "train": {"max_steps": 1}}
    run = train(config, [f"train.output_dir={tmp_path / 'runs'}"], console=QUIET).run
    file = Path(run) / "checkpoints" / "last.h5"
    known = load_model(file).scores(NEW)
    arrays, meta = read_snapshot(file)
    write_snapshot(tmp_path / "old.h5", arrays, {k: v for k, v in meta.items() if k not in ("signature", "format")})
    np.testing.assert_array_equal(load_model(tmp_path / "old.h5").scores(NEW), known)
    bare = {k: v for k, v in arrays.items() if k.startswith("params")}
    write_snapshot(tmp_path / "w.h5", bare, {"kind": "weights", "config": meta["config"]})
    (tmp_path / "d.npz").unlink()
    np.testing.assert_array_equal(load_model(file).scores(NEW), known)
    for name in ("old.h5", "w.h5"):
        with pytest.raises(DataError, match=r"d\.npz") as caught:
            load_model(tmp_path / name)
        assert "earlier version" in str(caught.value)


def test_summary_says_what_comes_in_and_what_comes_out(scaled: Model) -> None:
    text = scaled.summary()
    assert "image: samples of (1, 4, 4)" in text and "in training uint8 from" in text
    assert ("bn: a score per class" in text and "best.h5" in text) or "last.h5" in text
    assert io.StringIO(text).readline().strip()


def test_weights_of_a_net_open_without_its_data_but_cannot_scale(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X, label=np.arange(12) % 2)
    data = {
        "train": {"type": "NPZ", "path": str(tmp_path / "d.npz"), "batch_size": 4},
        "transform": {"mean": "channel"},
    }
    net = Net.from_config({"data": data, "net": [linear(2), loss("SoftmaxCrossEntropy", "fc", "label")]})
    net.save(tmp_path / "w.h5")
    for _ in range(2):
        model = load_model(tmp_path / "w.h5")
        np.testing.assert_array_equal(model.net.params["fc"]["weight"].data, net.params["fc"]["weight"].data)
        with pytest.raises(DataError, match=r"does not say how inputs (were scaled|are read)"):
            model.predict(NEW)
        (tmp_path / "d.npz").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ("nothing", DataError, "there is no run nothing"),
        ("empty", DataError, "there is no run empty"),
        ("half", DataError, "weights.h5"),
        ("net.yaml", ConfigError, "is a config: which weights"),
        ("text.h5", DataError, "is not a LayerForge snapshot"),
        ("a\0b", DataError, "is no path"),
    ],
)
def test_what_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, error: type[Exception], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "inputs: {x: {shape: [2, 3]}}\nnet: [{name: fc, type: Linear, bottom: x, out_features: 2}]\n"
    for folder in ("empty", "half"):
        Path(folder).mkdir()
    for name in ("half/net.yaml", "net.yaml"):
        Path(name).write_text(text)
    Path("text.h5").write_text("no snapshot")
    with pytest.raises(error, match=words):
        load_model(target)
