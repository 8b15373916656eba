"""Graphs within a node, as part of the net: the branch that an If takes, and the body of a Loop as often as it runs.

What decides must be known: the condition of an If, and how often a Loop runs, as where the length of sequences is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from .functions import Copying
from .graph import Node, OnnxGraph
from .importing import REFUSED, Site
from .ordering import needed, passed_on, subgraphs, used
from .values import Known, Unsupported, Value

REFUSED.update(dict.fromkeys(("Scan", "SequenceMap"), "a graph that is run several times is no net"))
MOST = 10_000  # nodes that the Loops of a graph become
ENDLESS = 2**63 - 1  # runs of a Loop that says no number


class Walk(Protocol):
    """What is known of a translation here.

    values   what is known of each value
    given    the values that are to be had by name
    opset    the version of the operators
    count    of variants
    copies   graphs from within, with names of their own
    left     how many nodes Loops may still become, those of Loops within them included
    """

    values: dict[str, Value]
    given: set[str]
    opset: int
    count: int
    copies: Copying
    left: int

    def store(self, initializers: Mapping[str, np.ndarray]) -> None: ...
    def read_by(self, nodes: Sequence[Node]) -> None: ...
    def convert(self, node: Node) -> None: ...


def _within(walk: Walk, graph: OnnxGraph) -> None:
    """Convert the nodes of a graph whose inputs are known by now."""
    nodes = needed(graph)
    walk.read_by(nodes)
    walk.given |= {info.name for info in graph.outputs}
    walk.store(graph.initializers)
    for node in nodes:
        walk.convert(node)


# If -------------------------------------------------------------------------------------------------------------------


def take(walk: Walk, site: Site) -> None:
    """The branch that a known condition takes, in the place of the node."""
    branch = walk.copies.put(taken(site))
    _within(walk, branch)
    for j, info in enumerate(branch.outputs):
        if info.name in walk.values:
            site.outputs[j] = walk.values[info.name]


def taken(site: Site) -> OnnxGraph:
    """The branch of an If. Errors: Unsupported where the net computes the condition."""
    condition = site.inputs[0] if site.inputs else None
    if not isinstance(condition, Known):
        raise site.unsupported("the net computes the condition: only one that is known has a branch here")
    if not condition.fixed or condition.array.size != 1:
        raise site.unsupported("the condition depends on the sizes of the net's inputs")
    site.attributes.read |= {"then_branch", "else_branch"}
    word = "then_branch" if bool(condition.array.reshape(-1)[0]) else "else_branch"
    branch = site.node.attributes.get(word)
    if not isinstance(branch, OnnxGraph):
        raise site.invalid(f"{word} is missing")
    site.note(f"its condition is known: {word} alone is imported")
    return branch


# Loop -----------------------------------------------------------------------------------------------------------------


def repeat(walk: Walk, site: Site) -> None:
    """A Loop whose number of runs is known: its body as often, one after the other, in the place of the node."""
    count, body = repeated(site)
    if _goes_on(body) and count * max(1, _size(walk, body)) > walk.left:  # before any of it is imported
        walk.left = -1
        raise _too_many(site, f"it runs {count} times")
    carried = {k: walk.values.get(name) for k, name in enumerate(site.node.inputs[2:])}
    stacked: list[list[str]] = [[] for _ in body.outputs[1 + len(carried) :]]
    body = walk.copies.put(body)
    stored, body.initializers = body.initializers, {}  # one for all runs: what learns them learns them once
    walk.store(stored)
    moving = _take_out_what_stays(walk, body, carried)
    _move_out(walk, body)
    if count > 1:
        walk.read_by(body.nodes)  # of what each run reads the first one must know that it is not alone
    runs = 0
    while runs < count:
        walk.left -= max(1, len(body.nodes))
        if walk.left < 0:
            raise _too_many(site, f"it runs {runs} times and more" if runs else "it runs")
        graph = walk.copies.put(body)
        begins = [_same(walk, np.int64(runs)), _same(walk, np.bool_(True)), *(carried[k] for k in moving)]
        known = zip(graph.inputs, begins, strict=True)
        walk.values |= {info.name: value for info, value in known if value is not None}
        _within(walk, graph)
        condition, *ends = [info.name for info in graph.outputs]
        carried |= {k: walk.values.get(name) for k, name in zip(moving, ends, strict=False)}
        for names, name in zip(stacked, ends[len(moving) :], strict=True):
            names.append(name)
        runs += 1
        if not still_true(site, walk.values.get(condition)) or walk.left < 0:  # as of a Loop within
            break
    site.note(f"its body is imported {runs} times, one after the other")
    site.outputs.update({k: value for k, value in carried.items() if value is not None})
    for j, names in enumerate(stacked, start=len(carried)):
        if j < len(site.tops) and site.tops[j]:
            site.outputs[j] = _stack(walk, site, names, site.node.outputs[j])


def _goes_on(body: OnnxGraph) -> bool:
    """Whether a body leaves it to the number of runs when a Loop ends."""
    return passed_on(body, body.outputs[0].name) == body.inputs[1].name


def _too_many(site: Site, told: str) -> Unsupported:
    """The error of a Loop that runs too often."""
    hint = "what is a step of an LSTM, a GRU or an RNN is that layer, however long it is"
    return site.unsupported(f"{told}: Loops would become more than {MOST} nodes", hint=hint)


def _take_out_what_stays(walk: Walk, body: OnnxGraph, carried: Mapping[int, Value | None]) -> list[int]:
    """Which states move: what a body passes on as it is, such as weights, is a value from outside for it."""
    moving = []
    for k, value in carried.items():
        name = passed_on(body, body.outputs[1 + k].name)
        if value is None or name != body.inputs[2 + k].name:
            moving.append(k)
        else:
            walk.values[name] = value
    count = len(carried)
    states, ends = body.inputs[2:], body.outputs[1 : 1 + count]
    body.inputs = [*body.inputs[:2], *(states[k] for k in moving)]
    body.outputs = [body.outputs[0], *(ends[k] for k in moving), *body.outputs[1 + count :]]
    return moving


def _move_out(walk: Walk, body: OnnxGraph) -> None:
    """Convert, once, the nodes of a body that are the same in each run: what is made of weights stays one parameter."""
    inside = {info.name for info in body.inputs}
    staying, moved = list[Node](), list[Node]()
    for node in needed(body):
        within = bool(inside & set(used(node)))
        inside |= set(node.outputs) if within else set()
        (staying if within else moved).append(node)
    walk.read_by(moved)
    walk.given |= {name for node in staying for name in used(node)} & {name for node in moved for name in node.outputs}
    for node in moved:
        walk.convert(node)
        for name in node.outputs:
            value = walk.values.get(name)
            if isinstance(value, Known) and value.learned and not value.origin[0]:
                walk.values[name] = replace(value, origin=(name, ()))
    body.nodes = staying


def _same(walk: Walk, number: Any) -> Known:
    """A number that is the same whatever the sizes are."""
    return Known((np.asarray(number),) * walk.count)


def _stack(walk: Walk, site: Site, names: Sequence[str], name: str) -> Value:
    """Values of the runs of a Loop, along a new first axis."""
    if not names:
        raise site.unsupported("it runs not once: what it gives has no shape")
    axes, whole = (walk.copies.unique(f"{name}/{word}") for word in ("axes", "rows"))
    rows = [walk.copies.unique(f"{name}/row") for _ in names]
    walk.values[axes] = _same(walk, np.array([0]))
    before = walk.opset < 13  # axes are an attribute
    nodes = [
        Node("Unsqueeze", [one] if before else [one, axes], [row], {"axes": [0]} if before else {}, row)
        for one, row in zip(names, rows, strict=True)
    ]
    nodes.append(Node("Concat", rows, [whole], {"axis": 0}, whole))
    walk.read_by(nodes)
    walk.given.add(whole)
    for node in nodes:
        walk.convert(node)
    return walk.values[whole]


def repeated(site: Site) -> tuple[int, OnnxGraph]:
    """How often a Loop runs, at most, and its body. Errors: Unsupported where that is not known, or too often."""
    site.attributes.read.add("body")
    body, most = site.node.attributes.get("body"), site.inputs[0] if site.inputs else None
    if not isinstance(body, OnnxGraph):
        raise site.invalid("body is missing")
    if not site.has(0) or not site.node.inputs[0]:
        most = Known((np.array(ENDLESS),))  # until its condition is false
    if not isinstance(most, Known) or most.array.size != 1 or most.array.dtype.kind not in "iu":
        raise site.unsupported("the net computes how often it runs: only a number that is known can be imported")
    if not most.fixed:
        raise site.unsupported("how often it runs depends on the sizes of the net's inputs", hint=_remedy(site, most))
    states = len(site.node.inputs) - 2
    if states < 0 or len(body.inputs) != states + 2 or len(body.outputs) < states + 1:
        raise site.invalid("its body does not take and give what it should")
    count = max(0, int(most.array.reshape(-1)[0]))
    if len(site.inputs) > 1 and site.inputs[1] is not None and not still_true(site, site.inputs[1]):
        count = 0
    return count, body


def _remedy(site: Site, most: Known) -> str:
    """What helps where the lengths of inputs say how often a Loop runs; the first axis has any length here."""
    batch, first = site.shared.batch or (), most.array
    if any(n != batch[0] and bool((array != first).any()) for n, array in zip(batch, most.arrays, strict=False)):
        return "the length of the first axis is open in any net: write the file with that length fixed"
    return "say the lengths of the inputs: --input NAME=SHAPE"


def _size(walk: Walk, graph: OnnxGraph) -> int:
    """The nodes of a graph with those of the graphs within, of Loops as often as they are known to run."""
    size = 0
    for node in graph.nodes:
        most = walk.values.get(node.inputs[0]) if node.op == "Loop" and node.inputs else None
        known = most.array.reshape(-1) if isinstance(most, Known) else np.zeros(0)
        times = max(1, int(known[0])) if known.size == 1 else 1
        size += 1 + times * sum(_size(walk, inner) for inner in subgraphs(node))
    return size


def still_true(site: Site, condition: Value | None) -> bool:
    """Whether a Loop goes on. Errors: Unsupported where the net computes that."""
    if not isinstance(condition, Known) or not condition.fixed or condition.array.size != 1:
        raise site.unsupported("the net computes whether it goes on: that must be known")
    return bool(condition.array.reshape(-1)[0])
