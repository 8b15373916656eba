"""Small ONNX graphs, imported and compared with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from layerforge.interop.onnx.model import Model, of_graph

from .tools import demand

RTOL, ATOL = 1e-5, 1e-6  # of the largest number of an output, and beside that
DTYPES = {"float32": 1, "int64": 7, "int32": 6, "bool": 9, "float64": 11, "uint8": 2, "float16": 10}


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[Sequence[Any], str] | Sequence[Any]],
    outputs: Sequence[str],
    weights: Mapping[str, Any] | None = None,
    opset: int = 17,
    domains: Mapping[str, int] | None = None,
) -> Any:
    """A ModelProto.

    nodes     of onnx.helper.make_node
    inputs    shapes by name, or shapes and dtypes; a text is a dynamic length
    weights   initializers
    """
    demand("onnx")
    from onnx import helper, numpy_helper

    given = []
    for name, told in inputs.items():
        typed = isinstance(told, tuple) and told[-1] in DTYPES
        shape, dtype = told if typed else (told, "float32")
        given.append(helper.make_tensor_value_info(name, DTYPES[dtype], list(shape)))
    arrays = {name: np.asarray(array) for name, array in (weights or {}).items()}
    arrays = {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in arrays.items()}
    graph = helper.make_graph(
        list(nodes),
        "graph",
        given,
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    versions = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in (domains or {}).items())]
    return helper.make_model(graph, opset_imports=versions, ir_version=8 if opset < 20 else 10)


def node(op: str, inputs: str, outputs: str = "y", name: str = "", domain: str = "", **attributes: Any) -> Any:
    """A node; names are separated by blanks, "-" is one that is left out."""
    demand("onnx")
    from onnx import helper

    read = ["" if one == "-" else one for one in inputs.split()]
    made = ["" if one == "-" else one for one in outputs.split()]
    return helper.make_node(op, read, made, name=name, domain=domain, **attributes)


def imported(proto: Any, inputs: Mapping[str, Sequence[int]] | None = None) -> Model:
    """A ModelProto as a model."""
    from layerforge.interop.onnx.reading import graph_of

    return of_graph(graph_of(proto), "test.onnx", inputs)


def judged(proto: Any, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime computes."""
    demand("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    # Each node as it is written: what it fuses to a LayerNormalization may have another exponent.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def computed(made: Model, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the imported net computes in eval, by ONNX's names."""
    net = made.net(keep="none", engine="reference")
    given = {made.inputs[name]: array for name, array in feeds.items() if name in made.inputs}
    found = net.forward(phase="eval", **given)
    assert set(found) == set(made.outputs.values()), (set(found), made.outputs)
    return {name: found[mine] for name, mine in made.outputs.items()}


def drawn(shape: Sequence[int], seed: int = 0, dtype: str = "float32", high: int = 3) -> np.ndarray:
    """Random numbers: normal, or whole from 0 on."""
    rng = np.random.default_rng([seed, *shape])
    if dtype == "float32":
        return np.asarray(rng.normal(size=shape), np.float32)
    return rng.integers(0, 2 if dtype == "bool" else high, shape).astype(dtype)


def compare(
    proto: Any, *feeds: Mapping[str, np.ndarray], inputs: Mapping[str, Sequence[int]] | None = None
) -> Model:
    """Import a graph, and compare it with ONNX Runtime on these inputs."""
    made = imported(proto, inputs)
    for given in feeds:
        wanted, found = judged(proto, given), computed(made, given)
        for name, mine in found.items():
            same(mine, wanted[name], name)
    return made


def same(mine: np.ndarray, wanted: np.ndarray, name: str = "") -> None:
    """Equal within what is asked for."""
    assert mine.shape == wanted.shape, f"{name}: {mine.shape}, expected {wanted.shape}"
    finite = np.isfinite(wanted)
    assert np.array_equal(mine[~finite], wanted[~finite].astype(mine.dtype), equal_nan=True), name
    if finite.any():
        a, b = mine[finite].astype(np.float64), wanted[finite].astype(np.float64)
        room = RTOL * np.abs(b).max() + ATOL
        assert np.abs(a - b).max() <= room, f"{name}: {np.abs(a - b).max()} is more than {room}"
