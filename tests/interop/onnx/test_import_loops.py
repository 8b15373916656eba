"""A Loop whose number of runs is known becomes its body as often, as for recurrent layers that exporters write so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.onnx_graphs import compare, drawn, imported, model, node
from support.tools import demand

from layerforge.interop.onnx import branches
from layerforge.schema.errors import ConfigError

T, H = 4, 5
WEIGHTS = {"w": drawn((3, H), 1), "u": drawn((H, H), 2), "b": drawn((H,), 3)}
WEIGHTS |= {"runs": np.array(T), "yes": np.array(True)}


@pytest.fixture(autouse=True)
def _tools() -> None:
    demand("onnx")
    demand("onnxruntime")


def body(condition: list[Any], *more: Any, outputs: tuple[str, ...] = ("h", "shown"), steps: Any = None) -> Any:
    """h = tanh(x[t] w + h u + b), of x (T, N, 3); it is also shown in each run."""
    from onnx import TensorProto, helper

    usual = [node("MatMul", "h_before u", "from_h"), node("Add", "from_x from_h", "a"), node("Add", "a b", "sum")]
    inputs = [
        helper.make_tensor_value_info("t", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("h_before", TensorProto.FLOAT, None),
    ]
    nodes = [
        node("Gather", "x t", "x_t", axis=0),
        node("MatMul", "x_t w", "from_x"),
        *(steps or usual),
        node("Tanh", "sum", "h"),
        node("Identity", "h", "shown"),
        *condition,
        *more,
    ]
    condition_out = helper.make_tensor_value_info("go_on", TensorProto.BOOL, [])
    made = [condition_out, *map(helper.make_empty_tensor_value_info, outputs)]
    return helper.make_graph(nodes, "body", inputs, made)


def loop(graph: Any, inputs: str = "runs yes h0", outputs: str = "last all", opset: int = 17, **more: Any) -> Any:
    zeros = node("ConstantOfShape", "zeros_shape", "zeros")
    nodes = [zeros, node("Loop", inputs, outputs, body=graph)]
    n = 2 if "zeros" in inputs else "N"
    weights = {**WEIGHTS, "zeros_shape": np.array([2, H]), **more}
    wanted = [name for name in outputs.split() if name != "unused"]
    return model(nodes, {"x": [T, n, 3], "h0": [n, H]}, wanted, weights, opset=opset)


def on() -> list[Any]:
    """The condition of a loop that ends with its number of runs."""
    return [node("Identity", "go", "go_on")]


def divided() -> list[Any]:
    """Steps that are no RNN to those who look for one."""
    return [
        *(node("MatMul", "h_before u", "from_h"), node("Add", "from_x from_h", "a"), node("Add", "a b", "ab")),
        node("Div", "ab single", "sum"),
    ]


GIVEN = [{"x": drawn((T, n, 3), n), "h0": drawn((n, H), 10 + n)} for n in (2, 7)]


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("op", ["RNN", "Tanh"])
def test_a_recurrent_loop_computes_the_same_and_its_weights_stay_one(op: str, opset: int) -> None:
    graph = body(on(), steps=None if op == "RNN" else divided())
    made = compare(loop(graph, opset=opset, single=np.array(1.0)), *GIVEN)
    assert [layer["type"] for layer in made.config["net"]].count(op) == (1 if op == "RNN" else T)
    net = made.net(keep="none")
    assert len(net.parameters.slots) == 3  # w, u and b, whatever T is
    rng = np.random.default_rng(0)
    cotangents = {made.outputs["all"]: rng.normal(size=(T, 2, H))}
    net.forward(phase="eval", backward=True, **{made.inputs[name]: array for name, array in GIVEN[0].items()})
    net.backward(cotangents)
    found = {tuple(slot.shape): slot.view(net.parameters.grad) for slot in net.parameters.slots.values()}
    w, u, b = (WEIGHTS[name].astype(np.float64) for name in "wub")
    for wanted in gradients(GIVEN[0]["x"], GIVEN[0]["h0"], w, u, b, cotangents[made.outputs["all"]]):
        np.testing.assert_allclose(found[wanted.T.shape], wanted.T, atol=1e-4)


def test_what_the_first_run_makes_of_zeros_and_a_bias_stays_that_bias() -> None:
    from onnx import TensorProto, helper

    steps = [node("MatMul", "h_before u", "from_h"), node("Squeeze", "state first", "bias")]
    steps += [node("Add", "from_h bias", "a"), node("Add", "from_x a", "sum")]
    graph = body([node("Identity", "state", "kept")], *on(), steps=steps, outputs=("h", "kept", "shown"))
    graph.input.append(helper.make_tensor_value_info("state", TensorProto.FLOAT, None))
    held = {"row": WEIGHTS["b"][None], "first": np.array([0])}
    made = compare(loop(graph, "runs yes zeros row", "last unused all", **held), GIVEN[0])
    slots = made.net(keep="none").parameters.slots.values()
    assert sorted(tuple(slot.shape) for slot in slots) == [(H,), (H, 3), (H, H)]


def gradients(x: Any, h: Any, w: Any, u: Any, b: Any, dall: Any) -> list[np.ndarray]:
    """Those of w, u and b, by the chain rule, step after step."""
    states = [np.asarray(h, np.float64)]
    for x_t in x:
        states.append(np.tanh(x_t @ w + states[-1] @ u + b))
    dw, du, db, dh = np.zeros_like(w), np.zeros_like(u), np.zeros_like(b), np.zeros_like(states[0])
    for t in reversed(range(len(x))):
        da = (dh + dall[t]) * (1 - states[t + 1] ** 2)
        dw, du, db, dh = dw + x[t].T @ da, du + states[t].T @ da, db + da.sum(0), da @ u.T
    return [dw, du, db]


def test_a_known_condition_ends_it_early() -> None:
    until = [node("Less", "t two", "go_on")]
    compare(loop(body(until), two=np.array(2)), *GIVEN)


@pytest.mark.parametrize("most", ["-", "endless"])
def test_a_loop_that_ends_by_its_condition_alone_runs_until_then(most: str) -> None:
    until = [node("Less", "t two", "go_on")]
    graph = loop(body(until), inputs=f"{most} yes h0", two=np.array(2), endless=np.array(2**63 - 1))
    made = compare(graph, *GIVEN)
    assert len(made.net(keep="none").parameters.slots) == 3
    assert any("imported 3 times" in note for entry in made.report.entries for note in entry.notes)


def test_what_a_loop_that_does_not_run_would_show_need_not_be_known_where_nobody_reads_it() -> None:
    compare(loop(body(on()), outputs="last unused", runs=np.array(0)), *GIVEN)


def test_a_bias_of_several_axes_is_one_parameter_for_all_runs() -> None:
    graph = loop(body(on(), steps=divided()), b=drawn((1, H), 3), single=np.array(1.0))
    slots = compare(graph, *GIVEN).net(keep="none").parameters.slots.values()
    assert sorted(tuple(slot.shape) for slot in slots) == [(H,), (H, 3), (H, H)]


def test_steps_along_the_second_axis_are_read_along_it_even_if_there_are_as_many_samples() -> None:
    graph = body(on())
    graph.node[0].attribute[0].i = 1
    nodes = [node("Loop", "runs yes h0", "last all", body=graph)]
    proto = model(nodes, {"x": [T, T, 3], "h0": [T, H]}, ["last", "all"], WEIGHTS)
    compare(proto, {"x": drawn((T, T, 3), 1), "h0": drawn((T, H), 2)})


@pytest.mark.parametrize("shape", [(1, H), (H,)])
def test_what_it_begins_with_may_be_the_same_for_all_samples(shape: tuple[int, ...]) -> None:
    compare(loop(body(on()), "runs yes first", first=drawn(shape, 5)), *GIVEN, inputs={"x": (T, 2, 3), "h0": (2, H)})


def test_a_loop_that_computes_each_step_apart_has_no_state() -> None:
    from onnx import TensorProto, helper

    kinds = {"t": TensorProto.INT64, "go": TensorProto.BOOL, "count": TensorProto.INT64}
    inputs = [helper.make_tensor_value_info(name, kind, []) for name, kind in kinds.items()]
    nodes = [node("Gather", "x t", "x_t", axis=0), node("MatMul", "x_t w", "shown"), node("Add", "count t", "counted")]
    made = [helper.make_empty_tensor_value_info(name) for name in ("go_on", "counted", "shown")]
    graph = helper.make_graph([*nodes, *on()], "body", inputs, made)
    held = {**WEIGHTS, "zero": np.array(0)}
    proto = model([node("Loop", "runs yes zero", "last all", body=graph)], {"x": [T, 2, 3]}, ["all"], held)
    (slot,) = compare(proto, {"x": GIVEN[0]["x"]}).net(keep="none").parameters.slots.values()
    assert tuple(slot.shape) == (H, 3)


def test_a_loop_that_does_not_run_gives_what_it_began_with() -> None:
    made = loop(body(on(), outputs=("h",)), outputs="last", runs=np.array(0))
    compare(made, *GIVEN)


def until_it_is_small() -> Any:
    return loop(body([node("ReduceSum", "h", "s", keepdims=0), node("Greater", "s zero", "go_on")]), zero=np.array(0.0))


def nested(runs: int) -> Any:
    """Loops within one another, each of a few nodes: together they run runs³ times."""
    from onnx import TensorProto, helper

    held = {"runs": np.array(runs), "yes": np.array(True)}
    graph = None
    for depth in range(3):
        names = f"t{depth} go{depth} h{depth}".split()
        kinds = (TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT)
        inputs = [helper.make_tensor_value_info(*one, None) for one in zip(names, kinds, strict=True)]
        made = [helper.make_empty_tensor_value_info(name) for name in (f"on{depth}", f"out{depth}")]
        step = node("Loop", f"runs yes h{depth}", f"out{depth}", body=graph) if depth else node("Tanh", "h0", "out0")
        graph = helper.make_graph([node("Identity", f"go{depth}", f"on{depth}"), step], "body", inputs, made)
    return model([node("Loop", "runs yes x", body=graph)], {"x": ["N", 2]}, ["y"], held)


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (until_it_is_small, "whether it goes on"),
        (lambda: loop(body(on()), runs=np.array(10**7)), "would become more than"),
        (lambda: loop(body(on()), inputs="- yes h0"), "would become more than"),
        (lambda: loop(body(on()), runs=np.array(3.5)), "how often it runs"),
        (lambda: nested(30), "would become more than 10000 nodes"),
    ],
)
def test_what_is_not_known_is_refused(graph: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        imported(graph())


@pytest.mark.parametrize(("axis", "told"), [(0, "first axis is open"), (1, "--input NAME=SHAPE")])
def test_a_loop_over_an_open_length_is_refused_with_what_helps(axis: int, told: str) -> None:
    lengths = [node("Shape", "h0", "lengths"), node("Gather", "lengths axis", "length", axis=0)]
    proto = loop(body(on(), steps=divided()), "length yes h0", single=np.array(1.0), axis=np.array(axis))
    proto.graph.node.insert(0, lengths[0])
    proto.graph.node.insert(1, lengths[1])
    proto.graph.input[1].type.tensor_type.shape.dim[1].dim_param = "H"
    with pytest.raises(ConfigError, match=told):
        imported(proto, {"x": (T, 2, 3), "h0": (2, H)})


def test_a_loop_whose_condition_stays_true_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branches, "MOST", 60)
    until = [node("Less", "t far", "go_on")]
    proto = loop(body(until, steps=divided()), "- yes h0", far=np.array(10**9), single=np.array(1.0))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 100
    with pytest.raises(ConfigError, match="runs 6 times and more: Loops would become more than 60 nodes"):
        imported(proto)


# The same part of an initializer ---------------------------------------------------------------------------------


def test_the_same_part_of_an_initializer_is_one_parameter_for_all_who_take_it() -> None:
    halves = [node("Slice", "w zero two zero", "first"), node("Slice", "w zero two zero", "again")]
    nodes = [*halves, node("MatMul", "x first", "p"), node("Tanh", "p", "q"), node("MatMul", "q again")]
    made = compare(
        model(nodes, {"x": ["N", 2]}, ["y"], {"w": drawn((4, 2)), "zero": np.array([0]), "two": np.array([2])}),
        {"x": drawn((3, 2), 1)},
    )
    (slot,) = made.net(keep="none").parameters.slots.values()
    assert tuple(slot.shape) == (2, 2)


@pytest.mark.parametrize("first", ["x", "row"])
def test_a_matrix_and_what_it_is_turned_are_one_parameter(first: str) -> None:
    """`row u` of two initializers is a Matmul of Parameters, and x u a Linear, whose weight is u turned."""
    products = {"x": [node("MatMul", "x u", "p")], "row": [node("MatMul", "row u", "q")]}
    nodes = [*products.pop(first), *next(iter(products.values())), node("Add", "p q", "r"), node("Tanh", "r", "s")]
    nodes += [node("Transpose", "u", "v", perm=[1, 0]), node("MatMul", "s v")]
    held = {"u": drawn((H, H), 2), "row": drawn((1, H), 3)}
    made = compare(model(nodes, {"x": ["N", H]}, ["y"], held), {"x": drawn((3, H), 1)})
    net = made.net(keep="none")
    assert sorted(tuple(slot.shape) for slot in net.parameters.slots.values()) == [(1, H), (H, H)]
    x, dy = drawn((3, H), 1).astype(np.float64), drawn((3, H), 4)
    net.forward(phase="eval", backward=True, **{made.inputs["x"]: x.astype(np.float32)})
    net.backward({made.outputs["y"]: dy})
    u, row = held["u"].astype(np.float64), held["row"].astype(np.float64)
    s = np.tanh(x @ u + row @ u)
    dr = (dy @ u) * (1 - s**2)
    wanted = x.T @ dr + row.T @ dr.sum(0, keepdims=True) + dy.T @ s
    (found,) = (one.view(net.parameters.grad) for one in net.parameters.slots.values() if one.shape[0] == H)
    turned = np.abs(found - wanted.T).max() < np.abs(found - wanted).max()
    np.testing.assert_allclose(found, wanted.T if turned else wanted, atol=1e-4)
