"""Nets of one layer for the exporter's tests, and ONNX Runtime as their judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from layerforge import Net
from layerforge.arrays.spec import Spec
from layerforge.check.draws import with_batch
from layerforge.check.harness import draw
from layerforge.contract.layer import Example, Layer
from layerforge.interop.onnx.files import model_bytes
from layerforge.interop.onnx.graph import OnnxGraph
from layerforge.interop.onnx.netgraph import graph_of_net
from layerforge.schema.errors import LayerForgeError

SIZES = (4, 7)  # numbers of samples that outputs are compared for
RTOL, ATOL = 1e-5, 1e-6  # of the largest number of an output, and beside that


def examples_of(cls: type[Layer]) -> Iterator[tuple[Example, Net]]:
    """Each example of a layer as a net: layer "layer", inputs x0, x1 ..., tops y0, y1 ...; parameters are random."""
    for number, example in enumerate(cls.examples):
        if any(spec.sparse or 0 in spec.shape for spec in example.bottoms):
            continue
        yield example, net_of(cls, example, number)


def net_of(cls: type[Layer], example: Example, seed: int = 0) -> Net:
    """A net of an example."""
    names = [f"x{i}" for i in range(len(example.bottoms))]
    inputs = {
        name: {"shape": list(spec.shape), **({} if spec.is_real else {"dtype": spec.dtype})}
        for name, spec in zip(names, example.bottoms, strict=True)
    }
    tops = [f"y{j}" for j in range(example.tops)]
    item: dict[str, Any] = {"name": "layer", "type": cls.type_name, **example.params}
    item |= {"bottom": names} if names else {}
    item |= {"top": tops} if cls.tops != 0 else {}
    net = Net.from_config({"dtype": "float32", "engine": "reference", "inputs": inputs, "net": [item]}, keep="none")
    randomize(net, seed)
    return net


def randomize(net: Net, seed: int = 0) -> None:
    """Random parameters and statistics: variances and factors about 1, everything else about 0."""
    rng = np.random.default_rng([seed, 16])
    arrays = net.arrays()
    for path, array in arrays.items():
        about_one = path.startswith("state") and any(word in path for word in ("var", "std", "correction"))
        drawn = rng.uniform(0.5, 1.5, array.shape) if about_one else rng.normal(0, 0.5, array.shape)
        if array.dtype.kind == "f":
            arrays[path] = drawn.astype(array.dtype)
    net.load_arrays(arrays, "random")


def inputs_of(specs: Mapping[str, Spec], samples: int | None, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs; `samples` None for the declared number of them."""
    rng = np.random.default_rng([seed, samples or 0])
    wanted = dict(specs) if samples is None else with_batch(dict(specs), samples)
    return {name: draw(spec, rng) for name, spec in wanted.items()}


def session(graph: OnnxGraph) -> Any:
    """ONNX Runtime on a graph, which onnx.checker has looked at."""
    import onnx
    import onnxruntime

    content = model_bytes(graph)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def differences(
    net: Net, specs: Mapping[str, Spec], outputs: Sequence[str] | None = None, **options: bool
) -> list[str]:
    """What ONNX Runtime computes otherwise than the net, for several numbers of samples where it takes them.

    options   of `graph_of_net`
    """
    graph, notes = graph_of_net(net, outputs, **options)
    names = [info.name for info in graph.outputs]
    wanted = [name.removesuffix("/output") for name in names]
    run = session(graph)
    fixed = any("number of samples is fixed" in note for note in notes)
    found = []
    for samples in (None,) if fixed else (None, *SIZES):
        given = inputs_of(specs, samples)
        try:
            ours = net.forward(phase="eval", outputs=wanted, **given)
        except LayerForgeError:
            if samples is None:
                raise
            continue  # a number of samples that the layer does not take
        feeds = {
            info.name: np.asarray(given[info.name], dtype=np.dtype(info.dtype)) for info in graph.inputs
        }
        for name, blob, theirs in zip(names, wanted, run.run(names, feeds), strict=True):
            found += compared(f"{name}, {samples} samples", ours[blob], theirs)
    return found


def compared(what: str, ours: Any, theirs: Any) -> list[str]:
    """In words, where two arrays differ."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        return [f"{what}: shape {theirs.shape}, ours is {ours.shape}"]
    if not ours.size:
        return []
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return [f"{what}: not finite in other places, or otherwise"]
    if not finite.any():
        return []
    error, size = np.abs(a[finite] - b[finite]).max(), np.abs(a[finite]).max()
    return [] if error <= RTOL * size + ATOL else [f"{what}: differs by {error:.2e}, the largest is {size:.2e}"]
