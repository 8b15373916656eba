"""Sources of sparse samples: svmlight files and CSR matrices in NPZ, through the transform to a training and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from support.inputs import read_inputs

from layerforge import Net
from layerforge.arrays.sparse import CSR
from layerforge.arrays.spec import Spec
from layerforge.config.data_section import DataSection
from layerforge.data.opening import open_data
from layerforge.schema.errors import ConfigError, DataError, LayerForgeError
from layerforge.schema.registry import SOURCES

FULL = np.array([[0, 1.5, 0, 0], [0, 0, 0, 0], [2, 0, 0, -3], [0, 0, 4, 0]])


def source(kind: str, path: Path, **values: Any) -> Any:
    return SOURCES.get(kind)(path=str(path), **values)


def text(folder: Path, content: str, name: str = "a.svm") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def matrix(folder: Path, form: str = "csr", full: np.ndarray = FULL, **others: Any) -> Path:
    """A file of save_npz's arrays and others."""
    made = sp.csr_array(full).asformat(form)
    path = folder / "a.npz"
    arrays = {"data": made.data, "indices": made.indices, "indptr": made.indptr, "shape": made.shape}
    np.savez(path, **{**arrays, "format": np.bytes_(form.encode()), **others})
    return path


def section(**train: Any) -> DataSection:
    return DataSection.from_config({"train": {"batch_size": 2, "shuffle": False, **train}})


# svmlight -------------------------------------------------------------------------------------------------------------


def test_a_text_of_samples(tmp_path: Path) -> None:
    content = "# head\n-1 2:1.5\n+1 qid:3  # nothing but a remark\n\n1 1:2 4:-3 \r\n-1 3:4e0 # x:y\n"
    found = source("SVMLight", text(tmp_path, content))
    arrays = found.load()
    np.testing.assert_array_equal(arrays["x"].toarray(), FULL)
    assert arrays["label"].tolist() == [0, 1, 1, 0]
    assert found.class_names == ("-1", "1")
    assert found.specs() == {"x": Spec((4,), sparse="csr"), "label": Spec((), role="index", low=0, high=2)}


def test_features_count_from_zero_where_train_names_feature_zero(tmp_path: Path) -> None:
    zero = source("SVMLight", text(tmp_path, "1 0:1 2:3\n"))
    assert zero.load()["x"].toarray().tolist() == [[1, 0, 3]]
    one = source("SVMLight", text(tmp_path, "1 0:1 2:3\n"), first_feature=1)
    with pytest.raises(DataError, match="feature 0 is out of range") as caught:
        one.load()
    assert "data.train says how many features" in str(caught.value)
    val = source("SVMLight", text(tmp_path, "1 1:1 2:3\n", "b.svm"))
    val.follow(zero)
    assert val.load()["x"].toarray().tolist() == [[0, 1, 3]]


def test_val_has_the_width_and_the_classes_of_train(tmp_path: Path) -> None:
    train = source("SVMLight", text(tmp_path, "3 1:1\n7 5:1\n"))
    val = source("SVMLight", text(tmp_path, "7 2:1\n", "b.svm"))
    val.follow(train)
    assert val.load()["x"].shape == (1, 5)
    assert val.load()["label"].tolist() == [1]
    for content, words in (("7 6:1\n", "feature 6 is out of range: 1 to 5"), ("5 1:1\n", "class '5' is not among")):
        other = source("SVMLight", text(tmp_path, content, "c.svm"))
        other.follow(train)
        with pytest.raises(DataError, match=words):
            other.load()


