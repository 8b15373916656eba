"""`export onnx --with-transform`: the file takes raw samples and gives what the trained model does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.onnx_nets import session
from support.tools import demand

from layerforge.cli import main
from layerforge.data.image_form import ImageForm, pillow
from layerforge.inference.model import Model, load_model
from layerforge.interop.onnx import pixels
from layerforge.interop.onnx.check import against_runtime
from layerforge.interop.onnx.graph import Node, OnnxGraph, ValueInfo
from layerforge.interop.onnx.in_front import InFront
from layerforge.interop.onnx.transform import raw_cases, save_trained

FORMS = [
    ImageForm((24, 32)),
    ImageForm((24, 24), "gray", resize=30),
    ImageForm((20, 28), "bgr", resize=(23, 31), interpolation="bicubic"),
    ImageForm((48, 40), resize=36, center_crop=(30, 60), interpolation="lanczos"),
    ImageForm((64, 50), "gray", interpolation="bicubic"),
    ImageForm((17, 19), resize=(17, 19), interpolation="nearest"),
    ImageForm((22, 26), "bgr", resize=(22, 26), antialias=False),
    ImageForm((30, 45), resize=(30, 45), antialias=False),
    ImageForm((16, 16), center_crop=(50, 20)),
]
SIZES = [(40, 56), (33, 21), (60, 90), (24, 32)]  # heights and widths


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demand("onnxruntime")
    demand("PIL")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f.size} {f.color} {f.resize} {f.interpolation} {f.antialias}")
def test_images_become_what_pillow_makes_of_them(form: ImageForm) -> None:
    """Bit for bit; of Lanczos's sines a rounding may fall otherwise."""
    graph = OnnxGraph("g", [Node("Identity", ["x"], ["y"])], [ValueInfo("x", "float64", None)])
    w = InFront(graph, "x")
    value = pixels.fitted(w, "x", form)
    w.put(graph, value, ValueInfo("x", "uint8", ("N", "H", "W", form.shape[0])))
    graph.outputs.append(ValueInfo("y", "float64", ("N", *form.shape)))
    run, rng = session(graph), np.random.default_rng(5)
    for height, width in SIZES:
        images = rng.integers(0, 256, (2, height, width, form.shape[0])).astype(np.uint8)
        images[1, : height // 2] = rng.integers(0, 2) * 255  # edges overshoot
        shown = images[..., 0] if form.color == "gray" else images
        expected = np.stack([form.array(form.fitted(pillow().fromarray(image))) for image in shown])
        found = run.run(None, {"x": images})[0]
        assert found.shape == expected.shape
        different = found != expected
        assert np.abs(found - expected).max() <= (form.interpolation == "lanczos")
        assert different.mean() <= (1e-3 if form.interpolation == "lanczos" else 0), (height, width)


def trained(config: str, *overrides: str) -> Model:
    """The model of a short run."""
    Path("net.yaml").write_text(config)
    assert main(["train", "net.yaml", "-q", "--progress=off", *overrides]) == 0
    return load_model("runs/small/latest")


def exported(*more: str) -> dict[str, Any]:
    """What the command says of its file, which ONNX Runtime agrees with."""
    assert (
        main(["export", "onnx", "runs/small/latest", "-o", "m.onnx", "--with-transform", "--check", "-q", *more]) == 0
    )
    import onnx

    proto = onnx.load("m.onnx")
    return {entry.key: json.loads(entry.value) for entry in proto.metadata_props}


def runtime(**given: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession("m.onnx").run(None, given)[0]


HEAD = "name: small\nsolver: {lr: 0.01}\ntrain: {max_steps: 3}\n"
CLASSIFIER = """
net:
  - {name: flat, type: Flatten, bottom: %s}
  - {name: fc,   type: Linear, out_features: 2}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
"""


def test_a_run_of_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for word in ("cats", "dogs"):
        (tmp_path / "pets" / word).mkdir(parents=True)
        for number in range(4):
            picture = rng.integers(0, 256, (30 + number, 40, 3)).astype(np.uint8)
            pillow().fromarray(picture).save(tmp_path / "pets" / word / f"{number}.png")
    data = """data:
  train: {type: ImageFolder, path: pets, size: [16, 20], resize: 24, color: bgr, batch_size: 4}
  transform: {mean: channel, std: channel}
"""
    model = trained(HEAD + data + CLASSIFIER % "image")
    told = exported()
    assert told["classes"] == ["cats", "dogs"]
    assert told["preprocessing"]["image"]["form"]["color"] == "bgr"
    assert told["preprocessing"]["image"]["dtype"] == "uint8"
    photo = tmp_path / "pets/dogs/2.png"
    pixels_of_it = np.asarray(pillow().open(photo))
    scores = runtime(image=pixels_of_it[None])
    assert np.allclose(scores[0], model.scores(str(photo)), rtol=1e-5, atol=1e-6)


def test_a_run_of_a_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    rows = [f"{a:.3f},{b:.2f},{'' if i % 5 == 0 else f'{c:.1f}'},{1000 + 50 * a - c:.3f}" for i, (a, b, c) in enumerate(
        zip(rng.normal(5, 2, 40), rng.normal(-300, 40, 40), rng.normal(0, 1, 40), strict=True))]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,price", *rows]) + "\n")
    data = """data:
  train: {type: CSV, path: t.csv, target: {column: price, standardize: true}, standardize: true,
          missing: {strategy: median, indicator: true}, batch_size: 8}
net:
  - {name: fc,   type: Linear, bottom: x, out_features: 1}
  - {name: loss, type: MSELoss, bottom: [fc, target]}
"""
    model = trained(HEAD + data)
    told = exported()
    assert told["targets"] == ["price"]
    assert told["preprocessing"]["x"]["columns"] == ["a", "b", "c"]
    table = np.array([[4.0, -310.0, 0.5], [6.5, -250.0, np.nan]])
    frame = {"a": table[:, 0].tolist(), "b": table[:, 1].tolist(), "c": [0.5, None]}
    expected = np.asarray(model.predict(frame)).reshape(-1)
    assert expected.min() > 500  # in the units of the price
    assert np.allclose(runtime(x=table).reshape(-1), expected, rtol=1e-5)


def test_what_is_no_number_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{'red' if i % 2 else 'blue'},{i},{'x' if i % 3 else 'y'},{i % 2}" for i in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(["colour,size,shape,label", *rows]) + "\n")
    data = """data:
  train: {type: CSV, path: t.csv, label: label, categorical: {colour: one_hot, shape: one_hot}, batch_size: 4}
net:
  - {name: fc,   type: Linear, bottom: x, out_features: 2}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
"""
    trained(HEAD + data)
    capsys.readouterr()
    assert main(["export", "onnx", "runs/small/latest", "-o", "m.onnx", "--with-transform"]) == 2
    assert "columns of words cannot be encoded in ONNX: 'colour', 'shape'" in capsys.readouterr().err
    assert not Path("m.onnx").exists()
    assert main(["export", "onnx", "runs/small/latest", "-o", "m.onnx", "--check"]) == 0


def test_texts_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text("some words and some more words, and so on and so forth")
    data = """data:
  train: {type: Text, path: t.txt, sequence_length: 4, batch_size: 2}
net:
  - {name: embed, type: Embedding, bottom: x, num_embeddings: 30, embedding_dim: 30}
  - {name: axes,  type: Permute, dims: [0, 2, 1]}
  - {name: loss,  type: SoftmaxCrossEntropy, bottom: [axes, y]}
"""
    Path("net.yaml").write_text(HEAD + data)
    assert main(["train", "net.yaml", "-q", "--progress=off"]) == 0, capsys.readouterr().err
    assert main(["export", "onnx", "runs/small/latest", "-o", "m.onnx", "--with-transform"]) == 2
    assert "'x' is made of texts, which cannot be read in ONNX" in capsys.readouterr().err


def test_wide_numbers_are_scaled_in_float64() -> None:
    rng = np.random.default_rng(6)
    np.savez("wide.npz", x=1e6 + rng.normal(size=(12, 3)), label=np.arange(12) % 2)
    data = "data: {train: {type: NPZ, path: wide.npz, batch_size: 4}, transform: {mean: pixel, std: pixel}}"
    model = trained(HEAD + data + CLASSIFIER % "x")
    assert exported()["preprocessing"]["x"]["dtype"] == "float64"
    samples = 1e6 + rng.normal(size=(3, 3))
    assert np.allclose(runtime(x=samples), model.scores(samples), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scaling", ["mean: channel", "mean: pixel", "mean_file: mean.npy, scale: 0.5"])
def test_the_middle_of_images(scaling: str) -> None:
    """Of a mean image the middle is taken afterwards, of other constants before."""
    rng = np.random.default_rng(8)
    images = rng.integers(0, 256, (12, 2, 9, 8)).astype(np.uint8)
    np.savez("images.npz", x=images, label=np.arange(12) % 2)
    np.save("mean.npy", images.mean(axis=0))
    data = f"""data:
  train: {{type: NPZ, path: images.npz, batch_size: 4, augment: {{random_crop: {{size: [6, 5]}}}}}}
  transform: {{{scaling}}}
"""
    model = trained(HEAD + data + CLASSIFIER % "x")
    assert exported()["preprocessing"]["x"]["shape"] == ["N", 2, 9, 8]
    assert np.allclose(runtime(x=images), model.scores(images), rtol=1e-5, atol=1e-6)


def test_both_sides_of_pairs() -> None:
    data = """data:
  train: {type: Pairs, source: Digits, split: "train[:40]", batch_size: 8}
  transform: {mean: channel, std: channel}
net:
  - {name: flat_a, type: Flatten, bottom: image_a}
  - {name: a,      type: Linear, out_features: 2}
  - {name: flat_b, type: Flatten, bottom: image_b}
  - {name: b,      type: Linear, out_features: 2, share: {weight: a.weight, bias: a.bias}}
  - {name: loss,   type: ContrastiveLoss, bottom: [a, b, match]}
"""
    trained(HEAD + data)
    told = exported()["preprocessing"]
    assert [told[side]["dtype"] for side in ("image_a", "image_b")] == ["uint8", "uint8"]


def test_the_folder_of_an_import_from_caffe() -> None:
    """Images are scaled as OpenCV scales them, and stored in blue, green, red."""
    Path("net.prototxt").write_text("""name: "small"
input: "data" input_shape { dim: 1 dim: 3 dim: 6 dim: 7 }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 4 } }
""")
    from layerforge.interop import caffe

    model = caffe.load_model("net.prototxt")
    rng = np.random.default_rng(9)
    model.set_blobs("fc", [rng.normal(size=(4, 126)), rng.normal(size=4)])
    caffe.save_model(model.net(), "w.prototxt", "w.caffemodel")
    words = ["import", "caffe", "net.prototxt", "w.caffemodel", "-o", "in", "--mean-value", "104,117,123", "-q"]
    assert main(words) == 0
    assert main(["export", "onnx", "in", "-o", "m.onnx", "--with-transform", "--check", "-q"]) == 0
    image = rng.integers(0, 256, (20, 33, 3)).astype(np.uint8)
    assert np.allclose(runtime(data=image[None])[0], load_model("in").scores(image), rtol=1e-5, atol=1e-3)


def test_the_check_sees_a_wrong_transform(tmp_path: Path) -> None:
    np.savez(
        "bytes.npz",
        x=np.random.default_rng(7).integers(0, 256, (12, 2, 6, 8)).astype(np.uint8),
        label=np.arange(12) % 2,
    )
    data = "data: {train: {type: NPZ, path: bytes.npz, batch_size: 4}, transform: {mean: channel}}"
    model = trained(HEAD + data + CLASSIFIER % "x")
    made = save_trained(model._trained, "m.onnx", outputs=["fc"])
    cases = raw_cases(model._trained, made, ["fc"])
    assert [info.dtype for info in made.graph.inputs] == ["uint8"]
    assert against_runtime("m.onnx", cases).equal
    name = next(name for name in model._trained.transform.affine if name == "x")
    factor, offset = model._trained.transform.affine[name]
    model._trained.transform.affine[name] = (factor * 1.001, offset)
    model._trained.transform._cast.clear()
    wrong = against_runtime("m.onnx", raw_cases(model._trained, made, ["fc"]))
    assert not wrong.equal


def test_a_config_holds_no_transform(capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.yaml").write_text(
        HEAD + "inputs: {x: {shape: [4, 3]}}\nnet: [{name: fc, type: Linear, bottom: x, out_features: 2}]\n"
    )
    assert main(["export", "onnx", "net.yaml", "-o", "m.onnx", "--with-transform"]) == 2
    assert "which a config does not hold" in capsys.readouterr().err


TWO_TARGETS = """data:
  train: {type: CSV, path: t.csv, target: {column: [time, price], standardize: true}, standardize: true,
          missing: {strategy: median, indicator: true}, batch_size: 8}
net:
  - {name: fc,   type: Linear, bottom: x, out_features: 2}
  - {name: loss, type: MSELoss, bottom: [fc, target]}
"""


def table_of_times() -> None:
    rng = np.random.default_rng(11)
    rows = [f"{a:.3f},{'' if i % 5 == 0 else f'{b:.3f}'},{1.7e9 + 10 * a:.3f},{20 + 3 * a - b:.3f}"
            for i, (a, b) in enumerate(rng.normal(size=(40, 2)))]  # fmt: skip
    Path("t.csv").write_text("\n".join(["a,b,time,price", *rows]) + "\n")


def test_targets_of_a_table_are_taken_in_their_own_units() -> None:
    """With their own mean and std, not with those of the features."""
    table_of_times()
    model = trained(HEAD + TWO_TARGETS)
    told = exported("--blob", "loss")["preprocessing"]["target"]
    assert (told["columns"], told["dtype"], told["shape"]) == (["time", "price"], "float64", ["N", 2])
    x, target = np.array([[0.5, -0.2], [-1.0, np.nan]]), np.array([[1.7e9 + 4, 21.0], [1.7e9 - 9, 17.5]])
    columns = model._trained.reader.columns
    mean, std = (np.array([getattr(c, word) for c in columns.targets]) for word in ("mean", "std"))
    values = model.predict({"a": [0.5, -1.0], "b": [-0.2, None]})
    assert runtime(x=x, target=target) == pytest.approx(np.square((values - target) / std).mean(), rel=1e-5)
    assert mean[0] > 1.6e9


def test_large_values_keep_their_differences(capsys: pytest.CaptureFixture[str]) -> None:
    """In float32 all times of some minutes are one number; --check looks at them in units of their spread."""
    table_of_times()
    model = trained(HEAD + TWO_TARGETS)
    exported()
    x, frame = np.array([[0.5, -0.2], [-1.0, 0.7]]), {"a": [0.5, -1.0], "b": [-0.2, 0.7]}
    found, expected = runtime(x=x), model.predict(frame)
    assert found.dtype == np.float64
    assert np.abs(found - expected).max() < 1e-4
    assert abs(found[0, 0] - found[1, 0]) > 0.01
    made = save_trained(model._trained, "m.onnx", outputs=["fc"])
    cases = raw_cases(model._trained, made, ["fc"])
    columns = model._trained.reader.columns
    wrong = [replace(case, made={"fc": case.made["fc"] + 0.01 * columns.targets[0].std}) for case in cases]
    assert against_runtime("m.onnx", cases).equal
    assert not against_runtime("m.onnx", wrong).equal


def test_labels_are_taken_as_the_net_takes_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for word in ("cats", "dogs"):
        (tmp_path / "pets" / word).mkdir(parents=True)
        for number in range(3):
            pillow().fromarray(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)).save(f"pets/{word}/{number}.png")
    data = "data: {train: {type: ImageFolder, path: pets, size: 8, batch_size: 2}, transform: {mean: channel}}\n"
    trained(HEAD + data + CLASSIFIER % "image")
    told = exported("--blob", "loss")["preprocessing"]["label"]
    assert told == {"takes": "labels or targets as the net takes them", "dtype": "int64", "shape": ["N"]}


@pytest.mark.parametrize("scaled", ["false", "true"])
def test_labels_and_weights_of_a_table(scaled: str) -> None:
    Path("t.csv").write_text("\n".join(["a,b,w,y", *(f"{i},{i * i},{1 + i % 3},{i % 2}" for i in range(24))]) + "\n")
    data = f"""data:
  train: {{type: CSV, path: t.csv, label: y, weight: w, standardize: {scaled}, batch_size: 8}}
net:
  - {{name: fc,   type: Linear, bottom: x, out_features: 2}}
  - {{name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label, weight]}}
"""
    trained(HEAD + data)
    told = exported("--blob", "loss", "--blob", "fc")["preprocessing"]
    assert [told[name]["dtype"] for name in ("label", "weight")] == ["int64", "float32"]


def test_a_blob_that_is_named_twice_is_given_once() -> None:
    table_of_times()
    model = trained(HEAD + TWO_TARGETS)
    exported("--blob", "fc", "--blob", "fc")
    found = runtime(x=np.array([[0.5, -0.2]]))
    assert np.allclose(found, model.predict({"a": [0.5], "b": [-0.2]}), rtol=1e-12, atol=1e-4)
    import onnx

    assert [output.name for output in onnx.load("m.onnx").graph.output] == ["fc"]


@pytest.mark.parametrize("caffe", [True, False])
def test_where_no_preprocessing_is_known_there_is_none_to_put_in_front(
    caffe: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("net.yaml").write_text(
        "name: small\ninputs: {x: {shape: [4, 3]}}\nnet: [{name: fc, type: Linear, bottom: x, out_features: 2}]\n"
    )
    assert main(["export", "onnx", "net.yaml", "-o", "m.onnx", "-q"]) == 0
    words = ["import", "onnx", "m.onnx"]
    if caffe:
        Path("net.prototxt").write_text("""name: "small"
input: "data" input_shape { dim: 1 dim: 3 dim: 6 dim: 7 }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 4 } }
""")
        from layerforge.interop import caffe as package

        package.save_model(package.load_model("net.prototxt").net(), "w.prototxt", "w.caffemodel")
        words = ["import", "caffe", "net.prototxt", "w.caffemodel"]
    assert main([*words, "-o", "in", "-q"]) == 0
    capsys.readouterr()
    assert main(["export", "onnx", "in", "-o", "whole.onnx", "--with-transform"]) == 2
    told = capsys.readouterr().err
    assert "does not say how samples were prepared" in told
    assert "export without --with-transform" in told
    assert ("--mean-file" in told) == caffe
    assert not Path("whole.onnx").exists()
    assert main(["export", "onnx", "in", "-o", "plain.onnx", "--check", "-q"]) == 0


def test_targets_of_a_list_of_images_have_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(12)
    for number in range(4):
        pillow().fromarray(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)).save(f"{number}.png")
    lines = [f"{number}.png,{number},{3 - number}" for number in range(4)]
    Path("list.csv").write_text("\n".join(["path,left,top", *lines]) + "\n")
    data = """data: {train: {type: ImageList, path: list.csv, size: 8, target: [left, top], batch_size: 2}}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc,   type: Linear, out_features: 2}
  - {name: loss, type: MSELoss, bottom: [fc, target]}
"""
    model = trained(HEAD + data)
    assert exported()["targets"] == ["left", "top"]
    assert model.targets == ("left", "top")
    capsys.readouterr()
    assert main(["predict", "runs/small/latest", "1.png"]) == 0
    assert "left" in capsys.readouterr().out
