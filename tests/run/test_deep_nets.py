"""Deep nets: the work of building, planning and describing grows with the layers, not with their square.

What is counted are the lines of Python that are executed, every turn of a loop among them.
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from layerforge import Net
from layerforge.cli.net_table import describe
from layerforge.config.yaml_file import MAX_NODES, _Builder, parse_yaml
from layerforge.engines.onednn.op import Op
from layerforge.graph.blocks import Expansion
from layerforge.run import passes
from layerforge.run.packing import place
from layerforge.schema.errors import ConfigError

LINEAR = {"name": "a", "type": "Linear", "out_features": 4}
PIECES = {
    "chain": [LINEAR, {"name": "r", "type": "Tanh"}],
    "forks": [{**LINEAR, "bottom": "input"}, {"name": "s", "type": "Add", "bottom": ["a", "input"]}],
    "in place, found": [{"name": "d", "type": "Dropout"}, {"name": "n", "type": "Neg"}],
    "views": [{"name": "v", "type": "Reshape", "shape": [0, -1]}, {"name": "n", "type": "Neg"}],
}


def deep(kind: str, layers: int) -> dict[str, Any]:
    """A net of so many layers."""
    inputs = {"x": {"shape": [2, 4]}, "t": {"shape": [2], "dtype": "int64"}}
    loss = {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["b", "t"]}
    if kind == "in place, asked":
        more = [{"name": f"d{i}", "type": "Dropout", "bottom": "b", "top": "b"} for i in range(layers)]
        return {"inputs": inputs, "net": [{**LINEAR, "top": "b", "bottom": "x"}, *more, loss]}
    pieces = {"name": "b", "block": "piece", "repeat": layers // 2}
    return {"inputs": inputs, "blocks": {"piece": {"net": PIECES[kind]}}, "net": [LINEAR, pieces, loss]}


def work(do: Callable[[], Any]) -> int:
    """How many lines of Python that takes."""
    count = 0

    def line(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return line

    before = sys.gettrace()
    gc.collect()
    gc.disable()  # what other tests left is given back by lines of Python, too
    sys.settrace(line)
    try:
        do()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


@pytest.mark.parametrize("kind", [*PIECES, "in place, asked"])
def test_the_work_grows_with_the_layers(kind: str) -> None:
    describe(Net.from_config(deep(kind, 10), keep="none"))  # what is loaded once does not count
    sizes = 40, 80, 160
    small, twice, four = (work(lambda n=n: describe(Net.from_config(deep(kind, n), keep="none"))) for n in sizes)
    assert four - twice < 2.3 * (twice - small), "a square would be fourfold"


@pytest.mark.parametrize("dry_run", [False, True])
def test_layers_of_a_kind_share_primitives_while_a_pass_is_planned(
    monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    """And the values are those of layers that each made their own."""
    made: list[str] = []
    make = Op._make
    monkeypatch.setattr(Op, "_make", lambda op, *given: made.append(op.maker.__name__) or make(op, *given))
    residual = [LINEAR, {"name": "n", "type": "BatchNorm"}, {"name": "r", "type": "ReLU"},
                {"name": "s", "type": "Add", "bottom": ["r", "input"]}]  # fmt: skip
    monkeypatch.setitem(PIECES, "residual", residual)
    if not dry_run:
        monkeypatch.setattr(passes, "dry_run", lambda *_: None)
    batch: dict[str, Any] = {"x": np.random.default_rng(5).normal(size=(2, 4)), "t": np.array([1, 3])}
    counts, results = [], []
    for engine, layers in (("auto", 8), ("auto", 16), ("reference", 16)):
        made.clear()
        net = Net.from_config({**deep("residual", layers), "engine": engine, "seed": 3}, keep="none")
        net.passes.executor_for("train", {name: array.shape for name, array in batch.items()})
        counts.append(len(made))
        for _ in range(3):  # as made, as bound, as captured
            net.zero_grad()
            net.forward(phase="train", **batch)
            net.backward()
        results.append(net.parameters.grad.copy())
    assert counts[0] == counts[1] and (counts[0] > 0) == dry_run and counts[2] == 0
    np.testing.assert_allclose(results[1], results[2], rtol=1e-4, atol=1e-5)


@dataclass
class Piece:
    size: int
    first: float
    last: float
    offset: int = 0


def test_every_buffer_lies_at_the_lowest_place_that_is_free_while_it_lives() -> None:
    """As found by looking at all that were placed before it."""
    rng = random.Random(0)
    for _ in range(60):
        spans = [sorted(rng.choices([0, 1, 2, 2.5, 3, 7, 8, 20], k=2)) for _ in range(rng.randrange(40))]
        pieces = [Piece(64 * rng.choice((0, 1, 1, 2, 3, 5)), first, last) for first, last in spans]
        whole = place(pieces)
        placed: list[Piece] = []
        for piece in sorted(pieces, key=lambda b: (-b.size, b.first)):
            free = 0
            for other in sorted(placed, key=lambda b: b.offset):
                if other.first <= piece.last and piece.first <= other.last:
                    if free + piece.size <= other.offset:
                        break
                    free = max(free, other.offset + other.size)
            assert piece.offset == free
            placed.append(piece)
        assert whole == max((b.offset + b.size for b in pieces), default=0)


def test_a_net_may_have_ten_thousand_layers_by_blocks_and_written_out() -> None:
    errors: list[Any] = []
    for repeat, wrong in ((10_000, False), (10_001, True)):
        expansion = Expansion({"b": {"net": [{"name": "r", "type": "ReLU"}]}}, "x", errors)
        uses = parse_yaml(f"net: [{{name: z, block: b, repeat: {repeat}}}]", "deep.yaml")["net"]
        if wrong:
            with pytest.raises(ConfigError, match="more than 10000 layers"):
                expansion.expand(uses)
        else:
            expansion.expand(uses)
            assert (len(expansion.layers), errors) == (10_000, [])
    text = "net:\n" + "".join(f"- {{name: l{i}, type: Add, bottom: [a, b]}}\n" for i in range(100))
    builder = _Builder(text, "deep.yaml", None, errors)
    assert len(builder.document()["net"]) == 100
    assert 100 * builder.nodes < MAX_NODES, "ten thousand layers with two bottoms each are no bomb"
