"""Tables of times of training steps and inference, and of their ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from .catalogue import COMPETITORS, GROUPS, INFERENCE_BATCHES, KEEPING_ALL, OURS
from .figures import Spread, fastest, geometric_mean, ratios, spread
from .goals import KEEP, NEIGHBOUR, NONE, Goals, any_of, goals_of, verdict
from .table import NOTHING, Table, megabytes, milliseconds

Row = Mapping[str, Any]
WORDS = {"train": "Training step", "infer": "Inference", "neighbour": "Training step beside a busy neighbour"}


class Best(NamedTuple):
    """The fastest on a net: who, in which variant, and what was measured."""

    competitor: str
    variant: str
    measured: Row

    @property
    def words(self) -> str:
        """The competitor, with its variant where it was tried in several."""
        return f"{self.competitor} {self.variant}" if COMPETITORS[self.competitor].varies else self.competitor


def best_of(row: Row, names: Sequence[str]) -> Best | None:
    """The fastest variant of these competitors; None where none of them competed."""
    found = {(name, v): m for name in names for v, m in row["times"].get(name, {}).items()}
    if not found:
        return None
    name = min(found, key=lambda key: median(found[key]["seconds"]))
    return Best(*name, found[name])


def ratio_to(row: Row, way: str, names: Sequence[str]) -> Spread | None:
    """The time of one of our ways over the best of these competitors."""
    ours, theirs = row["times"][OURS].get(way), best_of(row, names)
    return None if ours is None or theirs is None else spread(ratios(ours["seconds"], theirs.measured["seconds"]))


def ways_in(rows: Sequence[Row]) -> list[str]:
    """Our ways that were measured, in order."""
    return list(dict.fromkeys(way for row in rows for way in row["times"][OURS]))


def competitors_in(rows: Sequence[Row]) -> list[str]:
    """Who was measured besides us, in order."""
    return list(dict.fromkeys(name for row in rows for name in row["times"] if name != OURS))


def groups_in(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Of GROUPS, those of whom somebody was measured, without the others; and none that is another one then."""
    present, found = set(competitors_in(rows)), {}
    for key, names in GROUPS.items():
        members = tuple(name for name in names if name in present)
        if members and members not in found.values():
            found[key] = members
    return found


def against(names: Sequence[str]) -> str:
    """`torch`, `the fastest of torch, torch-autocast`."""
    return names[0] if len(names) == 1 else f"the fastest of {', '.join(names)}"


def tables_of(rows: Sequence[Row], threads: int) -> list[Table]:
    """All tables of what was measured with one number of threads."""
    found = []
    for mode in ("train", "infer"):
        own = [row for row in rows if row["mode"] == mode]
        if own:
            title = f"{WORDS[mode]}, {threads} thread(s)"
            found.append(times_table(own, title))
            found += [ratio_table(own, threads, mode, key, names) for key, names in groups_in(own).items()]
            found += keep_tables(own, title)
            found += memory_tables(own, title) if mode == "train" else []
    own = [row for row in rows if row["mode"] == "neighbour"]
    return [*found, *([neighbour_table(own, threads)] if own else [])]


def start_of(row: Row) -> list[str]:
    """The first cells: the net, and the batch of inference."""
    return [row["net"], *([str(row["batch"])] if row["mode"] == "infer" else [])]


def first_headings(rows: Sequence[Row]) -> list[str]:
    """What is above them."""
    return ["net", *(["batch"] if rows[0]["mode"] == "infer" else [])]


# Times ----------------------------------------------------------------------------------------------------------------


def times_table(rows: Sequence[Row], title: str) -> Table:
    """Milliseconds of everybody."""
    ways, names, training = ways_in(rows), competitors_in(rows), rows[0]["mode"] == "train"
    headings = [*first_headings(rows), *(f"{way} ms" for way in ways)]
    for name in names:
        headings += [f"{name} ms", *(["variant"] if COMPETITORS[name].varies else [])]
    cells = []
    for row in rows:
        line = [*start_of(row), *(time_of(row["times"][OURS].get(way)) for way in ways)]
        for name in names:
            best = best_of(row, [name])
            line.append(time_of(best and best.measured))
            line += [best.variant if best else NOTHING] if COMPETITORS[name].varies else []
        cells.append([*line, *([f"{1e3 * row['roofline']:.2f}"] if training else [])])
    return Table(title, [*headings, *(["roofline ms"] if training else [])], cells, disturbance(rows))


def time_of(measured: Row | None) -> str:
    """Milliseconds; a dash for nobody."""
    return milliseconds(measured["seconds"]) if measured else NOTHING


def disturbance(rows: Sequence[Row]) -> str:
    """How much of a burst a process waited for a CPU that other programs had, at worst and in the middle."""
    waited = [w for row in rows for variants in row["times"].values() for m in variants.values() for w in m["waited"]]
    return f"Waiting for a CPU took {median(waited):.0%} of a burst in the middle, {max(waited):.0%} at worst."


# Ratios ---------------------------------------------------------------------------------------------------------------


def ratio_table(rows: Sequence[Row], threads: int, mode: str, key: str, names: Sequence[str]) -> Table:
    """Our ways over the fastest of a group, with goals where there are some; below, geometric means."""
    ways = [way for way in ways_in(rows) if not way.endswith(KEEPING_ALL)] or ways_in(rows)
    goals = {way: goals_of(mode, key, way, threads) for way in ways}
    judged = {way for way in ways if any_of([goals[way]])}
    headings = [*first_headings(rows), "fastest", "ms"]
    for way in ways:
        headings += [way, *(["goal"] if way in judged else [])]
    cells = []
    for row in rows:
        best = best_of(row, names)
        line = [*start_of(row), best.words if best else NOTHING, time_of(best and best.measured)]
        for way in ways:
            found = ratio_to(row, way, names)
            line += ratio_cells(found, goals[way].nets.get(row["net"]), way in judged)
        cells.append(line)
    cells += mean_rows(rows, ways, names, goals, judged)
    return Table(f"{WORDS[mode]} against {against(names)}, {threads} thread(s)", headings, cells)


