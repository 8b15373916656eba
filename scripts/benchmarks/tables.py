"""Results as tables, for the terminal or as markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import processors
from .agreement import EXACT, Comparison
from .comparisons import tables_of
from .figures import spread
from .table import NOTHING, Table, with_spread

LEGEND = (
    "Times are medians over interleaved bursts in separate processes, in brackets the least and the quartiles; ratios"
    " are medians of the rounds' ratios. The other side counts with its fastest variant. Memory is the growth of"
    " resident memory over the state before the first step; ours is planned by then. The roofline is counted operations"
    " at the rate of a large matrix product plus estimated traffic at the measured bandwidth."
)


def all_tables(result: Mapping[str, Any]) -> list[Table]:
    """Every table that a result has something for."""
    rows, found = result["rows"], []
    for threads in dict.fromkeys(row["threads"] for row in rows):
        found += tables_of([row for row in rows if row["threads"] == threads], threads)
    for key, make in (("startup", startup_table), ("end_to_end", end_to_end_table)):
        if key in result:
            found.append(make(result[key]))
    found += [profile_table(net, about) for net, about in result.get("profile", {}).items()]
    return found


def startup_table(measured: Mapping[str, Sequence[float]]) -> Table:
    """Seconds from the start of the process to the end of the first training step."""
    rows = [[name, with_spread(spread(seconds))] for name, seconds in measured.items()]
    return Table("From process start to the first step of configs/mnist_mlp.yaml", ["", "s"], rows)


def end_to_end_table(measured: Mapping[str, Any]) -> Table:
    """Seconds to a given accuracy, and of the whole training."""
    runs, headings = measured["runs"], ["", "s to the accuracy", "s in all", "best accuracy"]
    rows = []
    for name, found in runs.items():
        reached = [run["reached"] for run in found if run["reached"] is not None]
        cell = with_spread(spread(reached)) if len(reached) == len(found) else f"{len(reached)} of {len(found)} runs"
        whole = with_spread(spread([run["seconds"] for run in found]))
        rows.append([name, cell, whole, f"{100 * max(run['best'] for run in found):.2f} %"])
    title = f"configs/mnist_mlp.yaml from process start to {100 * measured['accuracy']:.1f} % of the val data"
    return Table(title, headings, rows)


def profile_table(net: str, about: Mapping[str, Any]) -> Table:
    """Milliseconds of each of our layers, as `layerforge time` gives them."""
    layers = [*about["layers"], {"name": "between layers", "type": "", **about["between_layers"]}]
    rows = [[x["name"], x["type"], f"{x['forward_ms']:.3f}", f"{x['backward_ms']:.3f}"] for x in layers]
    rows.append(["total", "", *(f"{about['total'][key]:.3f}" for key in ("forward_ms", "backward_ms"))])
    return Table(f"Layers of {net}, {about['threads']} thread(s)", ["layer", "type", "forward ms", "backward ms"], rows)


def agreement_table(found: Sequence[Comparison]) -> Table:
    """How far the competitors, and our other ways, are from our first one in float32."""
    rows = []
    for c in found:
        sizes = [c.exact and c.exact.size, c.single.size, c.rounding and c.rounding.size]
        cells = [NOTHING if size is None else f"{size:.1e}" for size in sizes]
        where = (c.exact if c.exact and c.exact.size > EXACT else c.single).where
        who = f"{c.entrant.competitor}/{c.entrant.variant}"
        rows.append([c.net, who, *cells, f"{c.bound:.1e}", where, "same" if c.fine else "DIFFERENT"])
    headings = ["net", "against", "float64", "float32", "own rounding", "allowed", "largest in", ""]
    return Table("Largest relative difference from identical weights", headings, rows)


def head(result: Mapping[str, Any]) -> str:
    """Machine, versions, date and limits in a few words."""
    about = result["machine"]
    versions = "".join(f", {name} {version}" for name, version in result["versions"].items())
    processor = about["processor"]
    machine = f"{processors.in_words(processor)}, {about['cpu_count']} logical CPUs; Python {about['python']}"
    lines = [f"{machine}{versions}; {about['date']}."]
    if not processors.has_amx(processor):
        lines.append("The goals are those of a processor with AMX, which this one has not.")
    if not processors.has_bfloat16(processor):
        lines.append("It has no instructions for bfloat16: what is said of bf16-mixed and medium is float32.")
    for threads, limits in result["limits"].items():
        bandwidth = limits["bandwidth"].items()
        rates = ", ".join(f"{rate / 1e9:.0f} GB/s at {size_in_words(int(size))}" for size, rate in bandwidth)
        lines.append(f"Limits with {threads} thread(s): {limits['gemm'] / 1e9:.0f} GFLOP/s; {rates} per array.")
    if result["rows"]:
        what = "" if result["settings"]["clock"] == "wall" else " These are not times by the clock, but of computing."
        lines.append(f"{result['settings']['bursts']} rounds. {LEGEND}{what}")
    return "\n".join(lines)


def size_in_words(size: int) -> str:
    """A power of two in KiB or MiB."""
    return f"{size // 2**20} MiB" if size >= 2**20 else f"{size // 2**10} KiB"


def render(result: Mapping[str, Any], markdown: bool) -> str:
    """The whole result."""
    tables = [table.markdown() if markdown else table.text() for table in all_tables(result)]
    return "\n\n".join([head(result), *tables, *(f"Note: {note}" for note in result["notes"])])
