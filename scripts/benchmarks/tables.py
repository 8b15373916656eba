"""Results as tables, for the terminal or as markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .agreement import EXACT, Comparison
from .catalogue import GEOMETRIC_GOALS, NETS, OURS
from .figures import Spread, fastest, geometric_mean, ratios, spread

NOTHING = "-"
LEGEND = (
    "Times are medians over interleaved bursts in separate processes, in brackets the least and the quartiles; ratios"
    " are medians of the rounds' ratios. The other side counts with its fastest variant. Memory is the growth of"
    " resident memory over the state before the first step; ours is planned by then. The roofline is counted operations"
    " at the rate of a large matrix product plus estimated traffic at the measured bandwidth."
)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A title, headings, and rows of cells; the first column holds words, the others mostly numbers."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    below: str = ""

    def text(self) -> str:
        """For a terminal."""
        from layerforge.cli.net_table import align

        lines = align([self.headings, *self.rows], range(1, len(self.headings)))
        rule = "-" * max(map(len, lines))
        return "\n".join([self.title, "", lines[0], rule, *lines[1:], *([self.below] if self.below else [])])

    def markdown(self) -> str:
        """For a document."""
        rule = ["---", *["---:"] * (len(self.headings) - 1)]
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.headings, rule, *self.rows)]
        return "\n".join([f"### {self.title}", "", *lines, *(["", self.below] if self.below else [])])


# Cells ----------------------------------------------------------------------------------------------------------------


def milliseconds(values: Sequence[float]) -> str:
    """Median, then least and quartiles, of seconds."""
    return with_spread(spread([1e3 * v for v in values]))


def with_spread(s: Spread) -> str:
    """`1.63 [1.58, 1.60-1.70]`."""
    digits = 1 if s.middle >= 100 else 2 if s.middle >= 1 else 3
    return f"{s.middle:.{digits}f} [{s.least:.{digits}f}, {s.low:.{digits}f}-{s.high:.{digits}f}]"


def megabytes(count: float) -> str:
    """Bytes in MB."""
    return f"{count / 1e6:.1f}"


def best_of(row: Row, competitor: str) -> tuple[str, Row] | None:
    """The fastest variant of a competitor and what was measured of it; None where it did not compete."""
    variants = row["times"].get(competitor)
    if not variants:
        return None
    name = fastest({variant: m["seconds"] for variant, m in variants.items()})
    return name, variants[name]


def ratio_to(row: Row, competitor: str) -> Spread | None:
    """Our time over a competitor's best."""
    ours, theirs = best_of(row, OURS), best_of(row, competitor)
    return None if not ours or not theirs else spread(ratios(ours[1]["seconds"], theirs[1]["seconds"]))


# Tables ---------------------------------------------------------------------------------------------------------------


def all_tables(result: Mapping[str, Any]) -> list[Table]:
    """Every table that a result has something for."""
    rows, found = result["rows"], []
    for threads in dict.fromkeys(row["threads"] for row in rows):
        own = [row for row in rows if row["threads"] == threads]
        found += training_tables([row for row in own if row["mode"] == "train"], threads)
        found += inference_tables([row for row in own if row["mode"] == "infer"], threads)
    for key, make in (("startup", startup_table), ("end_to_end", end_to_end_table)):
        if key in result:
            found.append(make(result[key]))
    found += [profile_table(net, about) for net, about in result.get("profile", {}).items()]
    return found


def competitors_in(rows: Sequence[Row]) -> list[str]:
    """Who was measured besides us, in order."""
    return list(dict.fromkeys(name for row in rows for name in row["times"] if name != OURS))


def training_tables(rows: Sequence[Row], threads: int) -> list[Table]:
    """Times and ratios of training steps, a table for each competitor."""
    found = []
    for name in competitors_in(rows):
        headings = ["net", "layerforge ms", f"{name} ms", "variant", "ratio", "quartiles", "goal"]
        headings += ["roofline ms", "memory MB", f"{name} MB", "ratio"]
        judged = name == "torch" and threads == 2
        cells = [training_row(row, name, judged) for row in rows]
        below = geometric_line(rows, name, GEOMETRIC_GOALS.get(threads) if name == "torch" else None)
        found.append(Table(f"Training step against {name}, {threads} thread(s)", headings, cells, below))
    return found


