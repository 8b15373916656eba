"""What is wrong is refused on the device as on NumPy: the same error, the same exit code, and the device goes on.

A device raises nothing by itself: an index that is out of range reads another number, a singular matrix has an inverse
of infinities. So each refusal is LayerForge's own, and may be missing on the device alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerforge import Net, Solver
from layerforge.arrays.backend import NUMPY, Backend
from layerforge.schema.errors import LayerForgeError

from .device import beside_the_stand_in, host
from .stages import Check, in_words

Inputs = dict[str, np.ndarray]
FAR = 1_000_003  # an index that is nowhere near
CLOSE = 1e-5  # relative to the largest: the same small net in float32


@dataclass(frozen=True)
class Case:
    """A small net, and what it must refuse.

    good       inputs that are right
    bad        by what is wrong: inputs in the place of some of them
    exit_code  of the refusal
    word       a part of what it says
    trains     a step is made, otherwise a forward
    """

    config: Mapping[str, Any]
    good: Inputs
    bad: Mapping[str, Inputs]
    exit_code: int
    word: str
    trains: bool = False

    def run(self, backend: Backend, inputs: Inputs) -> dict[str, np.ndarray]:
        """What a new net makes of inputs, on the host."""
        net = Net.from_config(self.config, backend=backend)
        if self.trains:
            return {"loss": np.asarray(Solver(net, type="SGD", lr=0.1, momentum=0.9).step(**inputs)), **net.arrays()}
        return {name: host(backend, top) for name, top in net.forward(phase="train", **inputs).items()}


def numbers(*shape: int) -> np.ndarray:
    """Random numbers of that shape."""
    return np.random.default_rng(len(shape)).normal(size=shape).astype("float32")


def integers(high: int, *shape: int) -> np.ndarray:
    """Random integers below `high`, the smallest and the largest among them."""
    found = np.random.default_rng(len(shape)).integers(0, high, shape)
    found.reshape(-1)[[0, -1]] = 0, high - 1
    return found


def with_one(array: np.ndarray, value: Any) -> np.ndarray:
    """A copy with another value in the middle."""
    changed = array.copy()
    changed.reshape(-1)[array.size // 2] = value
    return changed


def labels(kind: str, classes: int = 4) -> Case:
    """A loss of classes, whose labels are too large or negative."""
    net = [
        {"name": "fc", "type": "Linear", "bottom": "x", "out_features": classes},
        {"name": "loss", "type": kind, "bottom": ["fc", "t"]},
    ]
    config = {"inputs": {"x": {"shape": [6, 3]}, "t": {"shape": [6], "dtype": "int64"}}, "net": net}
    good = {"x": numbers(6, 3), "t": integers(classes, 6)}
    bad = {f"label {value}": {"t": with_one(good["t"], value)} for value in (classes, -1, FAR)}
    return Case(config, good, bad, 3, "out of range", trains=True)


def index(kind: str, bottoms: list[str], shape: list[int], size: int, **keys: Any) -> Case:
    """A layer that reads where an index says, which is too large or negative."""
    inputs: dict[str, Any] = {"i": {"shape": shape, "dtype": "int64"}}
    good = {"i": integers(size, *shape)}
    if "x" in bottoms:
        inputs["x"], good["x"] = {"shape": [size, 3]}, numbers(size, 3)
    if "y" in bottoms:
        inputs["y"], good["y"] = {"shape": shape}, numbers(*shape)
    net = [{"name": "read", "type": kind, "bottom": bottoms if len(bottoms) > 1 else bottoms[0], **keys}]
    bad = {f"index {value}": {"i": with_one(good["i"], value)} for value in (size, -1, FAR)}
    return Case({"inputs": inputs, "net": net}, good, bad, 3, "out of range")


def matrices(kind: str, *more: str) -> Case:
    """Matrices one of which, in the middle, is singular: all zeros, or of a rank that is too low."""
    names = ["x", *more]
    inputs = {name: {"shape": [3, 4, 4]} for name in names}
    good = {name: numbers(3, 4, 4) + 4 * np.eye(4, dtype="float32") for name in names}
    zero, low = good["x"].copy(), good["x"].copy()
    zero[1], low[1] = 0, 1
    net = [{"name": "m", "type": kind, "bottom": names if more else "x"}]
    bad = {"a matrix of zeros": {"x": zero}, "a matrix of ones": {"x": low}}
    return Case({"inputs": inputs, "net": net}, good, bad, 1, "singular")


def cases() -> dict[str, Case]:
    """What is refused, by name."""
    two = {"inputs": {"x": {"shape": [2, 3, 3]}}, "net": [{"name": "m", "type": "Cholesky", "bottom": "x"}]}
    definite = {"x": np.stack([np.eye(3), 2 * np.eye(3)]).astype("float32")}
    negative = {"x": -definite["x"]}
    return {
        "SoftmaxCrossEntropy": labels("SoftmaxCrossEntropy"),
        "HingeLoss": labels("HingeLoss"),
        "Embedding": index("Embedding", ["i"], [4, 3], 5, num_embeddings=5, embedding_dim=2),
        "Gather": index("Gather", ["x", "i"], [4, 3], 5, dim=0),
        "IndexSelect": index("IndexSelect", ["x", "i"], [7], 5, dim=0),
        "BatchReindex": index("BatchReindex", ["x", "i"], [7], 5),
        "ScatterAdd": index("ScatterAdd", ["x", "i", "y"], [4, 3], 5, dim=0),
        "Inverse": matrices("Inverse"),
        "Solve": matrices("Solve", "b"),
        "Cholesky": Case(two, definite, {"matrices that are not positive definite": negative}, 1, "definite"),
    }


def refusals(check: Check) -> None:
    """Bad labels and indices, singular matrices and a lack of memory are told of, and the device is usable after it."""
    for name, case in cases().items():
        check.reached(name)
        with check.guarded(name):
            refuse(check, name, case)
    with check.guarded("out of memory"):
        out_of_memory(check)
    check.finished("labels, indices, matrices, memory")


def refuse(check: Check, name: str, case: Case) -> None:
    """Demand the refusals of a case, and right numbers after each."""
    right = case.run(NUMPY, case.good)
    for what, changes in case.bad.items():
        here, there = (told(case, backend, {**case.good, **changes}) for backend in (NUMPY, check.backend))
        where = f"{name}, {what}"
        if check.demand(there is not None, f"{where}: nothing is said on the device"):
            check.demand(here is not None, f"{where}: nothing is said on NumPy")
            code = there.exit_code if isinstance(there, LayerForgeError) else None
            said = in_words(there) if there is not None else ""
            check.demand(code == case.exit_code and case.word in said, f"{where}: exit code {code}, {said}")
            check.demand(str(here) == str(there), f"{where}: on NumPy it says {str(here)!r}, here {str(there)!r}")
        with check.guarded(f"{where}: after it a right input"):
            agree(check, f"{where}: after it a right input", case.run(check.backend, case.good), right)


def told(case: Case, backend: Backend, inputs: Inputs) -> Exception | None:
    """The error that inputs end in; None where there is none."""
    try:
        case.run(backend, inputs)
    except Exception as error:
        return error
    return None


def agree(check: Check, where: str, mine: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray]) -> None:
    """Demand NumPy's numbers, up to rounding."""
    for name, array in right.items():
        off = np.abs(mine[name].astype("float64") - array).max(initial=0)
        allowed = CLOSE * max(1.0, np.abs(array).max(initial=0))
        check.demand(off <= allowed, f"{where}: {name} is off by {off:.2g}")