def ratio_cells(ratio: Spread | None, goal: float | None, judged: bool) -> list[str]:
    """`0.44 [0.41-0.46]`, and whether that reaches the goal."""
    if ratio is None:
        return [NOTHING] * (1 + judged)
    cell = f"{ratio.middle:.2f} [{ratio.low:.2f}-{ratio.high:.2f}]"
    return [cell, *([verdict(ratio.middle, goal)] if judged else [])]


def mean_rows(
    rows: Sequence[Row], ways: Sequence[str], names: Sequence[str], goals: Mapping[str, Goals], judged: set[str]
) -> list[list[str]]:
    """Geometric means over the nets, of inference for each batch and for all."""
    batches: list[int | None] = [None]
    if rows[0]["mode"] == "infer":
        batches = [b for b in INFERENCE_BATCHES if any(row["batch"] == b for row in rows)] + [None]
    found = []
    for batch in batches:
        own = [row for row in rows if batch is None or row["batch"] == batch]
        line = ["geometric mean", *([str(batch or "all")] if rows[0]["mode"] == "infer" else []), NOTHING, NOTHING]
        for way in ways:
            mean = geometric_mean(r.middle for row in own if (r := ratio_to(row, way, names)))
            goal = goals[way].mean if goals[way].batch == batch else None
            line += mean_cells(mean, goal, way in judged)
        found.append(line)
    return found


def mean_cells(mean: float | None, goal: float | None, judged: bool) -> list[str]:
    """`0.53`, and whether that reaches the goal."""
    if mean is None:
        return [NOTHING] * (1 + judged)
    return [f"{mean:.2f}", *([verdict(mean, goal)] if judged else [])]


def keep_tables(rows: Sequence[Row], title: str) -> list[Table]:
    """What it costs to keep all blobs readable, for each precision that was measured both ways."""
    ways = ways_in(rows)
    both = [way for way in ways if way + KEEPING_ALL in ways]
    if not both:
        return []
    headings, cells, judged = list(first_headings(rows)), [], rows[0]["mode"] == "train"
    goals = KEEP if judged else NONE
    middles: dict[str, list[float]] = {way: [] for way in both}
    for way in both:
        headings += [way, *(["goal"] if judged else [])]
    for row in rows:
        line, ours = start_of(row), row["times"][OURS]
        for way in both:
            found = spread(ratios(ours[way + KEEPING_ALL]["seconds"], ours[way]["seconds"]))
            middles[way].append(found.middle)
            line += ratio_cells(found, goals.nets.get(row["net"]), judged)
        cells.append(line)
    last = ["geometric mean", *[NOTHING] * (len(start_of(rows[0])) - 1)]
    for way in both:
        last += mean_cells(geometric_mean(middles[way]), goals.mean, judged)
    return [Table(f'{title}: keep="all" over keep="none"', headings, [*cells, last])]


# Memory and neighbours ------------------------------------------------------------------------------------------------


def memory_tables(rows: Sequence[Row], title: str) -> list[Table]:
    """By how much memory grew in training, and our first way over the fastest variant of each competitor."""
    ways, names = ways_in(rows), competitors_in(rows)
    headings = ["net", *(f"{way} MB" for way in ways)]
    for name in names:
        headings += [f"{name} MB", f"{ways[0]} over it"]
    cells = []
    for row in rows:
        ours = [row["times"][OURS][way]["growth"] for way in ways]
        line = [row["net"], *map(megabytes, ours)]
        for name in names:
            best = best_of(row, [name])
            growth = best.measured["growth"] if best else 0
            line += [megabytes(growth) if best else NOTHING, f"{ours[0] / growth:.2f}" if growth else NOTHING]
        cells.append(line)
    return [Table(f"Memory of a {title[0].lower()}{title[1:]}", headings, cells)]


def neighbour_table(rows: Sequence[Row], threads: int) -> Table:
    """How many times the quiet step a busy one takes, of ours and of the fastest variant of each competitor; and the
    share of its core that the neighbour had."""
    headings = ["net", "who", "quiet ms", "busy ms", "busy over quiet", "goal", "over torch's busy", "its core"]
    cells = []
    for row in rows:
        torch = fastest_busy(row, "torch")
        for name, variants in row["times"].items():
            shown = variants if name == OURS else {v: m for v, m in variants.items() if m is fastest_busy(row, name)}
            for variant, m in shown.items():
                own = spread(ratios(m["busy"], m["seconds"]))
                goal = NEIGHBOUR.nets.get(row["net"]) if name == OURS else None
                beside = spread(ratios(m["busy"], torch["busy"])) if torch and name == OURS else None
                who = variant if name == OURS else name + (f" {variant}" if COMPETITORS[name].varies else "")
                line = [row["net"], who, milliseconds(m["seconds"]), milliseconds(m["busy"])]
                line += [*ratio_cells(own, goal, True), *ratio_cells(beside, None, False)]
                cells.append([*line, f"{median(m['shares']):.0%}"])
    return Table(f"{WORDS['neighbour']}, {threads} thread(s)", headings, cells)


def fastest_busy(row: Row, name: str) -> Row | None:
    """What was measured of the variant that is fastest beside the neighbour."""
    variants = row["times"].get(name)
    return variants[fastest({v: m["busy"] for v, m in variants.items()})] if variants else None
