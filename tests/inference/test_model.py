"""Model: a trained net predicts without the data that it learned from."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import DataError, Net, load_model, train
from layerforge.training.console import Console

QUIET = Console(progress="off", quiet=True)
NET = [
    {"name": "fc1", "type": "Linear", "out_features": 16, "bottom": "x"},
    {"name": "act", "type": "ReLU"},
    {"name": "fc2", "type": "Linear", "out_features": 3},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "label"]},
]
NAMES = ["ant", "bee", "cat"]


def table(folder: Path, count: int = 90) -> tuple[np.ndarray, list[str]]:
    """A CSV of two columns and words; where a sample is says which word."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, count)
    x = np.stack([labels * 40.0 + rng.normal(0, 3, count), 5 - labels + rng.normal(0, 0.1, count)], axis=1)
    words = [NAMES[n] for n in labels]
    lines = ["width,height,kind", *(f"{a:.4f},{b:.4f},{w}" for (a, b), w in zip(x, words, strict=True))]
    (folder / "pets.csv").write_text("\n".join(lines) + "\n")
    return np.array([[float(v) for v in line.split(",")[:2]] for line in lines[1:]]), words


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, np.ndarray, list[str]]:
    """A run whose data are gone, and what these were."""
    folder = tmp_path_factory.mktemp("pets")
    x, words = table(folder)
    source = {"type": "CSV", "path": str(folder / "pets.csv"), "label": "kind", "batch_size": 30}
    data = {"train": source, "transform": {"mean": "channel", "std": "channel"}}
    config = {"name": "pets", "data": data, "net": NET, "solver": {"lr": 0.1, "momentum": 0.9}, "train": {"epochs": 8}}
    result = train(config, [f"train.output_dir={folder / 'runs'}"], console=QUIET)
    (folder / "pets.csv").unlink()
    return str(result.run), x, words


def test_a_run_predicts_without_its_data(run: tuple[str, np.ndarray, list[str]], tmp_path: Path) -> None:
    folder, x, words = run
    model = load_model(folder)
    assert model.classes == ("ant", "bee", "cat") and list(model.inputs) == ["x"]
    assert model.predict(x).tolist() == words
    assert model.predict(x[0]) == words[0]
    columns = {"height": x[:, 1], "width": x[:, 0]}
    assert model.predict(columns).tolist() == words
    assert model.predict([{"height": b, "width": a} for a, b in x[:3]]).tolist() == words[:3]
    assert model.predict({"height": x[0, 1], "width": x[0, 0]}) == words[0]
    (tmp_path / "new.csv").write_text("height,width\n" + "".join(f"{b},{a}\n" for a, b in x[:5]))
    assert model.predict(tmp_path / "new.csv").tolist() == words[:5]
    with pytest.raises(DataError, match="without width"):
        model.predict({"height": x[:, 1]})


def test_probabilities_scores_and_blobs_belong_together(run: tuple[str, np.ndarray, list[str]]) -> None:
    folder, x, _ = run
    model = load_model(folder)
    scores, p = model.scores(x, batch_size=7), model.predict_proba(x, batch_size=100)
    np.testing.assert_allclose(np.exp(scores) / np.exp(scores).sum(1, keepdims=True), p, rtol=1e-4)
    hidden = model.blobs(x, ["fc1", "fc2"])
    assert hidden["fc1"].shape == (90, 16)
    np.testing.assert_allclose(hidden["fc2"], scores, rtol=1e-5, atol=1e-5)


def test_a_checkpoint_and_a_file_of_weights_say_what_their_net_is(
    run: tuple[str, np.ndarray, list[str]], tmp_path: Path
) -> None:
    folder, x, words = run
    model = load_model(Path(folder) / "checkpoints/last.h5")
    assert model.predict(x).tolist() == words
    net = Net.from_config({"inputs": {"x": {"shape": [4, 2]}, "label": {"shape": [4], "dtype": "int64"}}, "net": NET})
    net.save(tmp_path / "w.h5")
    bare = load_model(tmp_path / "w.h5")
    assert list(bare.inputs) == ["x"] and bare.inputs["x"].shape == (2,)
    np.testing.assert_array_equal(bare.net.params["fc1"]["weight"].data, net.params["fc1"]["weight"].data)


def test_a_run_of_arrays_opens_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    from layerforge.data.arrays import Arrays

    data = {"train": {"source": Arrays(arrays={"x": x, "label": np.arange(40) % 3}), "batch_size": 20}}
    config = {"name": "arrays", "data": data, "net": NET, "solver": {"lr": 0.1}, "train": {"max_steps": 2}}
    result = train(config, [f"train.output_dir={tmp_path / 'runs'}"], console=QUIET)
    model = load_model(result.run)
    assert model.predict(x).shape == (40,) and model.predict(x).dtype.kind == "i"


def test_threads_may_share_a_model(run: tuple[str, np.ndarray, list[str]]) -> None:
    folder, x, words = run
    model = load_model(folder)
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        found[number] = [model.predict(x[number::4]).tolist() for _ in range(20)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answer == words[n::4] for n, answers in found.items() for answer in answers) and len(found) == 4
