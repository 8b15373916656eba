"""Formulas that graphs write with several nodes: recognised where they are exactly these, else computed as written."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support.onnx_graphs import compare, drawn, imported, model, node
from support.tools import demand

from layerforge.schema.errors import LayerForgeError

ROOT, TANH = math.sqrt(0.5), math.sqrt(2 / math.pi)


def types(made: Any) -> list[str]:
    """The types of a model's layers."""
    return [layer["type"] for layer in made.config["net"]]


def graph(lines: str, outputs: str = "y", opset: int = 17, inputs: dict[str, Any] | None = None, **arrays: Any) -> Any:
    """A model of lines such as "y = Mul a b", with attributes as axis=1; other words are numbers, or given arrays."""
    nodes, weights = [], {name: np.asarray(value) for name, value in arrays.items()}
    inputs = inputs or {"x": ["N", 3, 4]}
    for line in lines.strip().splitlines():
        made, said = line.strip().split(" = ")
        op, *words = said.split()
        told = dict(word.split("=") for word in words if "=" in word)
        names = [word for word in words if "=" not in word]
        for word in names:
            if word not in weights and word.replace(".", "").replace("-", "").replace("e", "").isdigit():
                weights[word] = np.float32(word)
        attributes = {key: _attribute(value) for key, value in told.items()}
        nodes.append(node(op, " ".join(names), made.replace(",", " "), **attributes))
    return model(nodes, inputs, outputs.split(), weights, opset)


def _attribute(text: str) -> Any:
    if "," in text:
        return [int(part) for part in text.split(",") if part]
    return int(text) if text.lstrip("-").isdigit() else text


def checked(proto: Any, seed: int = 0) -> list[str]:
    """The types of the layers, after a comparison with ONNX Runtime at two sizes of the batch."""
    demand("onnxruntime")
    return types(compare(proto, *({i.name: _draw(i, n, seed) for i in proto.graph.input} for n in (2, 4))))


def _draw(info: Any, n: int, seed: int) -> np.ndarray:
    return 2 * drawn([d.dim_value or n for d in info.type.tensor_type.shape.dim], seed + len(info.name))


# Activations ------------------------------------------------------------------------------------------------------

GELUS = {
    "torch": f"a = Div x {1 / ROOT}\nb = Erf a\nc = Add b 1.0\nd = Mul x c\ny = Mul d 0.5",
    "dynamo": f"a = Div x {1 / ROOT}\nb = Erf a\nc = Add b 1.0\nd = Mul 0.5 c\ny = Mul x d",
    "keras": f"h = Mul 0.5 x\na = Mul x {ROOT}\nb = Erf a\nc = Add 1.0 b\ny = Mul h c",
}
TANHS = {
    "pow": f"p = Pow x 3.0\nq = Mul p 0.044715\nr = Add x q\ns = Mul r {TANH}\nt = Tanh s\nu = Add t 1.0\n"
    "v = Mul x u\ny = Mul 0.5 v",
    "products": f"p = Mul x x\np3 = Mul p x\nq = Mul 0.044715 p3\nr = Add q x\ns = Mul {TANH} r\nt = Tanh s\n"
    "u = Add 1.0 t\nh = Mul x 0.5\ny = Mul h u",
    "factored": f"p = Mul x x\nq = Mul 0.044715 p\nr = Add 1.0 q\ns = Mul x {TANH}\nz = Mul s r\nt = Tanh z\n"
    "u = Add 1.0 t\nh = Mul x 0.5\ny = Mul h u",
}
OTHERS = {
    "SiLU": ["a = Sigmoid x\ny = Mul x a", "a = Sigmoid x\ny = Mul a x"],
    "Mish": ["a = Softplus x\nb = Tanh a\ny = Mul x b", "e = Exp x\na = Add e 1.0\nl = Log a\nb = Tanh l\ny = Mul b x"],
    "HardSwish": [
        "a = Add x 3.0\nb = Clip a 0.0 6.0\nc = Mul x b\ny = Div c 6.0",
        "a = Add x 3.0\nb = Clip a 0.0 6.0\nc = Div b 6.0\ny = Mul c x",
    ],
}  # fmt: skip


