"""A Loop whose body is a step of a GRU, an LSTM or an RNN becomes that layer, however the step is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.onnx_graphs import compare, drawn, imported, model, node
from support.tools import demand

T, N, D, H = 3, 2, 4, 3

READ = "Gather x t > x_t"
RNN = "MatMul x_t w > p; MatMul h u > q; Add p q > pq; Add pq b > a; Tanh a > h_next"
GRU = """MatMul x_t w > p; Add p b > bp; Split bp > uz ur ug; MatMul h u > q; Add q c > cq; Split cq > wz wr wg;
    Add uz wz > az; Sigmoid az > z; Add ur wr > ar; Sigmoid ar > r; Mul r wg > rw; Add ug rw > ag; Tanh ag > g;
    Sub one z > not_z; Mul not_z g > new; Mul z h > old; Add old new > h_next"""
LSTM = """MatMul x_t w > p; MatMul h u > q; Add p q > pq; Add pq b > a; Split a > ai af ag ao; Sigmoid ai > i;
    Sigmoid af > f; Tanh ag > g; Sigmoid ao > o; Mul f s > fs; Mul i g > ig; Add fs ig > s_next; Tanh s_next > m;
    Mul o m > h_next"""
SWAPPED = "Slice x_t zero first zero > a_; Slice x_t first two zero > b_; Stack b_ a_ > x_s"  # samples change places
AXES = {"Split": {"axis": -1}, "Concat": {"axis": -1}}


@pytest.fixture(autouse=True)
def _tools() -> None:
    demand("onnx")
    demand("onnxruntime")


def nodes(text: str) -> list[Any]:
    """Nodes as "Op inputs > outputs; ..."."""
    told = [one.strip().split(" > ") for one in text.split(";")]
    made = []
    for read, outputs in told:
        op, inputs = read.split(" ", 1)
        if op == "Stack":  # along the first axis
            made.append(node("Concat", inputs, outputs, axis=0))
            continue
        made.append(node(op, inputs, outputs, **AXES.get(op, {})))
    return made


def loop(
    step: str, states: str = "h", shown: str = "h_next", gates: int = 1, more: str = "", n: int = N, **held: Any
) -> Any:
    """A model that runs a step for each of x (T, n, D).

    states   that move, beside the number of the step; s is the cell of an LSTM
    shown    what is given for each step
    more     nodes behind the Loop
    """
    from onnx import TensorProto, helper

    moving = ["t", *states.split()]
    kinds = {"run": TensorProto.INT64, "go": TensorProto.BOOL, "t": TensorProto.INT64}
    inputs = [
        helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), [] if name in kinds else None)
        for name in ("run", "go", *moving)
    ]
    inner = nodes(f"{step}; Add t single > t_next; Less t_next end > go_on; Identity {shown} > shown")
    made = ["go_on", *(f"{name}_next" for name in moving), "shown"]
    body = helper.make_graph(inner, "body", inputs, [helper.make_empty_tensor_value_info(name) for name in made])
    begins = [f"{name}0" for name in moving]
    ends = [f"last_{name}" for name in moving]
    arrays = {"w": drawn((D, gates * H), 1), "u": drawn((H, gates * H), 2), "b": drawn((gates * H,), 3)}
    arrays |= {"c": drawn((gates * H,), 4), "one": np.float32(1), "single": np.array(1), "end": np.array(T)}
    arrays |= {"t0": np.array(0), "most": np.array(T), "yes": np.array(True)} | held
    behind = nodes(more) if more else []
    whole = [node("Loop", f"most yes {' '.join(begins)}", f"{' '.join(ends)} y", body=body), *behind]
    given = {"x": [T, n, D]} | {f"{name}0": [n, H] for name in states.split()}
    return model(whole, given, [*ends[1:], "y", *(["z"] if more else [])], arrays)


def feeds(proto: Any) -> dict[str, np.ndarray]:
    shapes = {one.name: [d.dim_value for d in one.type.tensor_type.shape.dim] for one in proto.graph.input}
    return {name: drawn(shape, i) for i, (name, shape) in enumerate(shapes.items())}


def kinds(proto: Any) -> list[str]:
    """The layers of a model that computes what ONNX Runtime does."""
    return [layer["type"] for layer in compare(proto, feeds(proto)).config["net"]]


def gru(*changes: tuple[str, str], more: str = "", **held: Any) -> Any:
    """A GRU with something else in the place of what it says."""
    step = f"{READ}; {GRU}"
    for old, new in changes:
        assert old in step
        step = step.replace(old, new)
    return loop(step, gates=3, more=more, **held)


@pytest.mark.parametrize(
    ("op", "step", "states", "parameters"),
    [
        ("RNN", RNN, "h", 3),
        ("RNN", RNN.replace("Tanh", "Relu"), "h", 3),
        ("RNN", RNN.replace("Add pq b > a", "Add pq b > pqb; Add c pqb > a"), "h", 4),
        ("RNN", RNN.replace("Add pq b > a; Tanh a", "Tanh pq"), "h", 2),
        ("RNN", RNN.replace("MatMul x_t w > p", "Gemm x_t w b > p").replace("Add pq b > a; Tanh a", "Tanh pq"), "h", 3),
        ("GRU", GRU, "h", 4),
        ("GRU", GRU.replace("Add q c > cq; Split cq", "Split q"), "h", 3),
        ("GRU", GRU.replace("Sub one z > not_z", "Neg z > minus_z; Add minus_z one > not_z"), "h", 4),
        ("GRU", GRU.replace("Mul r wg > rw; Add ug rw > ag", "Mul wg r > rw; Add rw ug > ag"), "h", 4),
        ("LSTM", LSTM, "h s", 3),
        ("LSTM", LSTM, "s h", 3),
    ],
)
def test_a_step_however_it_is_written(op: str, step: str, states: str, parameters: int) -> None:
    proto = loop(f"{READ}; {step}", states, gates={"RNN": 1, "GRU": 3, "LSTM": 4}[op])
    made = compare(proto, feeds(proto))
    found = [layer["type"] for layer in made.config["net"]]
    assert found.count(op) == 1
    assert not {"Linear", "Sigmoid", "Tanh", "ReLU", "Mul", "Slice"} & set(found)
    assert len(made.net(keep="none").parameters.slots) == parameters
    assert any("stands for a Loop" in note for entry in made.report.entries for note in entry.notes)


def test_gates_of_which_each_has_weights_of_its_own() -> None:
    parts = {f"{name}{i}": drawn((rows, H), 10 * rows + i) for name, rows in (("w", D), ("u", H)) for i in range(3)}
    split = "; ".join(f"MatMul x_t w{i} > p{i}; MatMul h u{i} > q{i}" for i in range(3))
    joined = f"{split}; Concat p0 p1 p2 > p; Concat q0 q1 q2 > q"
    step = f"{READ}; {GRU}".replace("MatMul x_t w > p", joined).replace("MatMul h u > q; ", "")
    proto = loop(step, gates=3, **parts)
    assert kinds(proto).count("GRU") == 1


@pytest.mark.parametrize(
    "changes",
    [
        [("Mul z h", "Mul r h")],
        [("Sub one z", "Sub one r")],
        [("Sub one z", "Sub half z")],
        [("Sub one z", "Sub z one")],
        [("Tanh ag", "Sigmoid ag")],
        [("Sigmoid ar", "Tanh ar")],
        [("Mul r wg > rw; Add ug rw", "Mul r ug > rw; Add wg rw")],
        [("Add q c", "Add q b")],
        [("Split bp > uz ur ug", "Split bp > uz uz_ ug"), ("Add ur wr", "Add uz wr")],
        [("Add old new > h_next", "Add old new > h_; Neg h_ > h_next")],
        [("MatMul h u", "MatMul new_h u"), (READ, f"{READ}; Neg h > new_h")],
        [(READ, "Sub last t > back; Gather x back > x_t")],
        [(READ, "Gather x t0 > x_t")],
        [("MatMul x_t w", f"{SWAPPED}; MatMul x_s w")],
    ],
)
def test_what_is_nearly_a_gru_is_computed_as_it_is_written(changes: list[tuple[str, str]]) -> None:
    held = {"half": np.float32(0.5), "last": np.array(T - 1)}
    held |= {"zero": np.array([0]), "first": np.array([1]), "two": np.array([2])}
    assert "GRU" not in kinds(gru(*changes, **held))


@pytest.mark.parametrize("step", [RNN, GRU])
def test_a_loop_over_the_second_axis_is_not_one_over_the_first(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch with as many samples as steps shapes do not tell."""
    monkeypatch.setitem(AXES, "Gather", {"axis": 1})
    proto = loop(f"{READ}; {step}", gates=1 if step == RNN else 3, n=T)
    assert not {"RNN", "GRU"} & set(kinds(proto))


