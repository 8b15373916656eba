"""The last word of a run: its test data, scored once, with the weights that val chose."""

from __future__ import annotations

from typing import Any

from .. import snapshot
from ..data.opening import OpenData
from ..net import Net
from .console import Console, show_metric
from .evaluation import score_all
from .rundir import RunDir


def final_test(
    net: Net, data: OpenData, folder: RunDir, chosen: bool, console: Console
) -> tuple[dict[str, float], dict[str, Any]]:
    """Score the test data, and say so in the last line: numbers and tables, none where there are no such data.

    chosen   whether val chose the best checkpoint; otherwise the last one is scored
    """
    file = folder.place / "checkpoints" / ("best.h5" if chosen else "last.h5")
    where = "synthetic Digits, NOT on the data asked for" if data.fallback_used else "test data"
    if data.test is None:
        if data.fallback_used:
            console.warn(data.notice)
        console.result(f"done: {folder.path}")
        return {}, {}
    arrays, _ = snapshot.read_snapshot(file)
    net.load_arrays(arrays, str(file))
    scores = score_all(net, data.test)
    words = "  ".join(f"test/{name} {show_metric(name, value)}" for name, value in scores.numbers.items())
    console.note(f"done: {folder.path}")
    console.result(f"{words}  ({file.name}, {data.test.samples} samples of {where})")
    return {f"test/{name}": value for name, value in scores.values.items()}, scores.named_tables("test")
