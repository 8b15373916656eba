"""The tables of a check, for a terminal or as markdown for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Rows = list[list[str]]
NOT_MEASURED = "-"


def render(report: Mapping[str, Any], markdown: bool) -> str:
    """The whole report: where it ran, the stages, what does not hold, and what was measured."""
    parts = [where(report), table(stages(report), markdown)]
    failures = [f"{stage['name']}: {sentence}" for stage in report["stages"] for sentence in stage["failures"]]
    if failures:
        parts.append("\n".join(f"- {line}" for line in failures) if markdown else "\n".join(failures))
    facts = {stage["name"]: stage["facts"] for stage in report["stages"]}
    if facts.get("training", {}).get("training"):
        title = "Against NumPy: the share of what rounding may explain that is used, and equal bits of two trainings"
        parts += [title, table(training(facts["training"]["training"]), markdown)]
    if facts.get("costs", {}).get("costs"):
        parts += ["A training step", table(costs(facts["costs"]["costs"]), markdown)]
    if facts.get("times", {}).get("times"):
        parts += [*times_title(facts["times"]), table(times(facts["times"]), markdown)]
    return "\n\n".join(parts)


def where(report: Mapping[str, Any]) -> str:
    """Device, versions and commit in a line."""
    found = report["surroundings"]
    words = [found.get("device"), found.get("driver") and f"driver for CUDA {found['driver']}"]
    words += [found.get("runtime") and f"CUDA {found['runtime']}", f"CuPy {found.get('cupy')}"]
    words += [f"NumPy {found.get('numpy')}", f"LayerForge {found.get('layerforge')}"]
    words += [found.get("commit") and f"commit {found['commit']}", report["began"][:10]]
    words += [f"{name}={value}" for name, value in found.get("variables", {}).items()]
    return ", ".join(str(word) for word in words if word)


def line(stage: Mapping[str, Any]) -> str:
    """A stage in a line, as it is told when it has ended."""
    head = f"{stage['name']:<9} {stage['status']:<9} {stage['seconds']:6.1f} s  {stage['checks']:5} checks"
    return f"{head}  {stage['done']}".rstrip()


def stages(report: Mapping[str, Any]) -> Rows:
    """A row for each stage."""
    rows = [["stage", "looks at", "result", "checks", "s", "of s", "came to"]]
    for stage in report["stages"]:
        seconds = [f"{stage['seconds']:.1f}", f"{stage['budget']:.0f}"]
        rows.append([stage["name"], stage["title"], stage["status"], str(stage["checks"]), *seconds, stage["done"]])
    return rows


def training(found: Iterable[Mapping[str, Any]]) -> Rows:
    """A row for each net that was trained."""
    rows = [["net", "data", "batch", "steps", "loss", "of the bound: losses", "arrays", "same bits"]]
    for row in found:
        loss = f"{row['first_loss']:.4f} to {row['last_loss']:.4f}"
        used = [f"{row['used_of_bound'][key]:.2f}" for key in ("loss", "arrays")]
        end = "yes" if row["same_bits"] else "no"
        rows.append([row["net"], row["data"], str(row["batch"]), str(row["steps"]), loss, *used, end])
    return rows


def costs(found: Mapping[str, Mapping[str, int]]) -> Rows:
    """A row for each configuration, a column for each count."""
    heads = list(next(iter(found.values())))
    return [["config", *heads], *([name, *(f"{row[head]:,}" for head in heads)] for name, row in found.items())]


def times_title(facts: Mapping[str, Any]) -> list[str]:
    """What the times are of."""
    torch = facts.get("torch", {})
    named = f"torch {torch['torch']} on {torch['device']}" if torch.get("nets") else torch.get("missing", "no torch")
    means = "; ON THE STAND-IN, WITHOUT A DEVICE: THE FIGURES MEAN NOTHING" if facts.get("meaningless") else ""
    return [f"Milliseconds of a training step, from a batch on the host (median, quartiles); {named}{means}"]


def times(facts: Mapping[str, Any]) -> Rows:
    """A row for each configuration; ratios are ours over torch's."""
    rows = [["config", "batch", "first step s", "layerforge ms", "torch eager ms", "ratio", "torch graph ms", "ratio"]]
    theirs = facts.get("torch", {}).get("nets", {})
    for name, row in facts["times"].items():
        ours = f"{row['ms']:.3f} [{row['quartiles'][0]:.3f}-{row['quartiles'][1]:.3f}]"
        cells = [name, str(row["batch"]), f"{row['first_s']:.1f}", ours]
        for key in ("eager", "graph"):
            other = theirs.get(name, {}).get(key)
            cells += [NOT_MEASURED] * 2 if other is None else [f"{other:.3f}", f"{row['ms'] / other:.2f}"]
        rows.append(cells)
    return rows


def table(rows: Sequence[Sequence[str]], markdown: bool) -> str:
    """Rows under a head, in columns."""
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(n) for cell, n in zip(row, wide, strict=True)).rstrip() for row in rows)
