"""The last word of a run: its test data, scored once, with the weights that val chose."""

from __future__ import annotations

from .. import snapshot
from ..data.opening import OpenData
from ..net import Net
from .console import Console, show_metric
from .evaluation import evaluate
from .rundir import RunDir


def final_test(net: Net, data: OpenData, folder: RunDir, chosen: bool, console: Console) -> dict[str, float]:
    """Score the test data, and say so in the last line; nothing where there are none.

    chosen   whether val chose the best checkpoint; otherwise the last one is scored
    """
    file = folder.place / "checkpoints" / ("best.h5" if chosen else "last.h5")
    where = "synthetic Digits, NOT on the data asked for" if data.fallback_used else "test data"
    if data.test is None:
        if data.fallback_used:
            console.warn(data.notice)
        console.result(f"done: {folder.path}")
        return {}
    arrays, _ = snapshot.read_snapshot(file)
    net.load_arrays(arrays, str(file))
    values = {f"test/{k}": v for k, v in evaluate(net, data.test.epoch(0)).items()}
    words = "  ".join(f"{name} {show_metric(name, value)}" for name, value in values.items())
    console.note(f"done: {folder.path}")
    console.result(f"{words}  ({file.name}, {data.test.samples} samples of {where})")
    return values