@pytest.mark.parametrize("lines", [*GELUS.values(), *TANHS.values()], ids=[*GELUS, *TANHS])
def test_gelu(lines: str) -> None:
    demand("onnxruntime")
    made = compare(graph(lines), {"x": 2 * drawn((2, 3, 4))})
    (layer,) = made.config["net"]
    assert layer["type"] == "GELU"
    assert layer.get("approximate", "none") == ("tanh" if "Tanh" in lines else "none")


@pytest.mark.parametrize(("kind", "lines"), [(kind, lines) for kind, several in OTHERS.items() for lines in several])
def test_other_activations(kind: str, lines: str) -> None:
    assert checked(graph(lines)) == [kind]


def test_hard_swish_with_a_hard_sigmoid() -> None:
    demand("onnxruntime")
    sigmoid = node("HardSigmoid", "x", "a", alpha=1 / 6, beta=0.5)
    proto = model([sigmoid, node("Mul", "x a")], {"x": ["N", 5]}, ["y"])
    assert types(compare(proto, {"x": 4 * drawn((3, 5))})) == ["HardSwish"]


@pytest.mark.parametrize(
    "lines",
    [
        GELUS["torch"].replace("0.5", "0.51"),
        GELUS["torch"].replace("1.0", "1.01"),
        GELUS["torch"].replace(str(1 / ROOT), "1.5"),
        TANHS["pow"].replace("0.044715", "0.0447"),
        TANHS["pow"].replace("3.0", "2.0"),
        TANHS["factored"].replace(str(TANH), "0.8"),
        OTHERS["SiLU"][0].replace("Sigmoid x", "Sigmoid w").replace("a = ", "w = Neg x\na = ", 1),
        OTHERS["Mish"][1].replace("1.0", "2.0"),
        OTHERS["HardSwish"][0].replace("6.0\nc", "5.0\nc"),
        OTHERS["HardSwish"][0].replace("3.0", "2.0"),
    ],
)
def test_what_is_nearly_an_activation_is_computed_as_it_is_written(lines: str) -> None:
    assert not {"GELU", "SiLU", "Mish", "HardSwish"} & set(checked(graph(lines)))


def test_what_others_read_of_a_pattern_stays() -> None:
    demand("onnxruntime")
    made = compare(graph("a = Sigmoid x\ny = Mul x a\nz = Neg a", "y z"), {"x": drawn((2, 3, 4))})
    assert sorted(types(made)) == ["Mul", "Neg", "Sigmoid"]


# Normalisations ---------------------------------------------------------------------------------------------------

MEANS = "m = ReduceMean x axes=-1,\nd = Sub x m\n"
VARIANCE = "q = Pow d 2.0\nv = ReduceMean q axes=-1,\ne = Add v 1e-5\ns = Sqrt e\n"
LAYER_NORM = MEANS + VARIANCE + "n = Div d s\nw = Mul n scale\ny = Add w bias"
AFFINE = {"scale": drawn([4], 1), "bias": drawn([4], 2)}


@pytest.mark.parametrize(
    "lines",
    [
        LAYER_NORM,
        LAYER_NORM.replace("Pow d 2.0", "Mul d d"),
        LAYER_NORM.replace("Pow d 2.0", "Mul d2 d2").replace("q =", "d2 = Sub x m\nq ="),
        LAYER_NORM.replace("n = Div d s", "i = Reciprocal s\nn = Mul d i"),
        LAYER_NORM.replace("n = Div d s", "i = Div 1.0 s\nn = Mul i d"),
        LAYER_NORM.replace("Mul n scale", "Mul scale n").replace("Add w bias", "Add bias w"),
    ],
)
def test_layer_norm(lines: str) -> None:
    demand("onnxruntime")
    made = compare(graph(lines, **AFFINE), {"x": drawn((2, 3, 4))})
    assert types(made) == ["LayerNorm"]
    (layer,) = made.net().layers.values()
    assert np.array_equal(layer.params["weight"], AFFINE["scale"])
    assert np.array_equal(layer.params["bias"], AFFINE["bias"])


def test_layer_norm_as_keras_writes_it() -> None:
    lines = (
        MEANS + VARIANCE + "i = Reciprocal s\nf = Mul i scale\na = Mul x f\nk = Neg m\nl = Mul k f\nr = Add l bias\n"
        "y = Add a r"
    )
    wide = {"scale": AFFINE["scale"].reshape(1, 1, 4), "bias": AFFINE["bias"].reshape(1, 1, 4)}
    assert checked(graph(lines, **wide)) == ["LayerNorm"]
    assert checked(graph(lines.replace("ReduceMean x axes=-1,", "GlobalAveragePool x"), **wide)) == ["LayerNorm"]


