"""Filled: constants and random numbers in the place of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import isolate
from support.pages import blocks
from support.resuming import whole_and_resumed

from layerforge import load_model
from layerforge.arrays.philox import host_generator
from layerforge.config.data_section import DataSection
from layerforge.config.document import Config
from layerforge.config.yaml_file import parse_yaml
from layerforge.data import Loader, filled, open_data
from layerforge.schema.errors import ConfigError, DataError
from layerforge.schema.registry import SOURCES

BLOBS = {
    "data": {"shape": [3, 4, 5], "filler": {"type": "gaussian", "mean": 2, "std": 3}},
    "label": {"shape": [], "classes": 7, "filler": {"type": "uniform", "max": 7}},
    "ones": {"shape": [2], "filler": {"type": "constant", "value": 1}},
}
NET = [
    {"name": "flat", "type": "Flatten", "bottom": "data"},
    {"name": "fc", "type": "Linear", "out_features": 7},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return isolate(monkeypatch, tmp_path)


def source(**values: Any) -> Any:
    return SOURCES.get("Filled")(**{"blobs": BLOBS, "samples": 500, **values})


def loader(**feed: Any) -> Loader:
    config = Config.from_dict(
        {"data": {"train": {"type": "Filled", "blobs": BLOBS, "samples": 50, **feed}}, "net": NET}
    )
    config.raise_errors()
    return open_data(config.data).loaders["train"]


def test_blobs_are_what_their_fillers_say() -> None:
    made = source()
    specs, arrays = made.specs(), made.load()
    assert specs["data"].shape == (3, 4, 5) and (specs["label"].role, specs["label"].high) == ("index", 7)
    data = arrays["data"][:]
    assert data.shape == (500, 3, 4, 5) and abs(data.mean() - 2) < 0.1 and abs(data.std() - 3) < 0.1
    assert np.bincount(arrays["label"], minlength=7).min() > 40
    assert (arrays["ones"][:] == 1).all()


def test_samples_depend_on_seed_and_number_alone() -> None:
    whole, part = source().load()["data"], source(split="all[100:200]").load()["data"]
    assert (part[:] == whole[100:200]).all() and (whole[np.array([9, 3])] == whole[:][[9, 3]]).all()
    assert (source(seed=1).load()["data"][:3] != whole[:3]).all()
    assert len(np.unique(whole[:])) > 29_000


def test_single_numbers_of_all_samples_are_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[str] = []
    monkeypatch.setattr(filled, "host_generator", lambda s, name: streams.append(name) or host_generator(s, name))
    few, many = (source(samples=n).load()["label"] for n in (100, 1000))
    assert streams.count("filled/label") == 2 and len(streams) < 20
    assert (many[:100] == few).all() and set(many) == set(range(7)) and many.dtype == np.int64
    with pytest.raises(ConfigError, match="'label', a single number, it is at most 16777216"):
        source(samples=1 << 25)


def test_batches_are_the_same_for_any_number_of_workers() -> None:
    batches = [[b.blobs for b in loader(batch_size=8, workers=n).epoch(1)] for n in (1, 2, 5)]
    for other in batches[1:]:
        for a, b in zip(batches[0], other, strict=True):
            assert all((a[name] == b[name]).all() for name in a)


def test_a_run_goes_on_bit_for_bit_and_its_configuration_is_whole() -> None:
    train = {"type": "Filled", "blobs": BLOBS, "samples": 40, "batch_size": 8}
    config: dict[str, Any] = {"data": {"train": train}, "net": NET, "solver": {"lr": 0.1}}
    run = whole_and_resumed({**config, "checkpoint": {"every": {"steps": 2}}}, 7, 3)
    again = Config.load(Path(run) / "config.resolved.yaml")
    assert again.data.train.source.config == source(samples=40).config
    assert load_model(run).predict_proba(np.zeros((2, 3, 4, 5))).shape == (2, 7)


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        ({}, "shape is required"),
        ({"shape": [0]}, "shape must be >= 1"),
        ({"shape": [2], "filler": "gausian"}, "did you mean 'gaussian'"),
        ({"shape": [1 << 20, 1 << 20]}, "more than 67108864 numbers"),
        ({"shape": [2], "filler": "bilinear"}, "bilinear"),
        (3, "blobs must be a mapping"),
    ],
)
def test_blobs_that_cannot_be(blob: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        source(blobs={"x": blob})


def test_classes_that_a_filler_does_not_give() -> None:
    made = source(blobs={"label": {"shape": [], "classes": 3, "filler": {"type": "constant", "value": 3}}})
    with pytest.raises(DataError, match="gets 3 to 3 from its filler"):
        made.load()


def test_the_block_of_the_page() -> None:
    config = next(block for block in blocks("data.md", "Sources", "yaml") if "Filled" in block)
    data = open_data(DataSection.from_config(parse_yaml(config, "data.md")["data"]))
    assert next(data.loaders["train"].epoch()).blobs["data"].shape == (64, 3, 32, 32)
