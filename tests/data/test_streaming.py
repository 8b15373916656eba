"""Samples that stay in their file: NPY and HDF5 in chunks, shuffled with a buffer, as exact as those in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.data_files import isolate
from support.resuming import whole_and_resumed

from layerforge import load_model
from layerforge.config.document import Config
from layerforge.data import open_data, streaming
from layerforge.data.lazy import Lazy
from layerforge.data.streaming import by_chunks
from layerforge.schema.errors import DataError, LayerForgeError

RNG = np.random.default_rng(4)
X, LABEL = RNG.normal(size=(500, 6)).astype(np.float32), RNG.integers(0, 3, 500)
NET = [
    {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 3},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
]
SOURCES = {
    "NPY": {"type": "NPY", "path": "x.npy", "label": "label.npy"},
    "HDF5": {"type": "HDF5", "path": "d.h5"},
}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = isolate(monkeypatch, tmp_path)
    monkeypatch.setattr(streaming, "CHUNK", 40 * 24)  # bytes: 40 samples
    np.save("x.npy", X)
    np.save("label.npy", LABEL)
    with h5py.File("d.h5", "w") as file:
        file.create_dataset("x", data=X, chunks=(7, 6), compression="gzip")
        file["label"] = LABEL
    return folder


def opened(source: Any, seed: int = 0, split: Any = None, transform: Any = None, **feed: Any) -> Any:
    data = {"train": {**SOURCES[source], "stream": True, "batch_size": 32, **feed}, "split": split}
    config = Config.from_dict({"data": {**data, "transform": transform}, "net": NET})
    config.raise_errors()
    return open_data(config.data, seed=seed)


def samples(loader: Any, epoch: int = 0, start: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    batches = list(loader.epoch(epoch, start))
    blobs = {name: np.concatenate([b.blobs[name] for b in batches]) for name in batches[0].blobs}
    return np.concatenate([b.samples for b in batches]), blobs


@pytest.mark.parametrize("source", SOURCES)
def test_streamed_samples_are_those_of_the_file(source: str) -> None:
    loader = opened(source, shuffle_buffer=90).loaders["train"]
    assert isinstance(loader.arrays["x"], Lazy) and isinstance(loader.arrays["label"], np.ndarray)
    orders = []
    for epoch in (0, 1):
        order, blobs = samples(loader, epoch)
        assert sorted(order) == list(range(500))
        assert (blobs["x"] == X[order]).all() and (blobs["label"] == LABEL[order]).all()
        orders.append(order)
    assert orders[0].tolist() != orders[1].tolist()
    rest, _ = samples(loader, 1, start=9)  # as a resumed run begins
    assert rest.tolist() == orders[1][9 * 32 :].tolist()
    assert samples(opened(source, shuffle_buffer=90, workers=3).loaders["train"], 1)[0].tolist() == orders[1].tolist()


def test_a_buffer_reaches_into_few_chunks_and_mixes_them() -> None:
    chunks = np.arange(5000) // 100
    order = by_chunks(chunks, 1000, np.random.Philox(1))
    windows = chunks[order].reshape(5, 1000)
    assert sorted(order) == list(range(5000))
    assert all(len(np.unique(window)) == 10 for window in windows)
    assert all(len(np.unique(window[:50])) > 5 for window in windows)
    assert np.unique(windows[0]).tolist() != list(range(10))


def test_each_chunk_is_read_once_in_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    from layerforge.data.npy import StreamedNpy

    read: list[int] = []
    load = StreamedNpy.load
    monkeypatch.setattr(StreamedNpy, "load", lambda self, start, stop: read.append(start) or load(self, start, stop))
    loader = opened("NPY", shuffle_buffer=100, workers=1).loaders["train"]
    loader.arrays["x"].whole._kept.clear()
    read.clear()
    samples(loader)
    assert sorted(read) == list(range(0, 500, 40)) and len(loader.arrays["x"].whole._kept) <= 8


def test_splits_and_statistics_of_streamed_samples() -> None:
    data = opened("NPY", split={"val": 0.2, "stratify": "label"}, transform={"mean": "channel", "std": "channel"})
    (train_order, train_blobs), (val_order, _) = samples(data.loaders["train"]), samples(data.loaders["val"])
    assert len(train_order) == 400 and len(val_order) == 100
    np.testing.assert_allclose(train_blobs["x"].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(train_blobs["x"].std(0), 1, rtol=1e-5)
    kept = data.loaders["train"].arrays["x"].rows
    assert np.array_equal(train_blobs["label"], LABEL[kept[train_order]])


def test_a_streamed_run_goes_on_bit_for_bit_and_predicts() -> None:
    feed = {**SOURCES["NPY"], "stream": True, "batch_size": 32, "shuffle_buffer": 100}
    config: dict[str, Any] = {"data": {"train": feed}, "net": NET}
    config |= {"solver": {"lr": 0.1, "momentum": 0.9}, "checkpoint": {"every": {"steps": 10}}}
    whole = whole_and_resumed(config, 24, 10)
    Path("x.npy").rename("asked.npy")
    model = load_model(whole)
    assert (model.predict_proba("asked.npy") == model.predict_proba(X)).all()


def test_files_that_are_not_right_are_refused() -> None:
    np.save("f.npy", np.asfortranarray(X))
    bad = X.copy()
    bad[77, 2] = np.nan
    np.save("nan.npy", bad)
    Path("short.npy").write_bytes(Path("x.npy").read_bytes()[:-8])
    Path("text.npy").write_text("no array")
    np.save("few.npy", LABEL[:-1])
    for path, words in (
        ("f.npy", "stores its first axis fastest"),
        ("short.npy", "should have 12000 bytes after its header, and has 11992"),
        ("text.npy", "is not an array of numbers"),
        ("gone.npy", "there is no such file"),
    ):
        with pytest.raises(LayerForgeError, match=words):
            opened("NPY", path=path)
    with pytest.raises(DataError, match=r"samples counted from 40\): sample 37 is not finite"):
        samples(opened("NPY", path="nan.npy").loaders["train"])
    with pytest.raises(LayerForgeError, match="different numbers of samples"):
        opened("NPY", label="few.npy")
    loader = opened("HDF5").loaders["train"]
    loader.arrays["x"].whole._kept.clear()
    loader.arrays["x"].whole.name = "y"
    with pytest.raises(DataError, match="is not an HDF5 file, or damaged"):
        samples(loader)


def test_memory_is_bounded_by_the_buffer_and_not_by_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose memory is limited goes through a file that is larger than the limit."""
    with open("big.npy", "wb") as file:  # 1.6 GB, of which nothing is stored
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (400_000, 1000)})
        file.truncate(file.tell() + 1_600_000_000)
    code = """
import resource
from layerforge.config.document import Config
from layerforge.data import open_data
data = {"train": {"type": "NPY", "path": "big.npy", "batch_size": 256, "shuffle_buffer": 2000}}
config = Config.from_dict({"data": data, "net": [{"name": "r", "type": "ReLU", "bottom": "x"}]})
loader = open_data(config.data).loaders["train"]
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(batch.count for _, batch in zip(range(40), loader.epoch()))
print(count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, grown = map(int, done.stdout.split())
    assert count == 40 * 256 and grown < 120