@pytest.mark.parametrize("axes", ["1,2", "-2,-1"])
def test_layer_norm_over_several_axes(axes: str) -> None:
    lines = LAYER_NORM.replace("axes=-1,", f"axes={axes}")
    assert checked(graph(lines, scale=drawn([3, 4], 1), bias=drawn([3, 4], 2))) == ["LayerNorm"]


def test_layer_norm_without_scale_or_bias() -> None:
    assert checked(graph(LAYER_NORM.split("\nw =")[0].replace("n =", "y ="))) == ["LayerNorm"]
    assert checked(graph(LAYER_NORM.split("\ny =")[0].replace("w =", "y ="), scale=AFFINE["scale"])) == ["LayerNorm"]


def test_layer_norm_with_axes_as_an_input() -> None:
    lines = LAYER_NORM.replace("axes=-1,", "axes")
    assert checked(graph(lines, opset=18, axes=np.array([-1]), **AFFINE)) == ["LayerNorm"]


def test_rms_norm() -> None:
    lines = VARIANCE.replace("Pow d", "Pow x") + "i = Reciprocal s\nn = Mul x i\ny = Mul scale n"
    assert checked(graph(lines, scale=AFFINE["scale"])) == ["RMSNorm"]


@pytest.mark.parametrize(
    "lines",
    [
        LAYER_NORM.replace("ReduceMean x axes=-1,", "ReduceMean x axes=1,"),
        LAYER_NORM.replace("axes=-1,", "axes=1,"),
        LAYER_NORM.replace("Sub x m", "Sub m x"),
        LAYER_NORM.replace("Pow d 2.0", "Pow d 4.0"),
        LAYER_NORM.replace("Pow d 2.0", "Pow x 2.0"),
        LAYER_NORM.replace("n = Div d s", "n = Div x s"),
        LAYER_NORM.replace("ReduceMean x", "ReduceMean z").replace("m =", "z = Abs x\nm ="),
    ],
)
def test_what_is_nearly_a_norm_is_computed_as_it_is_written(lines: str) -> None:
    assert "LayerNorm" not in checked(graph(lines, **AFFINE))


# Attention --------------------------------------------------------------------------------------------------------

QKV = {name: ["N", 2, 5, 4] for name in ("q", "k", "v")}
ATTENTION = "t = Transpose k perm=0,1,3,2\ns = MatMul q t\na = Div s 2.0\np = Softmax a axis=-1\ny = MatMul p v"
SCALED_BEFORE = "t = Transpose k perm=0,1,3,2\nh = Mul q 0.5\ns = MatMul h t\np = Softmax s axis=-1\ny = MatMul p v"
EARLIER = np.where(np.tri(5, dtype=bool), 0, -np.inf).astype(np.float32)


@pytest.mark.parametrize(
    ("lines", "layer"),
    [
        (ATTENTION, {}),
        (ATTENTION.replace("Div s 2.0", "Mul s 0.5"), {}),
        (ATTENTION.replace("Div s 2.0", "Mul 0.3 s"), {"scale": 0.3}),
        (SCALED_BEFORE, {}),
        (ATTENTION.replace("a = Div s 2.0", "c = Div s 2.0\na = Add c mask"), {"causal": True}),
        (ATTENTION.replace("a = Div s 2.0", "c = Div s 2.0\na = Where seen c -1e9"), {"causal": True}),
        (ATTENTION.replace("a = Div s 2.0", "c = Div s 2.0\na = Where hidden -1e9 c"), {"causal": True}),
    ],
)  # fmt: skip
def test_attention(lines: str, layer: dict[str, Any]) -> None:
    demand("onnxruntime")
    masks = {"mask": EARLIER, "seen": EARLIER == 0, "hidden": EARLIER != 0, "-1e9": np.float32(-1e9)}
    proto = graph(lines, inputs=QKV, **{name: array for name, array in masks.items() if f" {name}" in lines})
    made = compare(proto, *({name: drawn((n, 2, 5, 4), i) for i, name in enumerate(QKV)} for n in (2, 3)))
    (found,) = made.config["net"]
    assert found["type"] == "ScaledDotProductAttention"
    assert {key: found[key] for key in ("scale", "causal") if key in found} == layer


