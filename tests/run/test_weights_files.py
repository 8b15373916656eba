"""Weights in files: by their suffix, wherever weights are taken; torch's pickles are read by torch alone, if at all."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from layerforge import ConfigError, DataError, Net, load_model, train
from layerforge.cli import main
from layerforge.data.arrays import Arrays
from layerforge.inference.model import Model
from layerforge.inference.trained import open_trained
from layerforge.run.weights_file import OURS, read_weights
from layerforge.safetensors_file import read_safetensors, write_safetensors

LAYERS = [
    {"name": "enc/fc", "type": "Linear", "out_features": 4, "bottom": "x"},
    {"name": "bn", "type": "BatchNorm"},
    {"name": "head", "type": "Linear", "out_features": 2},
]


def net_of(seed: int = 0) -> Net:
    return Net.from_config({"seed": seed, "inputs": {"x": {"shape": [6, 3]}}, "net": LAYERS})


def points() -> Arrays:
    x = np.random.default_rng(0).normal(3, 5, size=(40, 3))
    return Arrays(arrays={"x": x, "label": (x[:, 0] > 3).astype(int)})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose samples are scaled."""
    monkeypatch.chdir(tmp_path)
    loss = {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["head", "label"]}
    data = {"train": {"source": points(), "batch_size": 10}, "transform": {"mean": "channel", "std": "channel"}}
    config = {"name": "p", "data": data, "net": [*LAYERS, loss], "solver": {"lr": 0.1}, "train": {"epochs": 2}}
    return Path(train(config).run)


# Safetensors ----------------------------------------------------------------------------------------------------------


def test_a_run_becomes_one_file_that_predicts(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "safetensors", str(run), "-o", "w.safetensors", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    model, other = load_model(run), load_model("w.safetensors")
    assert {name: tuple(shape) for name, shape in told["arrays"].items()} == {
        name: array.shape for name, array in model.net.state_dict().items()
    }
    samples = points().arrays["x"]
    np.testing.assert_array_equal(other.scores(samples), model.scores(samples))
    assert (other.inputs, other.classes) == (model.inputs, model.classes)
    np.savetxt("x.csv", samples, delimiter=",", header="a,b,c", comments="")
    assert main(["predict", "w.safetensors", "--describe"]) == 0
    assert main(["export", "safetensors", "w.safetensors", "-o", "again.safetensors"]) == 0
    (first, texts), (again, the_same) = (read_safetensors(name) for name in ("w.safetensors", "again.safetensors"))
    assert texts == the_same and first.keys() == again.keys()
    assert all(np.array_equal(array, again[name]) for name, array in first.items())


def test_the_metadata_are_texts_that_torchs_tools_take(tmp_path: Path) -> None:
    net_of().save(tmp_path / "w.safetensors")
    _, metadata = read_safetensors(tmp_path / "w.safetensors")
    assert metadata["format"] == "pt"
    assert {key: type(json.loads(text)) for key, text in metadata.items() if key.startswith(OURS)} == {
        "layerforge.kind": str,
        "layerforge.config": str,
        "layerforge.signature": dict,
    }


def test_a_file_of_another_program_is_taken_with_a_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    net = net_of(3)
    Path("net.yaml").write_text(json.dumps({"inputs": {"x": {"shape": [6, 3]}}, "net": LAYERS}))
    write_safetensors("w.safetensors", net.state_dict(), {"format": "pt", "config": "theirs"})
    with pytest.raises(DataError, match="holds weights only, and does not say what their net is"):
        load_model("w.safetensors")
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    wanted = net.forward(phase="eval", x=x)["head"]
    np.testing.assert_array_equal(Model(open_trained("net.yaml", weights="w.safetensors")).scores(x), wanted)
    assert main(["trace", "net.yaml", "--weights", "w.safetensors", "-o", "t.h5"]) == 0
    assert "w.safetensors" in capsys.readouterr().out
    write_safetensors("less.safetensors", {k: a for k, a in net.state_dict().items() if "head" not in k}, {})
    with pytest.raises(DataError, match=r"less\.safetensors does not fit this net") as caught:
        open_trained("net.yaml", weights="less.safetensors")
    assert "missing head.weight" in str(caught.value) and "allow_missing" not in str(caught.value)


def test_training_begins_from_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", "safetensors", str(run), "-o", "w.safetensors"])
    loss = {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "label"]}
    layers = [*LAYERS[:2], {"name": "fc2", "type": "Linear", "out_features": 2}, loss]
    data = {"train": {"source": points(), "batch_size": 10}}
    config = {"name": "q", "data": data, "net": layers, "solver": {"lr": 1e-30}, "train": {"max_steps": 1}}
    begun = train(config, init_weights="w.safetensors", rename={"head": "fc2"})
    held, wanted = load_model(begun.run).net.state_dict(), load_model(run).net.state_dict()
    np.testing.assert_array_equal(held["fc2.weight"], wanted["head.weight"])
    np.testing.assert_array_equal(held["enc.fc.bias"], wanted["enc.fc.bias"])
    with pytest.raises(DataError, match=r"--allow-missing 'fc2' --allow-missing 'head'"):
        train(config, init_weights="w.safetensors")


