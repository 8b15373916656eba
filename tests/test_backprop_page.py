"""docs/backprop.md: its code prints what stands below it, and the numbers worked by hand are those of the net."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pages import output_of

from layerforge.check.report import COLUMNS, LEGEND

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "backprop.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```(?:\n\n```\n(.*?)```)?", PAGE, re.S)


@pytest.fixture(scope="module")
def run() -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """The page's Python run in one go: its names at the end, what each block printed, and the net worked by hand."""
    names: dict[str, Any] = {}
    printed, by_hand = [], {}
    for code, _ in BLOCKS:
        printed.append(output_of(code, names, "backprop.md"))
        if "EuclideanLoss" in code:
            by_hand = worked(names["net"])
    return names, printed, by_hand


def worked(net: Any) -> dict[str, Any]:
    """The arrays of the net by the names that the page gives them."""
    found = {name: net.blobs[name].data for name in ("a", "h", "z", "y", "loss")}
    found |= {f"d{name}": net.blobs[name].grad for name in ("x", "a", "h", "z", "y")}
    for layer, number in (("a", 1), ("z", 2)):
        params = net.params[layer]
        found |= {f"dW{number}": params["weight"].grad, f"db{number}": params["bias"].grad}
    return {name: np.array(array) for name, array in found.items()}


def test_the_code_prints_what_stands_below_it(run: tuple[Any, list[str], Any]) -> None:
    shown = [text for _, text in BLOCKS]
    assert sum(map(bool, shown)) == 3
    assert run[1] == shown


def test_the_net_by_hand_is_what_the_net_computes(run: tuple[Any, Any, dict[str, Any]]) -> None:
    lines = re.findall(r"^(\w+) +=.*= (\[.*\]|[\d.]+)$", PAGE, re.M)
    assert {name for name, _ in lines} == set(run[2])
    for name, value in lines:
        assert np.array_equal(ast.literal_eval(value), run[2][name]), name


def test_the_adjoint_test_holds_where_the_page_ends(run: tuple[dict[str, Any], Any, Any]) -> None:
    """Σ dy ẏ = Σ dx ẋ, of the last net on the page too: BatchNorm in train."""
    net, rng = run[0]["net"], np.random.default_rng(3)
    u, v = rng.normal(size=(4, 1)), rng.normal(size=(4, 1))
    net.forward(phase="train", x=rng.normal(size=(4, 1)))
    net.backward(bn=u)
    assert (net.blobs["x"].grad * v).sum() == pytest.approx((u * net.jvp(x=v)["bn"]).sum(), rel=1e-12)
    assert net.blobs["x"].grad.sum() == pytest.approx(0, abs=1e-12)


def test_the_table_is_what_the_command_prints() -> None:
    """But for the last digits of rounding, and for the engine, which may not be installed."""
    command, shown = re.findall(r"```sh\n(layerforge test .*?)\n```\n\n```\n(.*?)```", PAGE, re.S)[0]
    call = [sys.executable, "-m", "layerforge", *shlex.split(command)[1:]]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    steady = [[row[name] for name in ("layer", "gradients", "kinks")] for row in table(done.stdout)]
    assert steady == [[row[name] for name in ("layer", "gradients", "kinks")] for row in table(shown)]
    assert done.stdout.splitlines()[0].split() == shown.splitlines()[0].split()
    total = [text.splitlines()[-1].split(", ")[:2] for text in (done.stdout, shown)]
    assert total[0] == total[1] == ["3 layers", "53 gradients"]
    assert [line for line in done.stdout.splitlines() if line.startswith(("abs", "rel"))] == [
        line for line in shown.splitlines() if line.startswith(("abs", "rel"))
    ]


def table(text: str) -> list[dict[str, str]]:
    """The lines of a report's table, by column."""
    header, *lines = text.splitlines()
    columns = re.split(r" {2,}", header)
    rows = [re.split(r" {2,}", line) for line in lines if not line.startswith(("abs", "rel", "engine"))]
    return [dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns)]


def test_the_columns_that_are_explained_are_those_that_there_are() -> None:
    explained = re.search(r"\| column \| meaning \|\n\|---\|---\|\n(.*?)\n\n", PAGE, re.S)
    assert explained is not None
    names = [n for row in explained.group(1).splitlines() for n in row.split("|")[1].strip().split(", ")]
    assert names == [name for name in COLUMNS if name != "layer"]
    assert len(LEGEND) == 2


def test_no_word_is_in_two_glossaries() -> None:
    pages = [PAGE, (ROOT / "docs" / "design.md").read_text(encoding="utf-8")]
    words = []
    for page in pages:
        rows = re.search(r"\| word \| meaning \|\n\|---\|---\|\n((?:\|.*\n)+)", page)
        assert rows is not None
        words += [w for row in rows.group(1).splitlines() for w in row.split("|")[1].strip().split(", ")]
    assert len(words) == len(set(words))
    assert {"bottom", "top", "blob", "phase", "filler", "Spec", "engine", "cotangent"} <= set(words)