@pytest.mark.parametrize(
    "lines",
    [
        ATTENTION.replace("axis=-1", "axis=-2"),
        ATTENTION.replace("MatMul p v", "Add p s"),
        ATTENTION.replace("a = Div s 2.0", "c = Div s 2.0\na = Add c mask"),
        ATTENTION.replace("a = Div s 2.0", "c = Div s 2.0\na = Add c wide"),
    ],
)  # fmt: skip
def test_what_is_no_attention_is_computed_as_it_is_written(lines: str) -> None:
    demand("onnxruntime")
    masks = {"mask": EARLIER.T, "wide": drawn((5, 5))}
    proto = graph(lines, inputs=QKV, **{name: array for name, array in masks.items() if f" {name}" in lines})
    made = compare(proto, {name: drawn((2, 2, 5, 4), i) for i, name in enumerate(QKV)})
    assert "ScaledDotProductAttention" not in types(made)


def heads(part: str, order: str = "0,2,1,3", shape: str = "parted") -> str:
    """Linear maps and heads of queries, keys or values."""
    return (
        f"l{part} = MatMul x w{part}\nb{part} = Add l{part} o{part}\nr{part} = Reshape b{part} {shape}\n"
        f"{part} = Transpose r{part} perm={order}\n"
    )


def multihead(scores: str = "s = MatMul q k\n") -> str:
    """Multi-head self-attention with three linear maps."""
    return (
        heads("q") + heads("k", "0,2,3,1") + heads("v") + scores + f"a = Mul s {1 / math.sqrt(3)}\n"
        "p = Softmax a axis=-1\nz = MatMul p v\nu = Transpose z perm=0,2,1,3\nf = Reshape u joined\n"
        "e = MatMul f wo\ny = Add e bo"
    )


def multihead_arrays() -> dict[str, np.ndarray]:
    made = {f"w{part}": drawn((6, 6), i) for i, part in enumerate("qkvo")}
    made |= {name: drawn((6,), 10 + i) for i, name in enumerate(("oq", "ok", "ov", "bo"))}
    return made | {"parted": np.array([0, 0, 2, 3]), "joined": np.array([0, 0, 6])}


def test_multi_head_attention() -> None:
    demand("onnxruntime")
    arrays = multihead_arrays()
    made = compare(
        graph(multihead(), inputs={"x": ["N", 5, 6]}, **arrays), {"x": drawn((2, 5, 6))}, {"x": drawn((3, 5, 6))}
    )
    assert types(made) == ["MultiheadAttention"]
    (layer,) = made.net().layers.values()
    assert np.array_equal(layer.params["in_proj_weight"], np.concatenate([arrays[f"w{p}"].T for p in "qkv"]))
    assert np.array_equal(layer.params["out_proj_weight"], arrays["wo"].T)


@pytest.mark.parametrize("twice", [("x wk", "x wq"), ("lk ok", "lk oq"), ("f wo", "f wv")])
def test_what_is_learned_for_two_purposes_stays_one(twice: tuple[str, str]) -> None:
    demand("onnxruntime")
    lines = multihead().replace(*twice)
    arrays = {name: array for name, array in multihead_arrays().items() if f" {name}" in lines}
    made = compare(graph(lines, inputs={"x": ["N", 5, 6]}, **arrays), {"x": drawn((2, 5, 6))})
    assert "MultiheadAttention" not in types(made)
    assert sum("share" in layer for layer in made.config["net"]) == 1


def test_heads_that_are_cut_otherwise_are_found() -> None:
    demand("onnxruntime")
    arrays = multihead_arrays() | {"parted": np.array([0, 0, 3, 2]), "joined": np.array([0, 0, 6])}
    lines = multihead().replace("perm=0,2,1,3\nf", "perm=0,2,3,1\nf").replace("perm=0,2,3,1\nlv", "perm=0,3,2,1\nlv")
    lines = lines.replace("q = Transpose rq perm=0,2,1,3", "q = Transpose rq perm=0,3,1,2")
    lines = lines.replace("v = Transpose rv perm=0,2,1,3", "v = Transpose rv perm=0,3,1,2")
    lines = lines.replace("k = Transpose rk perm=0,3,2,1", "k = Transpose rk perm=0,3,2,1")
    made = compare(graph(lines, inputs={"x": ["N", 5, 6]}, **arrays), {"x": drawn((2, 5, 6))}, {"x": drawn((3, 5, 6))})
    assert "MultiheadAttention" in types(made)


