"""Nets that torch's two exporters, Keras's and scikit-learn's have written: outputs and gradients as recorded there.

The files come from scripts/make_onnx_golden.py and make_onnx_golden_others.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support.tools import demand

from layerforge import Net
from layerforge.interop.onnx.model import Model, load_model
from layerforge.interop.onnx.reading import Reader

FOLDER = Path(__file__).parent / "golden"
FILES = sorted(path.name for path in FOLDER.glob("*.onnx"))
SKLEARN = [name for name in FILES if name.startswith("sklearn_")]
TRAINED = [name for name in FILES if name not in SKLEARN]
OUTPUTS, GRADIENTS = 1e-5, 1e-4  # of the largest number

# Layers that patterns make, and how many; None of what they are written with may be left.
RECOGNISED = {
    "mlp.dynamo.onnx": {"Linear": 4, "ReLU": 1, "SiLU": 1, "HardSwish": 1, "Mish": 1, "LogSoftmax": 1},
    "mlp.script.onnx": {"Linear": 4, "ReLU": 1, "SiLU": 1, "HardSwish": 1, "Mish": 1, "LogSoftmax": 1},
    "keras_norm.onnx": {"Linear": 2, "GELU": 1, "LayerNorm": 1},
    "keras_mlp.onnx": {"Linear": 3, "ReLU": 1, "SiLU": 1, "Softmax": 1},
    "keras_lstm.onnx": {"LSTM": 2, "Permute": 1, "Index": 1, "Squeeze": 1, "Linear": 1},
    "keras_gru.onnx": {"GRU": 2, "Permute": 1, "Index": 1, "Squeeze": 1, "Linear": 1},
    "keras_bigru.onnx": {"GRU": 1, "Linear": 1},
    "lstm.dynamo.onnx": {"Embedding": 1, "LSTM": 2, "Index": 1, "Linear": 1},
    "lstm.script.onnx": {"Embedding": 1, "LSTM": 2, "Index": 1, "Linear": 1},
    "rnn.dynamo.onnx": {"Permute": 2, "RNN": 1, "Reshape": 1, "Linear": 1},
    "encoder.dynamo.onnx": {
        **{"Embedding": 1, "Parameter": 1, "Add": 5, "MultiheadAttention": 2, "LayerNorm": 5, "Linear": 5},
        **{"ReLU": 1, "GELU": 1, "Mean": 1},
    },
    **{
        f"{name}.{exporter}.onnx": {
            **{"Embedding": 1, "Parameter": 1, "Add": 5, "MultiheadAttention": 2, "LayerNorm": 5, "Linear": 5},
            "GELU": 2,
        }
        for name in ("gpt", "gpt_plain")
        for exporter in ("dynamo", "script")
    },
}


READER = Reader()  # one process that reads all files


@pytest.fixture(autouse=True, scope="module")
def _one_reader() -> Iterator[None]:
    with READER:
        yield


@cache
def opened(name: str) -> tuple[Model, dict[str, np.ndarray]]:
    """A model, and what is recorded of it."""
    demand("onnx")
    recorded = dict(np.load(FOLDER / f"{name.split('.')[0]}.npz"))
    first = (
        {"x": recorded["input"].shape} if name.startswith(("gru", "rnn", "lstm_states")) else None
    )  # the batch is second
    return load_model(FOLDER / name, first, reader=READER), recorded


def gradients_by_value(recorded: dict[str, np.ndarray]) -> dict[float, float]:
    """For each number among the parameters, which are all different, its gradient."""
    params = [name.removeprefix("param.") for name in recorded if name.startswith("param.")]
    values = np.concatenate([recorded[f"param.{name}"].reshape(-1) for name in params])
    grads = np.concatenate([recorded[f"grad.{name}"].reshape(-1) for name in params])
    found = dict(zip(values.tolist(), grads.tolist(), strict=True))
    assert len(found) == len(values)
    return found


def same(mine: np.ndarray, wanted: np.ndarray, room: float) -> None:
    """Equal up to a part of the largest number."""
    assert mine.shape == wanted.shape
    assert np.isfinite(mine).all()
    assert np.abs(mine - wanted).max() <= room * np.abs(wanted).max()


def run(model: Model, recorded: dict[str, np.ndarray]) -> tuple[Net, dict[str, np.ndarray]]:
    """The net after a forward and a backward in eval, and its outputs by their numbers."""
    net = model.net(engine="reference")
    (name,) = model.inputs.values()
    net.forward(phase="eval", backward=True, **{name: recorded["input"]})
    outputs = dict(enumerate(model.outputs.values()))
    net.backward({blob: recorded[f"cotangent.{i}"] for i, blob in outputs.items()})
    return net, {f"output.{i}": np.asarray(net.blobs[blob]) for i, blob in outputs.items()}


@pytest.mark.parametrize("name", TRAINED)
def test_outputs_and_all_gradients_are_those_of_the_framework(name: str) -> None:
    model, recorded = opened(name)
    net, outputs = run(model, recorded)
    for output, mine in outputs.items():
        same(mine, recorded[output], OUTPUTS)
    wanted = gradients_by_value(recorded)
    seen: set[float] = set()
    room = GRADIENTS * max(abs(grad) for grad in wanted.values())
    for layer in net.layers.values():
        for key, values in layer.params.items():
            mine, theirs = layer.grads[key].reshape(-1), [wanted[value] for value in values.reshape(-1).tolist()]
            assert np.abs(mine - theirs).max() <= room, f"{layer.name}.{key}"
            seen.update(values.reshape(-1).tolist())
    assert seen == set(wanted), "numbers of the framework's parameters are not learned here"


@pytest.mark.parametrize("name", [f"keras_{name}.onnx" for name in ("gru", "bigru", "bilstm", "rnn", "cho")])
def test_three_steps_of_training_lead_where_the_framework_is_led(name: str) -> None:
    model, recorded = opened(name)
    net = model.net(engine="reference")
    (given,), (output,) = model.inputs.values(), model.outputs.values()
    for _ in range(3):
        net.zero_grad()
        net.forward(phase="eval", backward=True, **{given: recorded["input"]})
        net.backward({output: recorded["cotangent.0"]})
        for slot in net.parameters.slots.values():
            slot.view(net.parameters.data)[...] -= 0.01 * slot.view(net.parameters.grad)
    found = np.asarray(net.forward(phase="eval", **{given: recorded["input"]})[output])
    same(found, recorded["trained.0"], OUTPUTS)
    assert np.abs(found - recorded["output.0"]).max() > 0.01


@pytest.mark.parametrize("name", SKLEARN)
def test_answers_are_those_of_scikit_learn(name: str) -> None:
    model, recorded = opened(name)
    net = model.net()
    (name,) = model.inputs.values()
    answers = net.forward(phase="eval", **{name: recorded["input"]})
    found = [array for array in answers.values() if array.dtype.kind == "f"]
    assert len(found) == 1
    same(found[0], recorded["output"], OUTPUTS)


@pytest.mark.parametrize("name", RECOGNISED)
def test_groups_of_nodes_become_the_layers_that_they_stand_for(name: str) -> None:
    model, _ = opened(name)
    assert Counter(layer["type"] for layer in model.config["net"]) == RECOGNISED[name]


@pytest.mark.parametrize(
    "name", ["gpt.dynamo.onnx", "encoder.dynamo.onnx", "gpt_plain.script.onnx", "lstm.dynamo.onnx"]
)
def test_the_batch_has_any_size(name: str) -> None:
    model, recorded = opened(name)
    net = model.net(keep="none")
    (given,), (output,) = model.inputs.values(), model.outputs.values()
    several = np.concatenate([recorded["input"]] * 3 + [recorded["input"][:1]])
    found = net.forward(phase="eval", **{given: several})[output]
    same(found[-1:], recorded["output.0"][:1], OUTPUTS)
    assert len(found) == len(several)


def test_parameters_of_attention_are_those_of_torch() -> None:
    model, recorded = opened("encoder.dynamo.onnx")
    layer = model.net().layers["after.self_attn"]
    for mine, theirs in (("in_proj_weight", "in_proj_weight"), ("in_proj_bias", "in_proj_bias"),
                         ("out_proj_weight", "out_proj.weight"), ("out_proj_bias", "out_proj.bias")):  # fmt: skip
        assert np.array_equal(layer.params[mine], recorded[f"param.after.self_attn.{theirs}"])


@pytest.mark.parametrize("exporter", ["dynamo", "script"])
def test_parameters_of_an_lstm_are_those_of_torch(exporter: str) -> None:
    model, recorded = opened(f"lstm.{exporter}.onnx")
    lstms = [layer for layer in model.net().layers.values() if layer.type_name == "LSTM"]
    for number, layer in enumerate(lstms):
        for end in ("", "_reverse"):
            for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                assert np.array_equal(layer.params[f"{key}_l0{end}"], recorded[f"param.lstm.{key}_l{number}{end}"])


def test_the_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 1_000_000