# Memory ---------------------------------------------------------------------------------------------------------------

ROOM = 2**20  # bytes that the stand-in lets arrays have


@contextmanager
def known_end_of_memory(check: Check) -> Iterator[int]:
    """How many bytes are more than the device has; the stand-in is given an end for this block."""
    if check.strict:
        with beside_the_stand_in(check.backend, "strict_faults").memory_limited(ROOM):
            yield 2 * ROOM
    else:
        yield 2 * int(check.xp.cuda.runtime.memGetInfo()[1])


def out_of_memory(check: Check) -> None:
    """Demand that an array larger than the device is told of as a lack of memory, with exit code 5, of the machine."""
    good, plain = {"x": numbers(2, 1)}, {"inputs": {"x": {"shape": [2, 1]}}}
    with known_end_of_memory(check) as size:
        layer = {"name": "wide", "type": "Tile", "bottom": "x", "dims": [1, size // 8 + 1]}
        case = Case({**plain, "net": [layer]}, good, {}, 5, "memory")
        said = told(case, check.backend, good)
    text = "nothing is said" if said is None else in_words(said)
    code = said.exit_code if isinstance(said, LayerForgeError) else None
    check.fact("out_of_memory", {"exit_code": code, "says": text})
    check.demand(code == case.exit_code, f"out of memory: exit code {code}, expected {case.exit_code}: {text}")
    blamed = str(said).startswith("layer 'wide'")
    check.demand("out of memory" in str(said).lower() and not blamed, f"out of memory is told as {text}")
    small = Case({**plain, "net": [{**layer, "dims": [1, 3]}]}, good, {}, 5, "memory")
    agree(check, "after out of memory a small net", small.run(check.backend, good), small.run(NUMPY, good))
