"""Lists of HDF5 files: their samples follow each other, whole or streamed; whole numbers in floats may be classes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.data_files import isolate
from support.resuming import whole_and_resumed
from support.tools import demand_that

from layerforge.config.document import Config
from layerforge.data import open_data, streaming
from layerforge.data.hdf5_stream import StreamedDataset
from layerforge.schema.errors import ConfigError, DataError, LayerForgeError
from layerforge.schema.registry import SOURCES
from layerforge.training.fingerprints import files_of

RNG = np.random.default_rng(8)
COUNTS = (70, 1, 129, 50, 33, 40)
X = RNG.normal(size=(sum(COUNTS), 6)).astype(np.float32)
LABEL = RNG.integers(0, 3, len(X))
NET = [
    {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 3},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = isolate(monkeypatch, tmp_path)
    monkeypatch.setattr(streaming, "CHUNK", 40 * 24)  # bytes: 40 samples
    (folder / "parts").mkdir()
    first = 0
    for number, count in enumerate(COUNTS):
        rows = slice(first, first + count)
        with h5py.File(folder / "parts" / f"{number}.h5", "w") as file:
            file["x"] = X[rows].astype("f4" if number % 2 else "f8")
            file["label"] = LABEL[rows].astype("f4" if number % 3 else "i4")
        first += count
    names = [f"parts/{n}.h5" for n in range(len(COUNTS))]
    (folder / "list.txt").write_text("\n".join([*names[:2], "", f"  {folder}/{names[2]} ", *names[3:]]) + "\n")
    return folder


def source(**values: Any) -> Any:
    return SOURCES.get("HDF5")(**{"path": "list.txt", "roles": {"label": "index"}, **values})


def opened(**feed: Any) -> Any:
    train = {"type": "HDF5", "path": "list.txt", "roles": {"label": "index"}, "batch_size": 32, **feed}
    config = Config.from_dict({"data": {"train": train}, "net": NET})
    config.raise_errors()
    return open_data(config.data)


def samples(loader: Any, epoch: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    batches = list(loader.epoch(epoch))
    blobs = {name: np.concatenate([b.blobs[name] for b in batches]) for name in batches[0].blobs}
    return np.concatenate([b.samples for b in batches]), blobs


def refused(**values: Any) -> LayerForgeError:
    with pytest.raises(LayerForgeError) as caught:
        source(**values).load()
    return caught.value


def test_a_list_of_caffe() -> None:
    folder = os.environ.get("LAYERFORGE_CAFFE", "")
    demand_that(os.path.isdir(folder), "files of Caffe in $LAYERFORGE_CAFFE")
    made = source(path=f"{folder}/files/h5list.txt")
    arrays = made.load()
    assert made.count("all") == 9 and arrays["data"].shape == (9, 3, 2)
    assert arrays["label"].tolist() == [2, 2, 2, 1, 0, 1, 3, 2, 0], "floats in one file, integers in the other"
    np.testing.assert_allclose(arrays["data"][[0, 5], 0, 0], [-0.7100408, 0.2953394], rtol=1e-6)


def test_samples_follow_each_other_across_files(here: Path) -> None:
    arrays = source(split="all[60:210]").load()
    assert (arrays["x"] == X[60:210]).all() and (arrays["label"] == LABEL[60:210]).all()
    assert arrays["label"].dtype == np.int64
    assert source().labels()["label"].tolist() == LABEL.tolist()
    assert [path.name for path in files_of(source())] == ["list.txt", *(f"{n}.h5" for n in range(len(COUNTS)))]
    moved = here / "elsewhere.txt"
    moved.write_text("0.h5\n")
    assert len(source(path="elsewhere.txt", folder="parts").load()["x"]) == 70


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_streamed_batches_are_those_of_the_files(workers: int) -> None:
    streamed = opened(stream=True, shuffle_buffer=90, workers=workers).loaders["train"]
    assert isinstance(streamed.arrays["x"].whole, StreamedDataset)
    for epoch in (0, 1):
        order, blobs = samples(streamed, epoch)
        assert sorted(order) == list(range(len(X)))
        assert (blobs["x"] == X[order]).all() and (blobs["label"] == LABEL[order]).all()
    assert order.tolist() != samples(streamed, 0)[0].tolist()
    assert order.tolist() == samples(opened(stream=True, shuffle_buffer=90).loaders["train"], 1)[0].tolist()


def test_maps_of_classes_are_streamed_as_integers(here: Path) -> None:
    maps = RNG.integers(0, 5, (9, 4, 4))
    for name, part in (("a", maps[:6]), ("b", maps[6:])):
        with h5py.File(f"{name}.h5", "w") as file:
            file["label"] = part.astype("f4")
    Path("maps.txt").write_text("a.h5\nb.h5")
    found = source(path="maps.txt", stream=True).load()["label"]
    assert found.dtype == np.int64 and (found[:] == maps).all()
    with h5py.File("c.h5", "w") as file:
        file["label"] = np.where(np.arange(48).reshape(3, 4, 4) == 37, 0.5, 1)
    Path("maps.txt").write_text("a.h5\nc.h5")
    with pytest.raises(DataError, match=r"c.h5: 'label': sample 2 is 0.5, but an index is a whole number"):
        source(path="maps.txt", stream=True).load()["label"][:]


def test_a_run_over_a_list_goes_on_bit_for_bit() -> None:
    feed = {"type": "HDF5", "path": "list.txt", "roles": {"label": "index"}, "batch_size": 32, "stream": True}
    config: dict[str, Any] = {"data": {"train": {**feed, "shuffle_buffer": 80}}, "net": NET, "solver": {"lr": 0.1}}
    whole_and_resumed({**config, "checkpoint": {"every": {"steps": 5}}}, 14, 6)


def test_lists_that_cannot_be_read(here: Path) -> None:
    Path("gone.txt").write_text("parts/0.h5\n\nparts/9.h5\n")
    error = refused(path="gone.txt")
    assert error.exit_code == 3 and error.place is not None and error.place.line == 3 and "9.h5" in error.message
    Path("empty.txt").write_text("\n \n")
    Path("bytes.txt").write_bytes(b"\xff\xfe\x00")
    Path("notes.txt").write_text("list.txt\n")
    for path, words in (
        ("empty.txt", "names no files"),
        ("bytes.txt", "neither an HDF5 file nor a list"),
        ("notes.txt", "not an HDF5 file"),
    ):
        assert words in refused(path=path).message


def test_files_of_a_list_have_the_same_datasets(here: Path) -> None:
    assert "'label' is real ()" in refused(roles=None).message and "index" in (refused(roles=None).hint or "")
    with pytest.raises(ConfigError, match="roles names 'lable', which is no blob"):
        source(roles={"lable": "index"}).specs()
    with pytest.raises(ConfigError, match="'label' must be one of index, real, got 'class'"):
        source(roles={"label": "class"})
    with h5py.File("parts/3.h5", "r+") as file:
        file["more"] = np.ones(50)
        del file["x"]
        file["x"] = np.ones((50, 7))
    assert "'x' is real (7,), in" in refused(blobs={"x": "x", "label": "label"}).message
    with h5py.File("parts/3.h5", "r+") as file:
        del file["x"]
    assert "'more' is real" in refused().message and "has no array 'x'" in refused(blobs={"x": "x"}, roles=None).message


def test_whole_numbers_in_floats_are_classes_in_a_single_file_too(here: Path) -> None:
    made = source(path="parts/1.h5")
    assert not made.specs()["label"].is_real and made.load()["label"].dtype == np.int64
    with h5py.File("parts/1.h5", "r+") as file:
        file["label"][0] = np.nan
    assert "sample 0 is nan, but an index is a whole number" in refused(path="parts/1.h5").message


def test_a_file_that_becomes_shorter_is_not_waited_for(here: Path) -> None:
    found = source(stream=True).load()["x"]
    with h5py.File("parts/new.h5", "w") as file:
        file["x"], file["label"] = X[:3], LABEL[:3]
    os.replace("parts/new.h5", "parts/2.h5")
    with pytest.raises(DataError, match=r"2.h5: is not an HDF5 file, or damaged .'x' changed while it was read"):
        found[120:130]
