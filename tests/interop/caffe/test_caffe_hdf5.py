"""Weights and solver states in HDF5 are those of the binary files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.caffe_files import caffe_folder

from layerforge.interop.caffe import blobs, hdf5, loading
from layerforge.interop.caffe.message import Message
from layerforge.schema.errors import DataError


def weights_of(net: Message) -> dict[str, list[np.ndarray]]:
    return {
        layer.get("name"): [blobs.array(blob) for blob in layer.get("blobs")]
        for layer in net.get("layer")
        if layer.has("blobs")
    }


@pytest.mark.parametrize("name", ["inception_aux_iter_2", "siamese"])
def test_weights_of_caffe(name: str, tmp_path: Path) -> None:
    """Parameters that layers share stand in HDF5 only with their owner."""
    folder = caffe_folder() / "files/nets"
    stored = loading.load_weights(folder / f"{name}.caffemodel.h5")
    expected = weights_of(loading.load_weights(folder / f"{name}.caffemodel"))
    sharers = {layer for layer in expected if layer.endswith("_p")}
    found = weights_of(stored)
    assert found.keys() == expected.keys() - sharers
    for layer, arrays in found.items():
        for one, other in zip(arrays, expected[layer], strict=True):
            np.testing.assert_array_equal(one, other)
    again = tmp_path / "again.h5"
    again.write_bytes(hdf5.model_bytes(stored))
    assert loading.load_weights(again) == stored


def test_a_state_of_caffe(tmp_path: Path) -> None:
    folder, name = caffe_folder() / "files/nets", "siamese"
    stored = loading.load_state(folder / f"{name}_iter_2.solverstate.h5")
    expected = loading.load_state(folder / f"{name}_iter_2.solverstate")
    expected.set("learned_net", f"{name}_iter_2.caffemodel.h5")
    assert stored == expected
    again = tmp_path / "again.h5"
    again.write_bytes(hdf5.state_bytes(stored))
    assert loading.load_state(again) == stored
    with h5py.File(again) as ours, h5py.File(folder / f"{name}_iter_2.solverstate.h5") as theirs:
        for item in ("iter", "learned_net", "current_step"):
            assert (ours[item].shape, ours[item].dtype.kind) == (theirs[item].shape, theirs[item].dtype.kind)


def test_names_of_layers_with_slashes(tmp_path: Path) -> None:
    net = Message("NetParameter")
    for name in ("a/b", "a/b/c", "a"):
        layer = net.add("layer")
        layer.set("name", name)
        layer.set("blobs", [blobs.blob(np.full((2, 1), len(name), np.float32))])
    path = tmp_path / "w.h5"
    path.write_bytes(hdf5.model_bytes(net))
    found = weights_of(loading.load_weights(path))
    assert {name: arrays[0][0, 0] for name, arrays in found.items()} == {"a/b": 3, "a/b/c": 5, "a": 1}


def written(path: Path, **items: Any) -> Path:
    """A file with these datasets, `__` for the slash."""
    with h5py.File(path, "w") as file:
        for name, value in items.items():
            file[name.replace("__", "/")] = value
    return path


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ({"x": np.ones(2)}, "holds no weights"),
        ({"data__a__0": np.ones(2), "data__a__one": np.ones(2)}, "'data/a' has 0, one, which are not the numbers"),
        ({"data__a__0": np.ones(2), "data__a__9999999": np.ones(2)}, "'data/a' has 0, 9999999, which are not"),
        ({"data__a__0": np.ones(2), "data__a__01": np.ones(2)}, "'data/a' has 0, 01, which are not the numbers"),
        ({"data__a__0": np.ones(2, int)}, "'data/a/0' holds <i8, not numbers with a point"),
        ({"data__a__0": "words"}, "'data/a/0' holds object, not numbers"),
        ({"data__a__0": h5py.SoftLink("/x")}, "'data/a/0' is a soft link"),
        ({"data__a__0": h5py.ExternalLink("other.h5", "/x")}, "'data/a/0' is an external link"),
    ],
)
def test_files_without_weights(items: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as failed:
        loading.load_weights(written(tmp_path / "w.h5", **items))
    assert "w.h5" in str(failed.value)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ({"history__0": np.ones(2)}, "no number 'iter'"),
        ({"iter": np.ones(2, int)}, "'iter' is not one whole number"),
        ({"iter": np.array([-1])}, "'iter' is not one whole number"),
        ({"iter": np.array([1.5])}, "'iter' is not one whole number"),
        ({"iter": 3, "history__1": np.ones(2)}, "'history' has 1, but no 0"),
        ({"iter": 3, "learned_net": h5py.SoftLink("/iter")}, "'learned_net' is a link"),
        ({"iter": 3, "learned_net": ["a", "b"]}, "'learned_net' is not one short text"),
        ({"iter": 3, "learned_net": "x" * 100_000}, "'learned_net' is not one short text"),
    ],
)
def test_files_without_a_state(items: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        loading.load_state(written(tmp_path / "s.h5", **items))


def test_a_state_of_a_file_that_another_program_wrote(tmp_path: Path) -> None:
    state = loading.load_state(written(tmp_path / "s.h5", iter=3, learned_net="grün.h5", history__0=np.ones((2, 2))))
    assert (state.get("iter"), state.get("learned_net"), state.get("current_step")) == (3, "grün.h5", 0)
    assert blobs.array(state.get("history")[0]).shape == (2, 2)


def test_a_damaged_file(tmp_path: Path) -> None:
    content = hdf5.state_bytes(Message("SolverState", iter=1))
    path = tmp_path / "s.h5"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"s\.h5"):
        loading.load_state(path)
