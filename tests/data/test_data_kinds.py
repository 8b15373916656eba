"""A transform is for inputs, in the units that training saw: targets stay, and what is of another kind is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.data_files import images, isolate

from layerforge import ConfigError, DataError, Net, Source, Spec, param, snapshot, train
from layerforge.arrays.spec import index
from layerforge.cli import main
from layerforge.config.data_section import DataSection, Feed
from layerforge.data import open_data
from layerforge.data.kinds import Kind
from layerforge.graph.uses import uses_of
from layerforge.inference.trained import open_trained
from layerforge.training.console import Console

RNG = np.random.default_rng(3)
X = (RNG.normal(size=(60, 3)) * 5 + 20).astype("f4")
Y = (X @ np.float32([[1], [2], [3]]) + 100).astype("f4")
STANDARD = {"mean": "channel", "std": "channel"}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return isolate(monkeypatch, tmp_path)


def run(data: dict[str, Any], net: list[dict[str, Any]], epochs: int = 60) -> str:
    config = {"name": "kinds", "data": data, "net": net, "solver": {"lr": 0.3}, "train": {"epochs": epochs}}
    config |= {"checkpoint": {"every": {"epochs": epochs}}}
    return train(config, console=Console(progress="off", quiet=True)).run


REGRESSION = [
    {"name": "fc", "type": "Linear", "out_features": 1, "bottom": "x"},
    {"name": "loss", "type": "MSELoss", "bottom": ["fc", "y"]},
]


@pytest.mark.parametrize("kind", ["NPZ", "HDF5"])
def test_targets_stay_in_the_units_of_the_data(here: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    np.savez("d.npz", x=X, y=Y)
    np.savez("q.npz", x=X[:3])
    with h5py.File("d.h5", "w") as file:
        file["x"], file["y"] = X, Y
    path = str(here / ("d.npz" if kind == "NPZ" else "d.h5"))
    folder = run({"transform": STANDARD, "train": {"type": kind, "path": path, "batch_size": 60}}, REGRESSION)
    capsys.readouterr()
    assert main(["predict", folder, "q.npz"]) == 0
    got = [float(line.split(",")[-1]) for line in capsys.readouterr().out.splitlines()[1:]]
    np.testing.assert_allclose(got, Y[:3, 0], atol=1)


def test_targets_of_bytes_are_not_divided(here: Path) -> None:
    masks = images(6, shape=(1, 4, 4))
    net = [
        {"name": "conv", "type": "Conv2d", "out_channels": 1, "kernel_size": 1, "bottom": "image"},
        {"name": "flat", "type": "Flatten", "bottom": "mask"},
        {"name": "flat2", "type": "Flatten", "bottom": "conv"},
        {"name": "loss", "type": "MSELoss", "bottom": ["flat2", "flat"]},
    ]
    data = {"train": {"type": "Arrays", "arrays": {"image": images(6, shape=(1, 4, 4)), "mask": masks}}}
    uses = uses_of(Net.from_config({"data": data, "net": net}).graph)
    assert uses == {"image": "input", "mask": "target"}
    batch = open_data(DataSection.from_config(data), uses=uses).train.batch(0, 0, np.arange(6))
    np.testing.assert_array_equal(batch.blobs["mask"], masks)
    assert batch.blobs["image"].max() <= 1


def linear(name: str, bottom: str) -> dict[str, Any]:
    return {"name": name, "type": "Linear", "out_features": 3, "bottom": bottom}


LOSS = {"name": "loss", "type": "MSELoss"}
TANH = {"name": "t", "type": "Tanh", "bottom": "y"}


@pytest.mark.parametrize(
    ("layers", "uses"),
    [
        ([linear("fc", "x"), {**LOSS, "bottom": ["fc", "y"]}], "input target"),
        ([linear("fc", "x"), {**LOSS, "bottom": ["y", "fc"]}], "input target"),
        ([linear("fc", "x"), {**LOSS, "bottom": ["fc", "x"]}], "input input"),  # y is not read
        ([{**LOSS, "bottom": ["x", "y"]}], "input target"),
        ([linear("f", "x"), linear("g", "y"), {**LOSS, "bottom": ["f", "g"]}], "input input"),
        ([linear("fc", "x"), TANH, {**LOSS, "bottom": ["fc", "t"]}], "input target"),
        (
            [linear("fc", "x"), {"name": "d", "type": "Sub", "bottom": ["fc", "y"]}, {**LOSS, "bottom": ["d", "x"]}],
            "input unclear",
        ),
    ],
)  # fmt: skip
def test_who_is_a_target(layers: list[dict[str, Any]], uses: str) -> None:
    data = {"train": {"type": "Arrays", "arrays": {"x": X, "y": X.copy()}}}
    assert list(uses_of(Net.from_config({"data": data, "net": layers}).graph).values()) == uses.split()


def test_where_it_is_not_clear_what_the_inputs_are_the_configuration_says_it() -> None:
    data = {"transform": STANDARD, "train": {"type": "Arrays", "arrays": {"x": X, "y": Y}}}
    for uses in (None, {"x": "input", "y": "unclear"}):
        with pytest.raises(ConfigError, match="not clear which of these are inputs"):
            open_data(DataSection.from_config(data), uses=uses)
    data["transform"] = {**STANDARD, "blobs": ["x", "y"]}
    blobs = open_data(DataSection.from_config(data), uses={"x": "input", "y": "target"}).train.batch(0, 0).blobs
    assert abs(blobs["y"].mean()) < 1


# Kinds ----------------------------------------------------------------------------------------------------------------

PIXELS = images(40, shape=(1, 4, 4))
LABELS = np.arange(40) % 2
CLASSIFIER = [
    {"name": "fc", "type": "Linear", "out_features": 2, "bottom": "image"},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
]
FORMS = {"bytes": PIXELS, "shares": (PIXELS / 255).astype("f4"), "floats": PIXELS.astype("f4")}


@pytest.mark.parametrize(
    ("seen", "came"),
    [(a, b) for a in FORMS for b in FORMS if a != b],
)
def test_eval_and_predict_refuse_other_units(
    here: Path, capsys: pytest.CaptureFixture[str], seen: str, came: str
) -> None:
    net = [{"name": "flat", "type": "Flatten", "bottom": "image"}, {**CLASSIFIER[0], "bottom": "flat"}, CLASSIFIER[1]]
    np.savez("train.npz", image=FORMS[seen], label=LABELS)
    np.savez("val.npz", image=FORMS[seen][:20], label=LABELS[:20])
    feeds = {n: {"type": "NPZ", "path": str(here / f"{n}.npz"), "batch_size": 20} for n in ("train", "val")}
    folder = run(feeds, net, 1)
    assert main(["eval", folder]) == 0
    assert main(["predict", folder, "val.npz"]) == 0
    np.savez("val.npz", image=FORMS[came][:20], label=LABELS[:20])
    capsys.readouterr()
    for command in (["eval", folder], ["predict", folder, "val.npz"]):
        assert main(command) == 3
        text = capsys.readouterr().err
        assert f"but training saw {Kind.of(FORMS[seen])}" in text
        assert str(Kind.of(FORMS[came][:20])) in text
    with pytest.raises(DataError, match="but training saw"):
        open_trained(folder, (), None, False).prepare("image", FORMS[came])


def test_a_checkpoint_without_kinds_is_read(here: Path) -> None:
    np.savez("d.npz", x=X, y=Y)
    folder = Path(run({"train": {"type": "NPZ", "path": str(here / "d.npz")}}, REGRESSION, 1))
    file = folder / "checkpoints" / "last.h5"
    arrays, meta = snapshot.read_snapshot(file)
    seen = {"dtype": "float32", "low": X.min(), "high": X.max(), "shape": [3], "typical": np.median(X, axis=0).tolist()}
    assert meta["kinds"]["x"] == seen
    plain = {key: value for key, value in Kind.of(X).plain.items() if key != "typical"}  # of a checkpoint that is older
    assert Kind.parse(plain).typical == ()
    Kind.parse(plain).check("x", X / 1000, "q.npz")
    assert "y" not in meta["kinds"]
    for kinds, words in ((None, ""), ({"x": 3}, "does not say what its inputs are")):
        snapshot.write_snapshot(file, arrays, {k: v for k, v in {**meta, "kinds": kinds}.items() if v is not None})
        if words:
            with pytest.raises(DataError, match=words):
                open_trained(str(folder), (), str(file), False)
        else:
            open_trained(str(folder), (), str(file), False).prepare("x", 1e6 * X)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (X * 0, ""),
        (X * 3, ""),
        (np.where(np.arange(180).reshape(60, 3) == 7, 1e9, X), ""),  # one wild number among 180
        (X.astype("f8"), ""),
        (X * 1e4, "float32 from"),
        (X[:, :2], "samples of the shape (2,)"),
        (X.astype("u1"), "uint8 from"),
    ],
)
def test_what_is_of_one_kind(array: np.ndarray, words: str) -> None:
    kind = Kind.of(X)
    assert Kind.parse(json.loads(json.dumps(kind.plain))) == kind
    if not words:
        kind.check("x", array, "q.npz")
        return
    with pytest.raises(DataError) as caught:
        kind.check("x", array, "q.npz")
    assert words in str(caught.value)
    assert str(caught.value).startswith("q.npz: 'x' is")


def test_a_black_picture_is_a_picture() -> None:
    for form in FORMS.values():
        Kind.of(form).check("image", np.zeros_like(form[:1]), "black.png")


BYTES = RNG.integers(0, 256, (400, 64)).astype("u1")
IMAGES = BYTES.reshape(-1, 1, 8, 8)
UNIFORM = (BYTES / 255).astype("f4")
TABLE = RNG.normal(size=(200, 5)) * [1, 1e6, 1e-3, 50, 7] + [0, 3e6, 0, 9, -40]  # columns with units of their own
NORMAL = RNG.normal(size=(200, 20))
TAILS = np.exp(2 * RNG.normal(size=(200, 6)))


@pytest.mark.parametrize(
    ("seen", "came"),
    [
        (IMAGES, IMAGES // 128),  # 0 and 1, as bytes
        (IMAGES // 128, IMAGES),
        (BYTES, BYTES // 128),
        (BYTES // 128, BYTES),
        (BYTES.astype("f4"), UNIFORM),
        (BYTES.astype("f4"), UNIFORM[:1]),
        (UNIFORM, BYTES.astype("f4")),
        (UNIFORM, UNIFORM * 2 - 1),
        (UNIFORM, UNIFORM * 10 - 5),
        (UNIFORM.reshape(IMAGES.shape), UNIFORM.reshape(IMAGES.shape) * 10 - 5),
        (UNIFORM.reshape(IMAGES.shape), UNIFORM.reshape(IMAGES.shape) * 2 - 1),
        (UNIFORM.reshape(IMAGES.shape), (UNIFORM.reshape(IMAGES.shape) - 0.45) / 0.22),
        (TABLE, TABLE / 1000),
        (TABLE, TABLE[:2] * 1000),
        (TABLE / 1000, TABLE),
        (NORMAL, NORMAL * 10 + 50),
        (NORMAL[:, :3], NORMAL[:, :3] * 9 + 50),
    ],
)
def test_other_units_are_found_in_pictures_and_in_tables(seen: np.ndarray, came: np.ndarray) -> None:
    kind = Kind.parse(json.loads(json.dumps(Kind.of(seen).plain)))
    kind.check("x", seen, "q.npz")
    with pytest.raises(DataError, match="but training saw"):
        kind.check("x", came, "q.npz")


def wild(array: np.ndarray) -> np.ndarray:
    """The same with three numbers in a hundred far away."""
    return np.where(RNG.random(array.shape) < 0.03, 6 * array.max(), array)


@pytest.mark.parametrize(
    ("seen", "came"),
    [
        (NORMAL[:20], NORMAL),  # few rows seen
        (NORMAL, wild(NORMAL)),
        (NORMAL, np.abs(NORMAL)),
        (TAILS[:50], TAILS),
        (TAILS, TAILS[TAILS.max(axis=1).argsort()[:3]]),  # the smallest of all
        (TAILS, wild(TAILS)),
        (TABLE, TABLE[:1] * 0),
        (TABLE, TABLE[7:8]),
        (TABLE, TABLE * [1, 1, 1, 0, 0]),
        (np.linspace(0, 10, 50)[:, None], np.linspace(-10, 20, 90)[:, None]),  # beyond what was seen, for once
        (np.arange(1000.0)[:, None], np.array([[5.0]])),
        (np.eye(20)[np.arange(200) % 20], np.eye(20)[:1]),
        (UNIFORM.reshape(IMAGES.shape), UNIFORM.reshape(IMAGES.shape) + 0.1 * RNG.normal(size=IMAGES.shape)),
        (UNIFORM.reshape(IMAGES.shape) / 2, UNIFORM.reshape(IMAGES.shape)),  # the light is on
        (IMAGES // 3, IMAGES),
        (BYTES, BYTES // 9),
    ],
)
def test_what_is_only_unusual_is_taken(seen: np.ndarray, came: np.ndarray) -> None:
    Kind.of(seen).check("x", came, "q.npz")


def test_a_wide_table_is_remembered_in_one_number() -> None:
    wide = RNG.random((30, 1001)).astype("f4")
    kind = Kind.of(wide)
    assert len(kind.typical) == 1
    kind.check("x", wide[:1], "q.npz")
    with pytest.raises(DataError, match="but training saw"):
        kind.check("x", wide / 255, "q.npz")


def test_a_table_of_whole_numbers_is_one_of_bytes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = [{"name": "flat", "type": "Flatten", "bottom": "image"}, {**CLASSIFIER[0], "bottom": "flat"}, CLASSIFIER[1]]
    np.savez("train.npz", image=PIXELS, label=LABELS)
    folder = run({"train": {"type": "NPZ", "path": str(here / "train.npz")}}, net, 1)
    for name, array in {"bytes": PIXELS, "shares": FORMS["shares"], "bits": PIXELS % 2}.items():
        (here / f"{name}.csv").write_text("\n".join(",".join(map(str, a.ravel())) for a in array[:2]) + "\n")
    assert main(["predict", folder, "bytes.csv"]) == 0
    assert main(["predict", folder, "shares.csv"]) == 3
    assert main(["predict", folder, "bits.csv"]) == 3


def test_integers_that_do_not_fit_are_refused() -> None:
    """2^64 - 1 would become -1 on its way to the net."""
    wide = np.array([0, 2**64 - 1], np.uint64)
    with pytest.raises(DataError, match="sample 1 has the value 18446744073709551615"):
        open_data(DataSection.from_config({"train": {"type": "Arrays", "arrays": {"x": X[:2], "label": wide}}}))


# Classes that are not everywhere --------------------------------------------------------------------------------------


def test_a_sorted_file_cut_in_two_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "t.csv").write_text("a,what\n" + "".join(f"{i},{w}\n" for i, w in enumerate(["ant"] * 8 + ["bee"] * 8)))
    feed = {"type": "CSV", "path": str(here / "t.csv"), "label": "what", "batch_size": 4}
    net = [{**CLASSIFIER[0], "bottom": "x"}, CLASSIFIER[1]]
    data = {"train": {**feed, "split": "all[:8]"}, "val": {**feed, "split": "all[8:]"}}
    folder = Path(run(data, net, 1))
    said = capsys.readouterr().err
    assert "data.val has classes that data.train lacks: 'label' 1 (bee)" in said
    assert "data.train has classes that data.val lacks: 'label' 0 (ant)" in said
    assert "lacks: 'label' 1 (bee)" in (folder / "train.log").read_text()
    (here / "c.yaml").write_text(json.dumps({"data": data, "net": net, "solver": {"lr": 0.1}}))
    assert main(["check", "c.yaml"]) == 0
    assert "data.val has classes that data.train lacks" in capsys.readouterr().err
    whole = {"train": {**feed, "split": "all[4:12]"}, "val": {**feed, "split": "all[6:10]"}}
    run(whole, net, 1)
    assert "lacks" not in capsys.readouterr().err


class Named(Source):
    """A source that numbers the words of its own file."""

    words: list[str] = param(help="the classes in their order")

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.words)

    def specs(self) -> dict[str, Spec]:
        return {"x": Spec((3,)), "label": index((), 3)}

    def read(self, part: str, progress: bool | None = None) -> dict[str, np.ndarray]:
        return {"x": X[:3], "label": np.arange(3)}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["ant", "bee", "cat"], ""),
        (["ant", "bee"], ""),
        (["bee", "cat"], "class 0 is 'bee' in data.val and 'ant' in data.train"),
        (["ant", "bee", "cat", "dog"], "class 3 is 'dog' in data.val and unknown in data.train"),
    ],
)
def test_a_source_of_ones_own_that_numbers_each_file_is_found_out(words: list[str], fault: str) -> None:
    train, val = Named(words=["ant", "bee", "cat"]), Named(words=words)
    data = DataSection(train=Feed(source=train), val=Feed(source=val))
    if not fault:
        open_data(data)
        return
    with pytest.raises(DataError, match=fault):
        open_data(data)


@pytest.mark.parametrize("kind", ["NPZ", "HDF5", "Arrays"])
def test_check_reads_the_labels_of_files(here: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    arrays = {"image": FORMS["shares"].reshape(40, 16), "label": np.repeat([0, 1], 20)}
    np.savez("d.npz", **arrays)
    with h5py.File("d.h5", "w") as file:
        file.update(arrays)
    given = {"NPZ": {"path": "d.npz"}, "HDF5": {"path": "d.h5"}}
    if kind == "Arrays":
        from layerforge.cli.check_command import remarks

        data = {
            n: {"type": kind, "arrays": arrays, "split": s} for n, s in (("train", "all[:20]"), ("val", "all[20:]"))
        }
        said = "\n".join(remarks(Net.from_config({"data": data, "net": CLASSIFIER})))
    else:
        feed = {"type": kind, **given[kind]}
        data = {"train": {**feed, "split": "all[:20]"}, "val": {**feed, "split": "all[20:]"}}
        Path("c.yaml").write_text(json.dumps({"data": data, "net": CLASSIFIER, "solver": {"lr": 0.1}}))
        assert main(["check", "c.yaml"]) == 0
        said = capsys.readouterr().err
    assert "data.val has classes that data.train lacks: 'label' 1" in said


# Raw samples in Python ------------------------------------------------------------------------------------------------


def small_net(**transform: Any) -> Net:
    data: dict[str, Any] = {"train": {"type": "Arrays", "arrays": {"image": PIXELS.reshape(40, 16), "label": LABELS}}}
    if transform:
        data["transform"] = transform
    return Net.from_config({"data": data, "net": CLASSIFIER})


def test_raw_bytes_given_in_python_are_told_once() -> None:
    net, raw = small_net(mean=0.5), PIXELS.reshape(40, 16)
    with pytest.warns(UserWarning, match=r"net.forward\(image=...\) got uint8.*1/255, mean: 0.5") as caught:
        net.forward(image=raw, label=LABELS)
    assert caught[0].filename == __file__
    net.forward(image=raw, label=LABELS)
    with pytest.warns(UserWarning):
        small_net().forward(image=raw, label=LABELS)  # bytes are scaled without being asked


def test_what_the_transform_would_not_change_is_not_told() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small_net(scale=1.0).forward(image=PIXELS.reshape(40, 16), label=LABELS)
        small_net().forward(image=FORMS["shares"].reshape(40, 16), label=LABELS)
        small_net().forward(image=PIXELS.reshape(40, 16).astype(int), label=LABELS)
        own = Net.from_config({"inputs": {"image": {"shape": [4, 16]}}, "net": CLASSIFIER[:1]})
        own.forward(image=PIXELS.reshape(40, 16))
