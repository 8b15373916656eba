"""Parquet files that stay in their file: what is fitted, every sample and every error are as of the whole table."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import isolate
from support.resuming import whole_and_resumed
from support.tools import demand

from layerforge import load_model
from layerforge.config.document import Config
from layerforge.data import open_data, parquet_stream, streaming
from layerforge.data.lazy import Lazy
from layerforge.data.parquet import Parquet
from layerforge.data.parquet_stream import ParquetSheet
from layerforge.schema.errors import LayerForgeError

ROWS = 400
RNG = np.random.default_rng(8)
NET = [
    {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 3},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
]


def holes(values: Any, share: float = 0.1, start: int = 0) -> list[Any]:
    """The values, of which some are None from a row on."""
    gone = (RNG.random(len(values)) < share) & (np.arange(len(values)) >= start)
    return [None if out else value for out, value in zip(gone, np.asarray(values).tolist(), strict=True)]


COLUMNS: dict[str, Any] = {
    "a": RNG.normal(3, 2, ROWS),
    "b": holes(RNG.lognormal(0, 2, ROWS)),
    "n": holes(RNG.integers(0, 900, ROWS), start=200),  # whole numbers without gaps in the first row groups
    "size": holes(RNG.integers(1, 5, ROWS), start=200),
    "city": holes(RNG.choice(["Bonn", "Kiel", "Ulm", " Ulm "], ROWS)),
    "kind": RNG.choice(["p", "q", "r"], ROWS),
    "ok": holes(RNG.random(ROWS) < 0.5, start=100),
    "id2": RNG.permutation(ROWS),
    "class": RNG.choice(["yes", "no", "perhaps"], ROWS),
    "y": RNG.normal(100, 7, ROWS),
    "w": RNG.random(ROWS),
}
WORDS = {"label": "class", "weight": "w", "ignore": ["y", "id2"], "categorical": {"city": "one_hot", "size": "one_hot",
         "kind": "index"}}  # fmt: skip
KEYS: dict[str, dict[str, Any]] = {
    "median": {**WORDS, "missing": {"strategy": "median", "indicator": True}, "standardize": True},
    "mean": {**WORDS, "missing": "mean", "unknown": "ignore"},
    "target": {"target": {"column": ["y", "a"], "standardize": True}, "columns": ["id2", "kind", "n", "b", "w"],
               "categorical": ["kind"], "missing": {"strategy": "constant", "value": -1}},
    "plain": {"label": "size", "columns": ["a", "y"], "missing": "error"},
}  # fmt: skip
COMPLETE = {**COLUMNS, "size": RNG.integers(0, 3, ROWS)}


def write(path: str, columns: dict[str, Any], group: int = 37) -> str:
    demand("pyarrow")
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    table = arrow.table(columns)
    if "city" in columns:
        place = table.column_names.index("city")
        table = table.set_column(place, "city", table["city"].dictionary_encode())
    parquet.write_table(table, path, row_group_size=group)
    return path


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = isolate(monkeypatch, tmp_path)
    monkeypatch.setattr(streaming, "CHUNK", 2000)  # bytes: a few samples
    monkeypatch.setattr(parquet_stream, "ROWS", 60)
    write("t.parquet", COLUMNS)
    return folder


def opened(stream: bool, keys: dict[str, Any], path: str = "t.parquet", data: Any = None, **feed: Any) -> Any:
    source = {"type": "Parquet", "path": path, "stream": stream, "batch_size": 32, **keys, **feed}
    config = Config.from_dict({"data": {"train": source, **(data or {})}, "net": NET})
    config.raise_errors()
    return open_data(config.data)


def samples(loader: Any, epoch: int = 0, start: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    batches = list(loader.epoch(epoch, start))
    blobs = {name: np.concatenate([b.blobs[name] for b in batches]) for name in batches[0].blobs}
    return np.concatenate([b.samples for b in batches]), blobs


@pytest.mark.parametrize(("keys", "group"), [*((keys, 37) for keys in KEYS), ("median", ROWS)])
def test_what_is_fitted_and_every_batch_are_those_of_the_whole_table(keys: str, group: int) -> None:
    write("t.parquet", COMPLETE if keys == "plain" else COLUMNS, group)
    rest = {"type": "Parquet", "path": "t.parquet", "split": "all[70%:]", "batch_size": 32}
    for data in ({"split": {"val": 0.3}}, {"val": rest}):
        feed = {"split": "all[:70%]"} if "val" in data else {}
        whole, lazy = (opened(stream, KEYS[keys], data=data, shuffle=False, **feed) for stream in (False, True))
        assert isinstance(lazy.loaders["train"].arrays["x"], Lazy)
        sources = [d.section.train.source for d in (whole, lazy)]
        assert sources[0].specs() == sources[1].specs() and sources[0].class_names == sources[1].class_names
        assert sources[0].reader().plain() == sources[1].reader().plain() and sources[0].notes() == sources[1].notes()
        assert whole.transform.kinds == lazy.transform.kinds
        for section in ("train", "val"):
            (order, blobs), (same, mine) = (samples(d.loaders[section]) for d in (whole, lazy))
            assert order.tolist() == same.tolist() and blobs.keys() == mine.keys()
            for name, array in blobs.items():
                assert array.dtype == mine[name].dtype and array.tobytes() == mine[name].tobytes()


@pytest.mark.parametrize("group", [37, ROWS])
def test_an_epoch_is_shuffled_reproducibly_and_reads_each_row_group_once(
    group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("t.parquet", COLUMNS, group)
    _, expected = samples(opened(False, KEYS["median"], shuffle=False).loaders["train"])
    loader = opened(True, KEYS["median"], shuffle_buffer=90, workers=1).loaders["train"]
    begun: list[int] = []
    parts = ParquetSheet.parts

    def counted(self: Any, places: Any, *group: Any) -> Any:
        begun.extend(group[:1])
        return parts(self, places, *group)

    monkeypatch.setattr(ParquetSheet, "parts", counted)
    loader.arrays["x"].whole._kept.clear()
    loader.arrays["x"].whole._begun.clear()
    order, blobs = samples(loader)
    assert sorted(begun) == list(range(-(-ROWS // group)))
    assert sorted(order) == list(range(ROWS)) and order.tolist() != sorted(order)
    assert all((blobs[name] == expected[name][order]).all() for name in blobs)
    second = samples(loader, 1)[0].tolist()
    assert second != order.tolist()
    again = opened(True, KEYS["median"], shuffle_buffer=90, workers=3).loaders["train"]
    rest, blobs = samples(again, 1, start=7)
    assert rest.tolist() == second[7 * 32 :] and (blobs["x"] == expected["x"][rest]).all()


def test_val_and_predictions_use_what_train_has_learned() -> None:
    some = {name: COLUMNS[name][250:] for name in ("kind", "city", "ok", "size", "n", "class", "w", "b", "a")}
    write("val.parquet", some, 50)
    keys = {**KEYS["median"], "split": "all[:250]", "categorical": ["city", "size", "kind"]}
    val = {"type": "Parquet", "path": "val.parquet", "batch_size": 32}
    pairs = [opened(stream, keys, data={"val": {**val, "stream": stream}}) for stream in (True, False)]
    mine, theirs = (samples(data.loaders["val"])[1]["x"] for data in pairs)
    assert isinstance(pairs[0].loaders["val"].arrays["x"], Lazy) and mine.tobytes() == theirs.tobytes()
    feed = {"type": "Parquet", "path": "t.parquet", "stream": True, "batch_size": 32, "shuffle_buffer": 80, **keys}
    config: dict[str, Any] = {"data": {"train": feed}, "net": NET}
    config |= {"solver": {"lr": 0.1, "momentum": 0.9}, "checkpoint": {"every": {"steps": 5}}}
    whole = whole_and_resumed(config, 12, 5)
    Path("t.parquet").unlink()
    model = load_model(whole)
    assert model.predict("val.parquet").tolist() == model.predict({n: list(c) for n, c in some.items()}).tolist()


def said(stream: bool, cells: dict[str, Any], keys: dict[str, Any]) -> str:
    """The error of opening a table and going through its samples, of a part of the rows and then of the rest."""
    write("bad.parquet", cells)
    rest = {"type": "Parquet", "path": "bad.parquet", "split": "all[360:]", "stream": stream, "batch_size": 8}
    with pytest.raises(LayerForgeError) as caught:
        data = opened(stream, {**KEYS["median"], "split": "all[:360]", **keys}, "bad.parquet", {"val": rest})
        for loader in data.loaders.values():
            samples(loader)
    return str(caught.value)


def test_bad_cells_are_named_by_their_row() -> None:
    def changed(name: str, row: int, cell: Any) -> dict[str, Any]:
        return {**COLUMNS, name: [*COLUMNS[name][:row], cell, *COLUMNS[name][row + 1 :]]}

    complete = {"missing": "error", "categorical": []}
    words = {"missing": "error", "columns": ["kind", "a"], "categorical": ["kind"]}
    for cells, keys, expected in (
        (changed("a", 311, np.inf), {}, "row 311: column 0 'a'"),
        (changed("a", 311, np.nan), {**complete, "columns": ["a"]}, "row 311: column 0 'a'"),
        ({**COLUMNS, "b": ["2"] * 333 + ["two"] + ["2"] * (ROWS - 334)}, {}, "row 333: column 1 'b': 'two'"),
        (changed("city", 399, "Rom"), {}, "row 399: column 4 'city': the category 'Rom'"),
        (changed("kind", 222, None), words, "row 222: column 5 'kind': the cell is empty"),
        (changed("class", 70, None), {}, "row 70: column 8 'class'"),
        (changed("w", 50, -1), {}, "row 50: column 10 'w'"),
    ):
        text = said(True, cells, keys)
        assert expected in text and text == said(False, cells, keys)


def test_what_cannot_be_streamed_is_refused(here: Path) -> None:
    with pytest.raises(LayerForgeError, match="a streamed Parquet file is read in order"):
        opened(True, KEYS["median"], sampler={"type": "balanced", "label": "label"})
    good = Path("t.parquet").read_bytes()
    for content in (b"PAR1", good[:-9], good[:50] + b"\xff" * 900 + good[950:]):
        Path("bad.parquet").write_bytes(content)
        with pytest.raises(LayerForgeError, match=r"bad\.parquet: is no Parquet file, or damaged"):
            opened(True, KEYS["median"], "bad.parquet")
    write("none.parquet", {"a": np.zeros(0)})
    with pytest.raises(LayerForgeError, match="holds no rows"):
        opened(True, {}, "none.parquet")


def test_large_tables_are_streamed_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "WHOLE", ROWS * len(COLUMNS) * 8 - 1)
    assert isinstance(Parquet(path="t.parquet", **KEYS["mean"]).load()["x"], Lazy)
    monkeypatch.setattr(streaming, "WHOLE", ROWS * len(COLUMNS) * 8)
    assert isinstance(Parquet(path="t.parquet", **KEYS["mean"]).load()["x"], np.ndarray)


def test_memory_is_bounded_by_the_buffer_and_not_by_the_row_group() -> None:
    names, rows = [f"c{k}" for k in range(60)], 200_000  # 96 MB in memory
    write("big.parquet", dict.fromkeys(names, np.arange(rows) % 7 * 0.5), rows)
    code = """
import resource
from layerforge.config.document import Config
from layerforge.data import open_data
data = {"train": {"type": "Parquet", "path": "big.parquet", "stream": True, "batch_size": 256, "shuffle_buffer": 1000}}
config = Config.from_dict({"data": data, "net": [{"name": "r", "type": "ReLU", "bottom": "x"}]})
import pyarrow.parquet
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
loader = open_data(config.data).loaders["train"]
count = sum(batch.count for _, batch in zip(range(40), loader.epoch()))
print(count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, grown = map(int, done.stdout.split())
    assert count == 40 * 256 and grown < 60