def test_attention_that_others_look_into_stays_apart() -> None:
    demand("onnxruntime")
    proto = graph(multihead(), "y p", inputs={"x": ["N", 5, 6]}, **multihead_arrays())
    found = types(compare(proto, {"x": drawn((2, 5, 6))}))
    assert not {"MultiheadAttention", "ScaledDotProductAttention"} & set(found)


# Movements --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ("a = Transpose x perm=1,0,2\ny = Transpose a perm=1,0,2", ["Identity"]),
        (
            "a = Transpose x perm=1,0,2\nb = Unsqueeze a first\nc = Squeeze b first\ny = Transpose c perm=2,1,0",
            ["Permute"],
        ),
        ("a = Reshape x rows\nb = Reshape a back\ny = Neg b", ["Neg"]),
        ("a = Reshape x rows\nb = Transpose a perm=1,0\nc = Transpose b perm=1,0\ny = Reshape c back", ["Identity"]),
    ],
)
def test_movements_after_one_another_shorten(lines: str, left: list[str]) -> None:
    arrays = {"first": np.array([0]), "rows": np.array([-1, 4]), "back": np.array([-1, 3, 4])}
    found = checked(graph(lines, **{name: array for name, array in arrays.items() if f" {name}" in lines}))
    assert found == left


def test_several_lengths_stay_open() -> None:
    demand("onnxruntime")
    lines = "a = Transpose x perm=1,0,2\nb = Unsqueeze a first\nc = Transpose b perm=2,0,1,3\ny = Neg c"
    proto = graph(lines, inputs={"x": ["N", "T", 4]}, first=np.array([0]))
    made = compare(proto, {"x": drawn((2, 3, 4))}, {"x": drawn((5, 4, 4))}, inputs={"x": (2, 3, 4)})
    assert [layer.get("shape") for layer in made.config["net"]] == [[0, 1, -1, 4], None]


@pytest.mark.parametrize("parts", ["p q", "q p", "p p", "p q p", "q q"])
def test_parts_that_are_joined_again(parts: str) -> None:
    arrays = {"0": np.array([0]), "2": np.array([2]), "4": np.array([4])}
    lines = f"p = Slice x 0 2 2\nq = Slice x 2 4 2\nc = Concat {parts} axis=2\ny = Neg c"
    assert ("Concat" in checked(graph(lines, **arrays))) is (parts != "p q")


def test_a_linear_map_of_rows_is_one_over_the_last_axis() -> None:
    arrays = {"w": drawn((5, 4)), "b": drawn((5,)), "rows": np.array([-1, 4]), "back": np.array([-1, 3, 5])}
    lines = "a = Reshape x rows\nc = Gemm a w b transB=1\ny = Reshape c back"
    assert checked(graph(lines, **arrays)) == ["Linear"]


# Graphs that are no good ------------------------------------------------------------------------------------------


def test_products_of_products_take_no_time() -> None:
    lines = "\n".join(f"a{i + 1} = Mul a{i} a{i}" for i in range(1, 60))
    assert checked(graph(f"a1 = Sigmoid x\n{lines}\ny = Sigmoid a60")) == ["Sigmoid", *["Mul"] * 59, "Sigmoid"]


@pytest.mark.parametrize(
    "op", ["Mul", "Div", "Add", "MatMul", "Concat", "Identity", "Cast", "Transpose", "LSTM", "Gemm"]
)
@pytest.mark.parametrize("names", ["", "x", "x - x", "x x x x"])
def test_operators_with_other_inputs_than_they_have_are_told_of(op: str, names: str) -> None:
    demand("onnx")
    proto = model([node(op, names)], {"x": ["N", 3, 4]}, ["y"])
    try:
        imported(proto)
    except LayerForgeError as error:
        assert op in str(error) or "x" in str(error)


@pytest.mark.parametrize("told", [{"perm": [0, 1]}, {"perm": [0, 1, 7]}, {"perm": "no"}, {"perm": 3}])
def test_attributes_of_another_kind_are_told_of(told: dict[str, Any]) -> None:
    demand("onnx")
    chain = [node("Transpose", "x", "a", perm=[1, 0, 2]), node("Transpose", "a", "y", **told)]
    with pytest.raises(LayerForgeError):
        imported(model(chain, {"x": ["N", 3, 4]}, ["y"]))


