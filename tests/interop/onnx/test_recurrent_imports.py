"""LSTM, GRU and RNN of ONNX: directions, lengths, states and layouts as ONNX Runtime has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.onnx_graphs import compare, computed, drawn, imported, judged, model, node, same
from support.tools import demand

from layerforge.interop.onnx.model import Model
from layerforge.interop.onnx.reading import graph_of
from layerforge.interop.onnx.translation import translate
from layerforge.schema.errors import LayerForgeError

T, N, D, H = 4, 3, 2, 5
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STATES = {"LSTM": "h c", "GRU": "h", "RNN": "h"}


def weights(op: str, passes: int, bias: bool = True, size: int = H, width: int = D) -> dict[str, np.ndarray]:
    """W, R and B."""
    shapes = {"W": (passes, GATES[op] * size, width), "R": (passes, GATES[op] * size, size)}
    shapes |= {"B": (passes, 2 * GATES[op] * size)} if bias else {}
    return {name: drawn(shape, seed) for seed, (name, shape) in enumerate(shapes.items())}


def graph(op: str, direction: str, inputs: str = "x W R B", **told: Any) -> Any:
    """A model of one recurrent operator with all its outputs, the batch dynamic."""
    passes = 2 if direction == "bidirectional" else 1
    given: dict[str, Any] = {"x": [T, "N", D], "lengths": (["N"], "int32")}
    given |= {name: [passes, "N", H] for name in ("h0", "c0")}
    outputs = "y h c" if op == "LSTM" else "y h"
    if op == "GRU":
        told.setdefault("linear_before_reset", 1)
    made = node(op, inputs, outputs, hidden_size=H, direction=direction, **told)
    arrays = weights(op, passes, bias="B" in inputs.split())
    read = {name: shape for name, shape in given.items() if name in inputs.split()}
    return model([made], read, outputs.split(), arrays)


def feeds(proto: Any, n: int = N) -> dict[str, np.ndarray]:
    """Random inputs."""
    found = {}
    for i, info in enumerate(proto.graph.input):
        shape = [d.dim_value or n for d in info.type.tensor_type.shape.dim]
        lengths = np.array([T, 1, T - 1, 2][:n], np.int32)
        found[info.name] = lengths if info.name == "lengths" else drawn(shape, i)
    return found


@pytest.mark.parametrize("inputs", ["x W R B", "x W R", "x W R B lengths", "x W R B - h0", "x W R B lengths h0"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_all_directions_lengths_and_states(op: str, direction: str, inputs: str) -> None:
    demand("onnxruntime")
    proto = graph(op, direction, inputs + (" c0" if op == "LSTM" and "h0" in inputs else ""))
    given = feeds(proto)
    made = compare(proto, given, feeds(proto, 2), inputs={name: array.shape for name, array in given.items()})
    assert [layer["type"] for layer in made.config["net"]].count(op) == 1


@pytest.mark.parametrize("inputs", ["x W R B - h0", "x W R B - - c0"])
def test_a_state_that_is_not_given_is_0(inputs: str) -> None:
    demand("onnxruntime")
    proto = graph("LSTM", "bidirectional", inputs)
    given = feeds(proto)
    compare(proto, given, inputs={name: array.shape for name, array in given.items()})


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_with_the_samples_in_front_it_is_the_same(op: str, direction: str) -> None:
    demand("onnxruntime")
    behind = graph(op, direction)
    passes = 2 if direction == "bidirectional" else 1
    told = {"linear_before_reset": 1} if op == "GRU" else {}
    outputs = "y h c" if op == "LSTM" else "y h"
    made = node(op, "x W R B", outputs, hidden_size=H, direction=direction, layout=1, **told)
    front = model([made], {"x": ["N", T, D]}, outputs.split(), weights(op, passes))
    x = drawn((T, N, D))
    wanted, found = judged(behind, {"x": x}), computed(imported(front), {"x": x.transpose(1, 0, 2)})
    same(found["y"], wanted["y"].transpose(2, 0, 1, 3))
    same(found["h"], wanted["h"].transpose(1, 0, 2))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_without_patterns_it_is_the_same(op: str, direction: str) -> None:
    demand("onnxruntime")
    proto = graph(op, direction, "x W R B lengths h0" + (" c0" if op == "LSTM" else ""))
    given = feeds(proto)
    made = Model(translate(graph_of(proto), "test.onnx", {name: array.shape for name, array in given.items()}))
    wanted, found = judged(proto, given), computed(made, given)
    for name, mine in found.items():
        same(mine, wanted[name], name)


def test_the_size_of_the_state_need_not_be_said() -> None:
    demand("onnx")
    said, silent = (node("LSTM", "x W R B", "y", **told) for told in ({"hidden_size": H}, {}))
    first, second = (imported(model([one], {"x": [T, N, D]}, ["y"], weights("LSTM", 1))) for one in (said, silent))
    assert first.config == second.config


def test_relu_of_an_rnn() -> None:
    demand("onnxruntime")
    proto = graph("RNN", "bidirectional", activations=["Relu", "Relu"])
    compare(proto, feeds(proto), inputs={"x": (T, N, D)})


@pytest.mark.parametrize("op", GATES)
def test_a_second_bias_of_zeros_is_none(op: str) -> None:
    demand("onnxruntime")
    proto = graph(op, "forward")
    from onnx import numpy_helper

    (held,) = [one for one in proto.graph.initializer if one.name == "B"]
    b = numpy_helper.to_array(held).copy()
    b[:, b.shape[1] // 2 :] = 0
    held.CopyFrom(numpy_helper.from_array(b, "B"))
    made = compare(proto, feeds(proto), inputs={"x": (T, N, D)})
    (layer,) = [one for one in made.config["net"] if one["type"] == op]
    assert layer["recurrent_bias"] is False


@pytest.mark.parametrize("op", GATES)
def test_operators_with_the_same_numbers_share_them(op: str) -> None:
    demand("onnxruntime")
    told = {"linear_before_reset": 1} if op == "GRU" else {}
    cells = [node(op, f"{x} W R B", f"y{x}", hidden_size=H, direction="bidirectional", **told) for x in ("a", "b")]
    proto = model(cells, {name: [T, N, D] for name in "ab"}, ["ya", "yb"], weights(op, 2))
    made = compare(proto, {"a": drawn((T, N, D), 1), "b": drawn((T, N, D), 2)})
    first, second = (layer for layer in made.config["net"] if layer["type"] == op)
    assert len(second["share"]) == 8
    assert all(owner == f"{first['name']}.{name}" for name, owner in second["share"].items())


def step_by_step(befores: str = "first h0 h1", places: str = "012", op: str = "Tanh", joined: str = "h0 h1 h2") -> Any:
    """A graph of an RNN of three steps as torch.export writes it."""
    nodes = [node("MatMul", "x W", "p"), node("Add", "p a", "u")]
    for t, (before, place) in enumerate(zip(befores.split(), places, strict=True)):
        nodes += [node("Slice", f"u {place} {int(place) + 1} zero", f"s{t}"), node("MatMul", f"{before} R", f"m{t}")]
        nodes += [node("Add", f"m{t} b", f"l{t}"), node("Add", f"l{t} s{t}", f"t{t}"), node(op, f"t{t}", f"h{t}")]
    arrays: dict[str, Any] = {"W": drawn((D, H), 1), "R": drawn((H, H), 2), "a": drawn((H,), 3), "b": drawn((H,), 4)}
    arrays |= {str(t): np.array([t]) for t in range(4)} | {"zero": np.array([0])}
    return model(
        [*nodes, node("Concat", joined, "y", axis=0)], {"x": [3, N, D], "first": [1, N, H]}, ["y", "h2"], arrays
    )


@pytest.mark.parametrize("op", ["Tanh", "Relu"])
def test_an_rnn_that_is_written_step_by_step(op: str) -> None:
    demand("onnxruntime")
    made = compare(step_by_step(op=op), {"x": drawn((3, N, D)), "first": drawn((1, N, H))})
    kinds = [layer["type"] for layer in made.config["net"]]
    assert kinds.count("RNN") == 1
    assert not {"Linear", "Tanh", "ReLU", "Concat"} & set(kinds)


@pytest.mark.parametrize(
    "told",
    [
        {"befores": "first h0 h0"},
        {"befores": "first first h1"},
        {"places": "021"},
        {"places": "011"},
        {"joined": "h0 h2 h1"},
        {"joined": "h0 h1"},
        {"op": "Sigmoid"},
    ],
)
def test_what_is_nearly_an_rnn_is_computed_as_it_is_written(told: dict[str, str]) -> None:
    demand("onnxruntime")
    made = compare(step_by_step(**told), {"x": drawn((3, N, D)), "first": drawn((1, N, H))})
    assert "RNN" not in [layer["type"] for layer in made.config["net"]]


def test_lengths_that_are_known() -> None:
    demand("onnxruntime")
    proto = graph("GRU", "bidirectional", "x W R B fixed")
    from onnx import numpy_helper

    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = N
    proto.graph.initializer.append(numpy_helper.from_array(np.array([4, 1, 3], np.int32), "fixed"))
    made = compare(proto, feeds(proto))
    assert any(layer["type"] in ("Constant", "Parameter") for layer in made.config["net"])


def test_lengths_that_are_all_of_it_are_no_mask() -> None:
    demand("onnxruntime")
    proto = graph("GRU", "forward", "x W R B fixed")
    from onnx import numpy_helper

    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = N
    proto.graph.initializer.append(numpy_helper.from_array(np.array([4, 4, 4], np.int32), "fixed"))
    made = compare(proto, feeds(proto))
    (layer,) = [one for one in made.config["net"] if one["type"] == "GRU"]
    assert isinstance(layer["bottom"], str)


@pytest.mark.parametrize(
    ("op", "told", "message"),
    [
        ("GRU", {"linear_before_reset": 0}, "linear_before_reset is 0"),
        ("LSTM", {"clip": 1.0}, "clip"),
        ("LSTM", {"input_forget": 1}, "input_forget"),
        ("LSTM", {"activations": ["Sigmoid", "Relu", "Tanh"]}, "activations"),
        ("RNN", {"activations": ["Affine"]}, "activations"),
        ("LSTM", {"direction": "sideways"}, "direction is 'sideways'"),
    ],
)
def test_what_our_layers_compute_otherwise_is_refused(op: str, told: dict[str, Any], message: str) -> None:
    demand("onnx")
    proto = graph(op, **({"direction": "forward"} | told))
    with pytest.raises(LayerForgeError, match=message):
        imported(proto, {"x": (T, N, D)})


def test_peepholes_are_refused() -> None:
    demand("onnx")
    arrays = weights("LSTM", 1) | {"P": drawn((1, 3 * H))}
    made = node("LSTM", "x W R B - - - P", "y", hidden_size=H, name="cell")
    with pytest.raises(LayerForgeError, match=r"'cell' .*peepholes"):
        imported(model([made], {"x": [T, N, D]}, ["y"], arrays))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"W": (1, 7, D)}, "W has shape"),
        ({"R": (2, 4 * H, H)}, "for 1 direction"),
        ({"B": (1, 9)}, "B has shape"),
    ],
)
def test_weights_that_do_not_fit_are_told_of(changed: dict[str, tuple[int, ...]], message: str) -> None:
    demand("onnx")
    arrays = weights("LSTM", 1) | {name: drawn(shape) for name, shape in changed.items()}
    with pytest.raises(LayerForgeError, match=message):
        imported(model([node("LSTM", "x W R B", "y", hidden_size=H)], {"x": [T, N, D]}, ["y"], arrays))


# Time, backwards ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [5, 3, 1, 0])
@pytest.mark.parametrize("axes", [{}, {"time_axis": 1, "batch_axis": 0}])
def test_samples_that_are_as_long_are_turned(axes: dict[str, int], length: int) -> None:
    shape = [4, 5, 2] if axes else [5, 4, 2]
    proto = model([node("ReverseSequence", "x lengths", **axes)], {"x": shape}, ["y"], {"lengths": np.full(4, length)})
    given = {"x": drawn(shape)}
    if length:
        compare(proto, given)
    else:  # which ONNX Runtime refuses
        assert np.array_equal(computed(imported(proto), given)["y"], given["x"])


def test_all_of_a_batch_of_any_size_is_turned() -> None:
    ends = [node("Shape", "x", "shape"), node("Slice", "shape zero one zero", "n"), node("Expand", "five n", "lengths")]
    turn = node("ReverseSequence", "x lengths", time_axis=1, batch_axis=0)
    held = {"zero": np.array([0]), "one": np.array([1]), "five": np.array([5])}
    compare(model([*ends, turn], {"x": ["N", 5, 2]}, ["y"], held), {"x": drawn((3, 5, 2))}, {"x": drawn((7, 5, 2))})


def test_constants_are_turned_by_lengths_of_their_own() -> None:
    held = {"w": drawn((5, 4, 2)), "lengths": np.array([5, 1, 3, 4])}
    made = compare(
        model([node("ReverseSequence", "w lengths", "turned"), node("Add", "x turned")], {"x": [5, 4, 2]}, ["y"], held),
        {"x": drawn((5, 4, 2), 1)},
    )
    assert "Flip" not in [layer["type"] for layer in made.config["net"]]


@pytest.mark.parametrize(
    ("lengths", "told"),
    [
        ([5, 4, 5, 5], "lengths of their own"),
        ([5, 6, 5, 5], r"\[5, 6, 5, 5\] of 4 samples do not fit"),
        ([5, 5, 5], "of 3 samples do not fit"),
        (None, "the length of each sample is computed by the net"),
    ],
)
def test_samples_of_several_lengths_are_refused(lengths: list[int] | None, told: str) -> None:
    held = {} if lengths is None else {"lengths": np.array(lengths)}
    given: dict[str, Any] = {"x": [5, 4, 2]} | ({} if held else {"lengths": ([4], "int64")})
    with pytest.raises(LayerForgeError, match=f"ReverseSequence.*{told}"):
        imported(model([node("ReverseSequence", "x lengths")], given, ["y"], held))


def two_ways(op: str = "RNN", read: str = "x_back", back: str = "y_back", axis: int = 2, other: str = "2") -> Any:
    """Two layers of one direction, the second of the sequence backwards, turned back and joined."""
    told = {"linear_before_reset": 1} if op == "GRU" else {}
    nodes = [node("ReverseSequence", "x ends", "x_back"), node(op, "x W R B", "y1", hidden_size=H, **told)]
    nodes += [
        node(op, f"{read} W{other} R{other} B{other}", "y2", hidden_size=H, **told),
        node("Squeeze", "y1 one", "y"),
    ]
    nodes += [node("Squeeze", "y2 one", "y_turned"), node("ReverseSequence", "y_turned ends", "y_back")]
    arrays: dict[str, Any] = {"ends": np.full(N, T), "one": np.array([1]), **weights(op, 1)}
    arrays |= {f"{name}2": drawn(array.shape, 9) for name, array in weights(op, 1).items()}
    return model([*nodes, node("Concat", f"y {back}", "both", axis=axis)], {"x": [T, N, D]}, ["both"], arrays)


@pytest.mark.parametrize("op", GATES)
def test_two_directions_that_are_joined_are_one_layer(op: str) -> None:
    demand("onnxruntime")
    made = compare(two_ways(op), {"x": drawn((T, N, D))})
    assert [layer["type"] for layer in made.config["net"]] == ["Permute", op, "Permute"]


@pytest.mark.parametrize(
    "told", [{"read": "x"}, {"back": "y_turned"}, {"read": "x", "back": "y_turned"}, {"axis": 1}, {"other": ""}]
)
def test_what_is_nearly_two_directions_stays_two_layers(told: dict[str, Any]) -> None:
    demand("onnxruntime")
    made = compare(two_ways(**told), {"x": drawn((T, N, D))})
    assert [layer["type"] for layer in made.config["net"]].count("RNN") == 2
