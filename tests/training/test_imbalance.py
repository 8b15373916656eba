"""Data in which some classes are rare: the balanced sampler, and `weight: balanced` of losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import isolate

from layerforge import Net, train
from layerforge.config.document import Config
from layerforge.data import open_data
from layerforge.inference.trained import open_trained
from layerforge.schema.errors import LayerForgeError
from layerforge.training.console import Console
from layerforge.training.folds import cross_validate

RNG = np.random.default_rng(2)
COUNTS = [120, 24, 6]
LABEL = np.repeat([0, 1, 2], COUNTS)[RNG.permutation(150)]
ARRAYS = {"x": RNG.normal(size=(150, 4)) + LABEL[:, None], "label": LABEL}
ARRAYS["many"] = np.stack([LABEL > 0, LABEL > 1], axis=1).astype(float)
ARRAYS["one"] = (LABEL > 0).astype(float)
WEIGHTS = [150 / (3 * n) for n in COUNTS]
QUIET = Console(progress="off", quiet=True, results=False)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = isolate(monkeypatch, tmp_path)
    np.savez("d.npz", x=ARRAYS["x"], label=LABEL)
    return folder


def config(loss: dict[str, Any], target: str = "label", outputs: int = 3, **data: Any) -> dict[str, Any]:
    return {
        "data": {"train": {"type": "Arrays", "arrays": ARRAYS, "batch_size": 50, **data}},
        "net": [
            {"name": "fc", "type": "Linear", "bottom": "x", "out_features": outputs},
            {"name": "loss", "bottom": ["fc", target], **loss},
        ],
        "solver": {"lr": 0.1},
        "train": {"epochs": 2},
    }


def drawn(epoch: int, seed: int = 0, **data: Any) -> np.ndarray:
    made = Config.from_dict(config({"type": "SoftmaxCrossEntropy"}, **data))
    made.raise_errors()
    opened = open_data(made.data, seed=seed)
    return np.concatenate([batch.samples for batch in opened.loaders["train"].epoch(epoch)])


def test_the_balanced_sampler_draws_all_classes_equally_often() -> None:
    epochs = [drawn(epoch, sampler="balanced") for epoch in range(40)]
    assert {len(epoch) for epoch in epochs} == {150}
    counts = np.bincount(LABEL[np.concatenate(epochs)])
    assert np.abs(counts - 2000).max() < 4 * np.sqrt(6000 * 2 / 9)  # four standard deviations
    within = np.bincount(np.concatenate(epochs), minlength=150)[LABEL == 2]
    assert np.abs(within - 2000 / 6).max() < 4 * np.sqrt(2000 / 6)
    assert drawn(3, sampler={"type": "balanced", "label": "label"}).tolist() == epochs[3].tolist() != epochs[2].tolist()
    assert drawn(3, seed=1, sampler="balanced").tolist() != epochs[3].tolist()


def test_a_sampler_that_does_not_fit_is_refused() -> None:
    for data, words in (
        ({"sampler": {"type": "balanced", "label": "lable"}}, "no blob 'lable'"),
        ({"sampler": {"type": "balanced", "label": "x"}}, "does not hold a class for each sample"),
        ({"sampler": "blanced"}, "must be one of balanced"),
        ({"sampler": "balanced", "shuffle": False}, "a sampler draws at random"),
    ):
        with pytest.raises(LayerForgeError, match=words):
            drawn(0, **data)
    made = Config.from_dict(
        {
            **config({"type": "MSELoss"}),
            "data": {
                "train": {"type": "Arrays", "arrays": ARRAYS},
                "val": {"type": "Arrays", "arrays": ARRAYS, "sampler": "balanced"},
            },
        }
    )
    assert any("sampler is for train only" in error.message for error in made.errors)


@pytest.mark.parametrize(
    ("loss", "target", "outputs", "key", "wanted"),
    [
        ({"type": "SoftmaxCrossEntropy", "weight": "balanced"}, "label", 3, "weight", WEIGHTS),
        (
            {"type": "SoftmaxCrossEntropy", "weight": "balanced", "ignore_index": 2},
            "label",
            3,
            "weight",
            [144 / 240, 144 / 48, 1.0],
        ),
        ({"type": "HingeLoss", "weight": "balanced"}, "label", 3, "weight", WEIGHTS),
        ({"type": "FocalLoss", "alpha": "balanced"}, "label", 3, "alpha", WEIGHTS),
        ({"type": "BCEWithLogitsLoss", "pos_weight": "balanced"}, "many", 2, "pos_weight", [120 / 30, 144 / 6]),
        ({"type": "SigmoidFocalLoss", "alpha": "balanced"}, "many", 2, "alpha", (120 + 144) / 300),
    ],
)
def test_balanced_weights_are_those_of_the_classes(loss: Any, target: str, outputs: int, key: str, wanted: Any) -> None:
    made = Net.from_config(config(loss, target, outputs))
    assert getattr(made.layers["loss"], key) == pytest.approx(wanted)
    assert made.config.resolved()["net"][1][key] == pytest.approx(wanted)


def test_numbers_travel_so_that_nobody_needs_the_data() -> None:
    text = config({"type": "SoftmaxCrossEntropy", "weight": "balanced"})
    text["data"] = {"train": {"type": "NPZ", "path": "d.npz"}, "split": {"val": 0.2, "stratify": "label"}}
    result = train(text, console=QUIET)
    Path("d.npz").unlink()
    assert open_trained(result.run).net.layers["loss"].weight == pytest.approx([120 / (3 * n) for n in (96, 19, 5)])


def test_a_fold_counts_its_own_samples() -> None:
    text = config({"type": "SoftmaxCrossEntropy", "weight": "balanced"})
    text["data"]["split"] = {"stratify": "label"}
    text["train"] = {"epochs": 1}
    result = cross_validate(text, 2, console=QUIET)
    for fold in result.folds:
        assert open_trained(fold.run).net.layers["loss"].weight == pytest.approx(WEIGHTS)


def test_balanced_without_classes_is_refused() -> None:
    loss = {"type": "SoftmaxCrossEntropy", "weight": "balanced"}
    gap = {"data": {"train": {"type": "Arrays", "arrays": {"x": ARRAYS["x"], "label": LABEL * 2}}}}
    bare = {"inputs": {"x": {"shape": [2, 3]}, "t": {"shape": [2], "dtype": "int64"}}}
    blocks = {"b": {"args": [], "net": [{"name": "l", "bottom": ["fc", "label"], **loss}]}}
    for text, words in (
        ({**bare, "net": [{"name": "loss", "bottom": ["x", "t"], **loss}]}, "there is no data section"),
        ({**config(loss), **gap}, "class 1 has no sample in data.train"),
        (config(loss, "lable"), "lable is no blob of data.train"),
        (config({"type": "BCEWithLogitsLoss", "pos_weight": "balanced"}, "x", 4), "the targets are not 0 and 1"),
        (config({**loss, "weight": "blanced"}), "weight"),
        ({**config({"type": "SoftmaxCrossEntropy"}), "blocks": blocks}, "a loss in a block cannot be balanced"),
    ):
        with pytest.raises(LayerForgeError, match=words):
            Net.from_config(text)