def training_row(row: Row, name: str, judged: bool) -> list[str]:
    ours, theirs, ratio = best_of(row, OURS), best_of(row, name), ratio_to(row, name)
    assert ours is not None
    start, end = [row["net"], milliseconds(ours[1]["seconds"])], f"{1e3 * row['roofline']:.2f}"
    memory = megabytes(ours[1]["growth"])
    if theirs is None or ratio is None:
        return [*start, *[NOTHING] * 5, end, memory, NOTHING, NOTHING]
    goal = NETS[row["net"]].goal
    verdict = f"{goal:.2f} {'yes' if ratio.middle <= goal else 'no'}" if judged and goal is not None else NOTHING
    growth = theirs[1]["growth"]
    return [
        *start,
        milliseconds(theirs[1]["seconds"]),
        theirs[0],
        f"{ratio.middle:.2f}",
        f"{ratio.low:.2f}-{ratio.high:.2f}",
        verdict,
        end,
        memory,
        megabytes(growth),
        f"{ours[1]['growth'] / growth:.2f}" if growth else NOTHING,
    ]


def geometric_line(rows: Sequence[Row], name: str, goal: float | None = None) -> str:
    """The geometric mean of the ratios, with its goal."""
    found = [ratio.middle for row in rows if (ratio := ratio_to(row, name))]
    mean = geometric_mean(found)
    if mean is None:
        return f"{name} did not compete."
    words = "" if goal is None else f"; goal {goal:.2f}: {'reached' if mean <= goal else 'not reached'}"
    return f"Geometric mean of the ratios over {len(found)} net(s): {mean:.2f}{words}. {disturbance(rows)}"


def disturbance(rows: Sequence[Row]) -> str:
    """How much of a burst a process waited for a CPU that other programs had, at worst and in the middle."""
    waited = [w for row in rows for variants in row["times"].values() for m in variants.values() for w in m["waited"]]
    return f"Waiting for a CPU took {median(waited):.0%} of a burst in the middle, {max(waited):.0%} at worst."


def inference_tables(rows: Sequence[Row], threads: int) -> list[Table]:
    """Times and ratios of forward passes in eval."""
    found = []
    for name in competitors_in(rows):
        headings = ["net", "batch", "layerforge ms", f"{name} ms", "variant", "ratio", "quartiles"]
        cells = [inference_row(row, name) for row in rows]
        title = f"Inference against {name}, {threads} thread(s)"
        found.append(Table(title, headings, cells, geometric_line(rows, name)))
    return found


def inference_row(row: Row, name: str) -> list[str]:
    ours, theirs, ratio = best_of(row, OURS), best_of(row, name), ratio_to(row, name)
    assert ours is not None
    start = [row["net"], str(row["batch"]), milliseconds(ours[1]["seconds"])]
    if theirs is None or ratio is None:
        return [*start, *[NOTHING] * 4]
    quartiles = f"{ratio.low:.2f}-{ratio.high:.2f}"
    return [*start, milliseconds(theirs[1]["seconds"]), theirs[0], f"{ratio.middle:.2f}", quartiles]


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
    """How far the competitors are from us."""
    rows = []
    for c in found:
        cells = [f"{d.size:.1e}" for d in (c.exact, c.single, c.rounding)]
        where = (c.exact if c.exact.size > EXACT else c.single).where
        against = f"{c.entrant.competitor}/{c.entrant.variant}"
        rows.append([c.net, against, *cells, where, "same" if c.fine else "DIFFERENT"])
    headings = ["net", "against", "float64", "float32", "own rounding", "largest in", ""]
    return Table("Largest relative difference from identical weights", headings, rows)


def head(result: Mapping[str, Any]) -> str:
    """Machine, versions, date and limits in a few words."""
    about = result["machine"]
    versions = "".join(f", {name} {version}" for name, version in result["versions"].items())
    machine = f"{about['cpu']}, {about['cpu_count']} logical CPUs; Python {about['python']}"
    lines = [f"{machine}{versions}; {about['date']}."]
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
