"""Which of a file's numbers are learned. ONNX does not say it: initializers are parameters, buffers and constants.

torch's exporter by torch.export tells it in the metadata, and there it is believed. Elsewhere names decide: those that
an exporter makes up (`onnx::Mul_63`, `val_20`, `17`) are of constants, unless the numbers stand where an operator has
its parameters. A single number is learned where torch has written the file and the name is its own. Numbers that are
not finite are never learned: a step would make NaN of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from .graph import Learned, Node, OnnxGraph
from .parsing import SIGNATURE

SAID = re.compile(r"^\s*\w+: (PARAMETER|BUFFER|CONSTANT_TENSOR) target='([^']*)'", re.MULTILINE)
NAMED = re.compile(r"'([^']*)'")
INVENTED = re.compile(r"\d+|onnx::.*|val_\d+|_tensor_constant\d+|(c_)?lifted_tensor_\d+|_constants?\.?\d+")
TORCHS = (  # what torch.export calls the values of functions, which may be folded to constants
    "_to_copy abs add alias any arange bitwise_and cat clamp clone convert_element_type_default copy cos cumsum div "
    "eq exp expand eye floor full full_like ge gt le linear linspace log lt matmul max_val_cast "
    "min_val_cast mul ne neg ones ones_like permute pow reciprocal repeat reshape rsqrt scalar_tensor_default select "
    "sin slice sqrt squeeze stack sub tanh threshold_cast transpose tril triu unsqueeze view where zeros zeros_like"
)
FUNCTION = re.compile(rf"({'|'.join(TORCHS.split())})(_\d+)?")

# The inputs of operators that are parameters.
PLACES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "BatchNormalization", "LayerNormalization"), (1, 2)),
    **dict.fromkeys(("InstanceNormalization", "GroupNormalization"), (1, 2)),
    **dict.fromkeys(("MatMul", "PRelu", "RMSNormalization", "SimplifiedLayerNormalization"), (1,)),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), (1, 2, 3)),
}
PASSED = ("Identity", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Concat", "Slice", "Split", "Expand")
AFFINE = ("Mul", "Add")  # behind a normalisation or a product the factor and summand of each channel
FAR = 6  # nodes that are looked through


def learned(graph: OnnxGraph) -> Learned:
    """What is learned of a graph that another program has written; of our own all initializers are."""
    finite = {name: array for name, array in graph.initializers.items() if array.dtype.kind == "f"}
    constants = {name: "not finite" for name, array in finite.items() if not np.isfinite(array).all()}
    if graph.producer.startswith("LayerForge"):
        return Learned(constants)
    torch, said = graph.producer.startswith("pytorch"), _said(graph)
    places, sure, computed = _Places(graph), set[str](), list[str]()
    for name, array in finite.items():
        if name in constants or not array.size:
            continue
        invented = bool(INVENTED.fullmatch(name) or (torch and FUNCTION.fullmatch(name)))
        if name in said:
            if not said[name]:
                constants[name] = "no parameter in torch"
                continue
            sure.add(name)
            computed += [name] if invented and not places.has(name, array) else []
        elif invented and not places.has(name, array):
            constants[name] = "named by an exporter"
        elif torch and not invented:
            sure.add(name)
    told = [f"not learned, as {why}: {_listed(constants, why)}" for why in sorted({*constants.values()})]
    single = [name for name, array in finite.items() if array.size == 1 and name not in constants]
    single = [name for name in single if name not in sure and not places.has(name, finite[name])]
    if single:
        told.append(f"not learned, as each is a single number: {_enumerated(single)}")
    if computed:
        told.append(f"learned, though the file computes them of its parameters: {_enumerated(computed)}")
    return Learned(constants, frozenset(sure), tuple(told))


def _listed(constants: Mapping[str, str], why: str) -> str:
    return _enumerated([name for name, its in constants.items() if its == why])


def _enumerated(names: Iterable[str]) -> str:
    every = [f"'{name}'" for name in names]
    return ", ".join(every[:10]) + (f" and {len(every) - 10} more" if len(every) > 10 else "")


def _said(graph: OnnxGraph) -> dict[str, bool]:
    """Whether an initializer is a parameter, or computed of one, as the file says."""
    kinds = {name: kind == "PARAMETER" for kind, name in SAID.findall(graph.metadata.get(SIGNATURE, ""))}
    said = dict(kinds)
    for name, text in graph.folded.items() if kinds else ():
        said.setdefault(name, any(kinds.get(one, False) for one in NAMED.findall(text)))
    return said


class _Places:
    """Where the initializers of a graph are read."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.readers: dict[str, list[tuple[Node, int]]] = {}
        self.makers = {name: node for node in graph.nodes for name in node.outputs}
        for node in graph.nodes:
            for i, name in enumerate(node.inputs):
                self.readers.setdefault(name, []).append((node, i))

    def has(self, name: str, array: np.ndarray, far: int = FAR) -> bool:
        """Whether a value is read as a parameter. Ones and zeros of an InstanceNormalization stand for none."""
        return any(self._is(node, i, array, far) for node, i in self.readers.get(name, ()))

    def _is(self, node: Node, i: int, array: np.ndarray, far: int) -> bool:
        if node.domain:
            return False
        if node.op == "InstanceNormalization" and i in (1, 2):
            return not bool((array == (2 - i)).all())
        if i in PLACES.get(node.op, ()):
            return True
        if node.op in PASSED and far:
            return any(self.has(name, array, far - 1) for name in node.outputs)
        one_axis = sum(n != 1 for n in array.shape) <= 1
        return node.op in AFFINE and one_axis and self._behind(node.inputs[1 - i] if len(node.inputs) == 2 else "", far)

    def _behind(self, name: str, far: int) -> bool:
        """Whether a value comes from an operator with parameters, perhaps in another shape or times a factor."""
        node = self.makers.get(name)
        if node is None or not far:
            return False
        if node.op.endswith("Normalization"):
            return True
        if node.op in PLACES:
            return any(i < len(node.inputs) and node.inputs[i] not in self.makers for i in PLACES[node.op])
        return node.op in ("Reshape", "Transpose", *AFFINE) and any(self._behind(one, far - 1) for one in node.inputs)
