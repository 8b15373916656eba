"""Engine's layers on what nobody thought of: random hyper-parameters, shapes and places in memory, in a child process.

`engine_fuzz.py` draws and compares; it is a program to be run for longer, too. Like test_engines.py, no part of the
suite where the engine cannot be had.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.engine_fuzz import TYPES, laid_out
from support.engine_pairs import pair

from layerforge import Net
from layerforge.engines.onednn import table
from layerforge.engines.onednn.strides import layout

SUPPORT = Path(__file__).parents[1] / "support"
DRAWS = 4 * len(TYPES)
ALONE = {**os.environ, "OMP_NUM_THREADS": "1", "LAYERFORGE_THREADS": "1"}


def child(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter in this folder: what oneDNN compiled in this one does not count."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=ALONE, cwd=SUPPORT, timeout=300)


def verdict(run: subprocess.CompletedProcess[str]) -> str:
    """What went wrong in a child, in words; nothing where nothing did."""
    lines = run.stdout.splitlines() or ["nothing"]
    if not lines[-1].startswith("done"):
        return f"exit status {run.returncode} while running: {lines[-1]}\n{run.stderr[-2000:]}"
    return "\n".join(line for line in lines if line.startswith("WRONG"))


@pytest.mark.parametrize(
    ("draws", "types"),
    [(DRAWS, ()), (140, ("Dropout", "Dropout2d")), (2 * DRAWS, ("--not-finite",))],
    ids=["all", "masks", "not finite"],
)
def test_layers_of_the_engine_on_random_hyperparameters_shapes_and_strides(draws: int, types: tuple[str, ...]) -> None:
    assert verdict(child("engine_fuzz.py", "0", str(draws), *types)) == ""


def test_a_layer_that_takes_the_process_along_is_named() -> None:
    code = (
        "import ctypes, sys, engine_fuzz as f; f.table.LAYERS['Tanh'].forward = lambda self, x: ctypes.string_at(0)\n"
        "f.main(0, 2, 'Sigmoid', 'Tanh')"
    )
    assert "while running: 1 Tanh {} on (" in verdict(child("-c", code))


def test_one_sample_of_a_slice_is_dropped_by_the_mask_of_the_reference() -> None:
    """The axis of the batch has length 1 and the stride of the array that the slice is from; the mask has its own."""
    code = """
import numpy as np
from layerforge import Net
def tops(engine, shape, last, x):
    net = Net.from_config({"seed": 5, "engine": engine, "inputs": {"x": {"shape": shape}}, "net": [*below, last]})
    return [np.array(net.forward(x=x[:n])["d"].data) for n in (4, 1)]
slices = [{"name": "s", "type": "Slice", "bottom": "x", "top": ["past", "now"], "points": [4]},
          {"name": "q", "type": "Silence", "bottom": "now"}]
turned = [{"name": "p", "type": "AvgPool2d", "kernel_size": 1}, {"name": "t", "type": "Permute", "dims": [0, 2, 3, 1]}]
whole, maps = {"name": "d", "type": "Dropout", "bottom": "past"}, {"name": "d", "type": "Dropout2d"}
for below, shape, last in ((slices, [4, 6, 8], whole), (turned, [4, 6, 8, 8], maps)):
    x = np.random.default_rng(0).normal(size=shape).astype("f4")
    for a, b in zip(*(tops(engine, shape, last, x) for engine in ("reference", "auto"))):
        np.testing.assert_allclose(b, a, atol=1e-6)
print("done")
"""
    assert verdict(child("-c", code)) == ""


@pytest.mark.parametrize(
    ("shape", "strides", "told"),
    [
        ((1, 4, 8), (48, 8, 1), [32, 8, 1]),
        ((3, 1, 8), (8, 0, 1), [8, 8, 1]),
        ((3, 8, 1, 1), (8, 1, 0, -7), [8, 1, 1, 1]),
        ((3, 1, 2, 5), (10, 1, 5, 1), [10, 10, 5, 1]),
        ((3, 1, 2, 5), (10, 3, 1, 2), [10, 10, 1, 2]),
        ((1, 5), (7, 3), [1, 3]),
        ((5, 1), (3, 7), [3, 1]),
        ((1, 1), (0, 9), [1, 1]),
        ((2, 3), (1, 2), [1, 2]),
        ((), (), []),
    ],
)
def test_strides_of_axes_of_length_one_say_nothing(
    shape: tuple[int, ...], strides: tuple[int, ...], told: list[int]
) -> None:
    memory = np.zeros(100, "float32")
    array = np.lib.stride_tricks.as_strided(memory, shape, [4 * s for s in strides])
    assert layout(array) == told


@pytest.mark.parametrize("kind", ["Conv3d", "ConvTranspose3d"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    "window", [(4, 2, 3, 3), (5, 2, 4, 2), (5, 3, 4, 5), (7, 3, 6, 3), (5, 2, 2, 4), (5, 1, 4, 2)], ids=str
)
def test_gradients_of_kernels_whose_padding_is_more_than_the_stride(
    kind: str, axis: int, window: tuple[int, int, int, int]
) -> None:
    """Of the depth, oneDNN left some what memory held, and now and then wrote beyond them."""
    sizes = [[n if i == axis else least for i in range(3)] for n, least in zip(window, (1, 1, 0, 3), strict=True)]
    kernel_size, stride, padding, size = sizes
    size[axis] += 4 * (kind == "ConvTranspose3d")  # else nothing is left of its top
    params = {"out_channels": 8, "kernel_size": kernel_size, "stride": stride, "padding": padding}
    x = np.random.default_rng(0).normal(size=(2, 8, *size)).astype("float32")
    tree = {"inputs": {"x": {"shape": list(x.shape)}}, "net": [{"name": "c", "type": kind, **params}]}
    found = []
    for engine in ("auto", "reference"):
        net = Net.from_config({**tree, "engine": engine, "seed": 1})
        junk = [np.full(2**k, np.nan, "float32") for k in range(8, 18)]
        y = net.forward(x=x)["c"]
        del junk
        net.backward(c=np.random.default_rng(1).normal(size=y.shape))
        found.append(net.params["c"]["weight"].grad.copy())
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    chosen = Net.from_config(tree)
    chosen.forward(x=x)
    unsafe = axis == 0 and padding[0] > stride[0] > 1
    assert ("padding is more than its stride" in chosen.current_plan.choices["c"].why) == unsafe


@pytest.mark.parametrize("which", ["x", "dy"])
def test_layer_norm_of_rows_whose_columns_are_in_order_in_memory(which: str) -> None:
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 5, 6)).astype("float32")
    theirs, mine = pair(table.LAYERS["LayerNorm"], {"normalized_shape": 6}, x)
    want = theirs.gradients([dy])
    mine.bottoms, dy = [np.asfortranarray(x) if which == "x" else x], np.asfortranarray(dy) if which == "dy" else dy
    got = mine.gradients([dy])
    for name in want:
        np.testing.assert_allclose(got[name], want[name], atol=1e-5, err_msg=name)


def test_laying_out_keeps_the_numbers() -> None:
    rng = np.random.default_rng(0)
    for shape in ((3, 1, 4), (1,), (), (2, 5), (1, 1, 1, 1)):
        a = rng.normal(size=shape).astype("float32")
        places = [laid_out(a, rng) for _ in range(20)]
        assert all(np.array_equal(a, p) for p in places)
        assert len({p.strides for p in places}) > 1 or not shape