def test_labels_that_are_not_whole_are_targets(tmp_path: Path) -> None:
    path = text(tmp_path, "0.5 1:1\n2 1:1\n")
    assert source("SVMLight", path).load()["label"].tolist() == [0.5, 2.0]
    assert source("SVMLight", text(tmp_path, "1 1:1\n", "b.svm"), label_role="real").specs()["label"] == Spec(())
    with pytest.raises(DataError, match=r"label '0.5' is no class"):
        source("SVMLight", path, label_role="index").load()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1 2:1 x", "'x' is no pair such as 12:0.5"),
        ("1 2:1:3", "'2:1:3' is no pair"),
        ("1 -2:1", "'-2:1' is no pair"),
        ("1 2:nan", "the value of feature 2 is not a finite number"),
        ("1 2:1_0", "the value of feature 2 is not a finite number"),
        ("1 3:1 2:1", "feature 2 is named twice, or behind a larger one"),
        ("1 2:1 2:1", "feature 2 is named twice"),
        ("1 9999999999:1", "feature 9999999999 is out of range"),
        ("one 2:1", "label 'one' is not a finite number"),
        ("1,2 2:1", "several labels of one sample"),
        ("2:1", "is no sample: label feature:value"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path: Path, line: str, words: str) -> None:
    path = text(tmp_path, f"1 1:1\n# a remark\n{line}\n1 1:1\n")
    with pytest.raises(DataError, match=words) as caught:
        source("SVMLight", path).load()
    assert caught.value.place is not None
    assert (caught.value.place.file, caught.value.place.line) == (str(path), 3)