@pytest.mark.parametrize(
    ("read", "place", "is_layer"),
    [
        ("Add t place > tt; Gather x tt > x_t", [0], False),
        ("Add t place > tt; Gather x tt > x_t", [[0]], False),
        ("Add t place > tt; Gather x tt > x_t", [0, 0], False),
        ("Add t place > tt; Gather x tt > x_u; Squeeze x_u front > x_t", [0], True),
    ],
)
def test_the_axes_of_a_step_are_those_of_its_number(read: str, place: Any, is_layer: bool) -> None:
    proto = loop(f"{read}; {RNN}", place=np.array(place), front=np.array([0]))
    assert kinds(proto).count("RNN") == is_layer


def test_a_state_that_all_samples_begin_with_is_no_layers() -> None:
    from onnx import helper

    proto = loop(f"{READ}; {RNN}")
    proto.graph.input[1].CopyFrom(helper.make_tensor_value_info("h0", 1, [1, H]))
    assert "RNN" not in kinds(proto)


@pytest.mark.parametrize("most", [2, 5])
def test_not_all_steps_are_no_layer(most: int) -> None:
    """With 5 runs at most the condition ends it at T."""
    assert kinds(gru(most=np.array(most))).count("GRU") == (1 if most > T else 0)
    if most < T:
        assert "GRU" not in kinds(gru(end=np.array(most)))


@pytest.mark.parametrize(
    ("states", "step"),
    [
        ("", "MatMul x_t w > p; Tanh p > h_next"),
        ("h s k", f"{RNN}; Add s p > s_next; Add k p > k_next"),
    ],
)
def test_a_loop_without_a_state_or_with_more_than_a_cell_has(states: str, step: str) -> None:
    assert not {"RNN", "GRU", "LSTM"} & set(kinds(loop(f"{READ}; {step}", states)))


def test_weights_that_others_learn_too_stay_theirs() -> None:
    proto = gru(more="MatMul last_h u > z")
    made = compare(proto, feeds(proto))
    assert "GRU" not in [layer["type"] for layer in made.config["net"]]
    assert len(made.net(keep="none").parameters.slots) == 4


def test_a_long_sequence_is_one_layer() -> None:
    from onnx import helper

    proto = gru(end=np.array(2000), most=np.array(2000))
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, [2000, N, D]))
    assert [layer["type"] for layer in imported(proto).config["net"]].count("GRU") == 1