def test_the_report_says_which_nodes_a_layer_stands_for() -> None:
    made = imported(graph(LAYER_NORM, **AFFINE))
    (entry,) = made.report.entries
    assert entry.becomes == [("y", "LayerNorm")]
    assert entry.notes[0].startswith("stands for 9 nodes: ")
    assert {"ReduceMean", "Sub", "Pow", "Sqrt", "Div", "Mul", "Add"} <= set(entry.notes[0].replace(",", "").split())


# Operators of ONNX Runtime ----------------------------------------------------------------------------------------

RUNTIME = {"com.microsoft": 1}


def of_runtime(op: str, inputs: str, arrays: dict[str, Any], outputs: str = "y", **told: Any) -> Any:
    """A model of one operator of ONNX Runtime's."""
    made = node(op, inputs, outputs, domain="com.microsoft", **told)
    return model([made], {"x": ["N", 5, 6]}, outputs.replace("- ", "").split(), arrays, domains=RUNTIME)


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "told", "wanted"),
    [
        ("Gelu", "x", "y", {}, ["GELU"]),
        ("FastGelu", "x", "y", {}, ["GELU"]),
        ("BiasGelu", "x b", "y", {}, ["Bias", "GELU"]),
        ("QuickGelu", "x", "y", {"alpha": 1.5}, ["SiLU"]),
        ("FusedMatMul", "x w", "y", {"alpha": 0.3}, ["Linear", "Pow"]),
        ("SkipLayerNormalization", "x x s b c", "y", {}, ["Add", "Bias", "LayerNorm"]),
        ("SkipLayerNormalization", "x x s", "y - - z", {}, ["Add", "LayerNorm"]),
        ("SkipSimplifiedLayerNormalization", "x x s", "y", {"epsilon": 1e-5}, ["Add", "RMSNorm"]),
    ],
)
def test_operators_of_onnx_runtime(op: str, inputs: str, outputs: str, told: dict[str, Any], wanted: list[str]) -> None:
    demand("onnxruntime")
    arrays = {"w": drawn((6, 3)), **{name: drawn((6,), i) for i, name in enumerate("sbc")}}
    proto = of_runtime(op, inputs, {name: a for name, a in arrays.items() if name in inputs.split()}, outputs, **told)
    found = types(compare(proto, {"x": drawn((2, 5, 6))}, {"x": drawn((3, 5, 6))}))
    assert [one for one in found if one != "Identity"] == wanted


@pytest.mark.parametrize("causal", [0, 1])
def test_attention_of_onnx_runtime(causal: int) -> None:
    demand("onnxruntime")
    arrays = {"w": drawn((6, 18), 1), "b": drawn((18,), 2), "o": drawn((6, 6), 3), "c": drawn((6,), 4)}
    cell = node("Attention", "x w b", "z", domain="com.microsoft", num_heads=2, unidirectional=causal)
    behind = [node("MatMul", "z o", "p"), node("Add", "p c", "y")]
    proto = model([cell, *behind], {"x": ["N", 5, 6]}, ["y"], arrays, domains=RUNTIME)
    made = compare(proto, {"x": drawn((2, 5, 6))}, {"x": drawn((3, 5, 6))})
    (layer,) = made.config["net"]
    assert layer["type"] == "MultiheadAttention"
    assert layer.get("causal", False) is bool(causal)


def test_multi_head_attention_of_onnx_runtime() -> None:
    demand("onnxruntime")
    cell = node("MultiHeadAttention", "q k v", domain="com.microsoft", num_heads=3, scale=0.4)
    proto = model([cell], {name: ["N", 5, 6] for name in "qkv"}, ["y"], domains=RUNTIME)
    made = compare(proto, {name: drawn((2, 5, 6), i) for i, name in enumerate("qkv")})
    assert types(made).count("ScaledDotProductAttention") == 1


def test_a_mask_of_onnx_runtimes_attention_is_refused() -> None:
    demand("onnx")
    cell = node("Attention", "x w b m", "y", domain="com.microsoft", num_heads=2)
    arrays = {"w": drawn((6, 18), 1), "b": drawn((18,), 2), "m": np.array([3, 4], np.int32)}
    with pytest.raises(LayerForgeError, match="Attention"):
        imported(model([cell], {"x": [2, 5, 6]}, ["y"], arrays, domains=RUNTIME))