@pytest.mark.parametrize(("content", "words"), [("", "the file is empty"), ("# x\n\n", "holds no samples")])
def test_a_file_without_samples(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        source("SVMLight", text(tmp_path, content)).load()


# CSR in NPZ -----------------------------------------------------------------------------------------------------------


def test_a_matrix_of_scipys_with_labels_in_another_file(tmp_path: Path) -> None:
    path, labels = tmp_path / "x.npz", tmp_path / "t.npz"
    sp.save_npz(path, sp.csr_array(FULL))
    np.savez(labels, label=np.arange(4))
    found = source("SparseNPZ", path, others=str(labels), split="all[1:]")
    arrays = found.load()
    np.testing.assert_array_equal(arrays["x"].toarray(), FULL[1:])
    assert arrays["label"].tolist() == [1, 2, 3]
    assert found.count("all") == 4
    assert found.specs()["x"] == Spec((4,), sparse="csr")


def test_whole_numbers_become_floats_and_numbers_stored_twice_are_added_up(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, data=np.array([1, 2, 4], "uint8"), indices=[2, 0, 2], indptr=[0, 3], shape=[1, 3], label=[1])
    found = source("SparseNPZ", path, blob="words").load()
    assert found["words"].dtype == np.float32
    assert found["words"].toarray().tolist() == [[2, 0, 5]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"form": "csc"}, "in the format 'csc', not csr"),
        ({"indices": np.array([0, 1, 2, 4])}, "its columns go from 0 to 4, allowed are 0 to 3"),
        ({"indptr": np.array([0, 1, 1, 3])}, "indptr has 4 numbers for 4 rows"),
        ({"indptr": np.array([0, 3, 1, 3, 4])}, "never go down"),
        ({"data": np.array([1.0, 2.0])}, "there are 4 indices and 2 numbers"),
        ({"data": np.array([1.0, 2.0, np.inf, 3.0])}, "sample 2 is not finite"),
        ({"data": np.array([1j] * 4)}, "holds complex128"),
        ({"indices": np.zeros(4)}, "must be integers"),
        ({"shape": np.array([4, 2**40])}, "the sizes 4 x 1099511627776 are out of range"),
        ({"shape": np.array([4])}, "is not two whole numbers"),
        ({"label": np.arange(3)}, "different numbers of samples"),
    ],
)
def test_arrays_that_are_no_csr_matrix(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = matrix(tmp_path, **change)
    with pytest.raises(LayerForgeError, match=words):
        found = source("SparseNPZ", path)
        found.specs()
        found.load()


def test_a_file_without_a_matrix_and_a_name_given_twice(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    with pytest.raises(DataError, match="it lacks data, indices, indptr, shape"):
        source("SparseNPZ", tmp_path / "a.npz").specs()
    with pytest.raises(ConfigError, match="two blobs would be called 'x'"):
        source("SparseNPZ", matrix(tmp_path, x=np.arange(4))).specs()


# In a run -------------------------------------------------------------------------------------------------------------


def test_batches_are_rows_and_stay_sparse(tmp_path: Path) -> None:
    opened = open_data(section(type="SparseNPZ", path=str(matrix(tmp_path, label=np.arange(4))), batch_size=3))
    first, last = opened.loaders["train"].epoch()
    assert isinstance(first.blobs["x"], CSR)
    assert first.blobs["x"].dtype == np.float32
    np.testing.assert_array_equal(first.blobs["x"].toarray(), FULL[:3])
    np.testing.assert_array_equal(last.blobs["x"].toarray(), FULL[3:])
    shuffled = open_data(section(type="SparseNPZ", path=str(matrix(tmp_path)), shuffle=True)).loaders["train"]
    batch = shuffled.batch(0, 0)
    np.testing.assert_array_equal(batch.blobs["x"].toarray(), FULL[batch.samples])


def test_a_scale_is_applied_and_a_mean_refused(tmp_path: Path) -> None:
    feed = {"type": "SparseNPZ", "path": str(matrix(tmp_path)), "batch_size": 4}
    scaled = DataSection.from_config({"train": {**feed, "shuffle": False}, "transform": {"scale": 0.5, "std": 2.0}})
    (batch,) = open_data(scaled).loaders["train"].epoch()
    np.testing.assert_array_equal(batch.blobs["x"].toarray(), FULL / 4)
    for wrong, words in (({"mean": 1.0}, "has no mean subtracted"), ({"std": "channel"}, "std of a sparse blob")):
        with pytest.raises(ConfigError, match=words):
            open_data(DataSection.from_config({"train": feed, "transform": wrong}))


def test_matrices_given_in_python(tmp_path: Path) -> None:
    made = SOURCES.get("Arrays")(arrays={"x": sp.csr_matrix(FULL.astype("int8")), "label": np.arange(4)})
    assert made.specs()["x"] == Spec((4,), sparse="csr")
    np.testing.assert_array_equal(made.load()["x"].toarray(), FULL.astype("int8"))
    with pytest.raises(ConfigError, match=r"arrays: 'x' takes a matrix in CSR form"):
        SOURCES.get("Arrays")(arrays={"x": sp.coo_array(FULL)})


def test_what_is_predicted_is_read_as_training_was(tmp_path: Path) -> None:
    train, spec = source("SVMLight", text(tmp_path, "1 1:1 4:2\n0 2:1\n")), Spec((4,), sparse="csr")
    found = read_inputs(text(tmp_path, "9 3:5\n", "new.txt"), spec, "x", train.reader())
    assert found.toarray().tolist() == [[0, 0, 5, 0]]
    np.testing.assert_array_equal(read_inputs(matrix(tmp_path), spec, "x", train.reader()).toarray(), FULL)
    with pytest.raises(DataError, match="its matrix has 3 columns, training's 'x' has 4"):
        read_inputs(matrix(tmp_path, full=FULL[:, :3]), spec, "x", train.reader())
    other = source("SparseNPZ", matrix(tmp_path))
    with pytest.raises(DataError, match=r"'.csv' is no kind of sparse input"):
        read_inputs(text(tmp_path, "1,2\n", "a.csv"), spec, "x", other.reader())


def test_a_net_of_such_data_has_a_sparse_input(tmp_path: Path) -> None:
    feed = {"type": "SparseNPZ", "path": str(matrix(tmp_path, label=np.arange(4) % 2)), "batch_size": 2}
    layers: list[dict[str, Any]] = [
        {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 2},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
    ]
    net = Net.from_config({"data": {"train": feed}, "net": layers})
    assert net.graph.inputs["x"] == Spec((2, 4), sparse="csr")
    (batch, _) = open_data(section(**feed)).loaders["train"].epoch()
    net.forward(**batch.blobs)
    net.backward()
    assert np.isfinite(net.total_loss())