def test_the_command_says_what_it_wants(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "safetensors", str(run), "-o", "w.h5"]) == 2
    assert "-o w.safetensors" in capsys.readouterr().err
    assert main(["export", "safetensors", str(run / "config.resolved.yaml"), "-o", "w.safetensors"]) == 2
    assert main(["export", "safetensors", "nothing", "-o", "w.safetensors"]) in (2, 3)
    assert main(["export", "safetensors", str(run), "-o", "/proc/w.safetensors"]) == 3
    assert not Path("w.safetensors").exists()


def test_a_config_is_exported_with_its_start_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text("inputs: {x: {shape: [2, 3]}}\nnet:\n  - {name: fc, type: Linear, out_features: 4}\n")
    assert main(["export", "safetensors", "net.yaml", "-o", "w.safetensors", "--json"]) == 0
    told = capsys.readouterr()
    assert "start values; --weights FILE names others" in told.err
    assert json.loads(told.out)["weights"] is None
    net = Net.from_yaml("net.yaml")
    wanted = {name: array.copy() for name, array in net.state_dict().items()}
    net.load("w.safetensors")
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, wanted[name])


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("layerforge.config", "{", "a text of its metadata is no JSON"),
        ("layerforge.arrays", '{"transform/x.factor": 3}', "its constants are no arrays"),
        ("layerforge.arrays", '{"transform/x.factor": [[2], [1.0]]}', "its constants are no arrays"),
        ("layerforge.arrays", '{"transform/x.factor": [[1], [1e999]]}', "its constants are no arrays"),
        ("layerforge.arrays", "[1]", "its constants are no arrays"),
        ("layerforge.arrays", '{"transform/x": [[], [1.0]]}', "are no constants of an input transform"),
        ("layerforge.signature", "3", "does not say what its net takes and gives"),
    ],
)
def test_texts_of_ours_that_are_spoilt_are_refused(key: str, text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    net_of().save(path)
    arrays, metadata = read_safetensors(path)
    write_safetensors(path, arrays, {**metadata, key: text})
    with pytest.raises(DataError, match=words):
        load_model(path)


# Tensors and torch's files --------------------------------------------------------------------------------------------


class Tensor:
    """What load_state_dict asks of a tensor of torch. One on a device has no numbers for NumPy, nor has bfloat16."""

    def __init__(self, array: Any, dtype: str = "torch.float32", device: str = "cpu", grad: bool = True) -> None:
        self.array, self.dtype, self.device, self.grad = np.asarray(array), dtype, device, grad

    def detach(self) -> Tensor:
        return Tensor(self.array, self.dtype, self.device, grad=False)

    def cpu(self) -> Tensor:
        return Tensor(self.array, self.dtype, "cpu", self.grad)

    def float(self) -> Tensor:
        return Tensor(self.array.astype(np.float32), "torch.float32", self.device, self.grad)

    def numpy(self) -> np.ndarray:
        if self.grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        if self.dtype in ("torch.bfloat16", "torch.qint8") or self.device != "cpu":
            raise TypeError(f"can't convert {self.dtype} on {self.device}")
        return self.array


class Foreign:
    """An array of another library."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array


def tensors(net: Net) -> dict[str, Tensor]:
    kinds = [("torch.float32", "cpu"), ("torch.bfloat16", "cuda:0"), ("torch.float16", "cpu")]
    return {
        name: Tensor(array, *kinds[number % 3])
        for number, (name, array) in enumerate(net.state_dict().items())
        if "num_batches" not in name
    }


def same(a: Net, b: Net) -> bool:
    return all(np.array_equal(array, b.arrays()[path]) for path, array in a.arrays().items())


def test_tensors_are_taken_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    one, other = net_of(1), net_of(2)
    assert not same(one, other)
    assert other.load_state_dict(tensors(one)) == []
    assert same(one, other)
    likewise = {name: memoryview(array) for name, array in one.state_dict().items()}
    with pytest.raises(DataError, match=r"'enc\.fc\.weight' is a memoryview"):
        other.load_state_dict(likewise)
    foreign = {name: Foreign(array) for name, array in one.state_dict().items()}
    assert net_of(4).load_state_dict(foreign) == []
    quantized = {**tensors(one), "head.bias": Tensor(np.zeros(2), dtype="torch.qint8")}
    with pytest.raises(DataError, match=r"'head\.bias' is a Tensor"):
        other.load_state_dict(quantized)


REFUSED = """Weights only load failed. This file can still be loaded.
\tWeightsUnpickler error: Unsupported global: GLOBAL os.system was not an allowed global. Please use ...
more"""


def torch_that(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[dict[str, Any]]:
    """A torch whose `load` gives, or raises, this; and what it was asked."""
    asked: list[dict[str, Any]] = []

    def load(path: Any, **options: Any) -> Any:
        asked.append(options)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(load=load))
    return asked


@pytest.mark.parametrize("inside", [None, "state_dict", "model"])
def test_a_pickle_is_read_by_torch_alone_and_weights_only(
    inside: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, path = net_of(1), net_of(2), tmp_path / "w.pt"
    path.write_bytes(b"PK")
    held = tensors(one) if inside is None else {"epoch": 3, inside: tensors(one), "optimizer": {"state": {}}}
    asked = torch_that(monkeypatch, held)
    assert other.load(path) == []
    assert same(one, other)
    assert asked == [{"map_location": "cpu", "weights_only": True}]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (pickle.UnpicklingError(REFUSED), r"weights_only refused .*weights: Unsupported global: GLOBAL os.system"),
        (RuntimeError("PytorchStreamReader failed\nat 3"), "torch cannot read .*RuntimeError: PytorchStreamReader"),
        (EOFError(), "torch cannot read .*EOFError"),
        ([1], "holds a list, not a state_dict"),
        ({"epoch": 3, "lr": 0.1}, "should hold one state_dict, and holds none: epoch, lr"),
        ({"a": {"w": Tensor(0)}, "b": {"w": Tensor(0)}}, "holds several: a, b"),
        ({"head.bias": Tensor(0), "step": 3}, "'step' is a int"),
    ],
)
def test_a_pickle_that_is_no_state_dict_is_refused(
    answer: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"PK")
    torch_that(monkeypatch, answer)
    with pytest.raises(DataError, match=words) as caught:
        read_weights(path)
    assert caught.value.hint


def test_without_torch_a_pickle_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "w.pt"
    with pytest.raises(DataError, match="it is no file"):
        net_of().load(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ConfigError, match="needs the package 'torch'") as caught:
        net_of().load(path)
    assert caught.value.hint == "pip install 'layerforge[torch]'"


def test_no_pickle_is_written(tmp_path: Path) -> None:
    for suffix in (".pt", ".pth"):
        with pytest.raises(ConfigError, match="pickles, which LayerForge never writes") as caught:
            net_of().save(tmp_path / f"w{suffix}")
        assert "w.safetensors" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())
