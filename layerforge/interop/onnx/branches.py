"""Graphs within a node: of an If whose condition is known the branch that it takes is part of the net."""

from __future__ import annotations

from .graph import OnnxGraph
from .importing import REFUSED, Site
from .values import Known

REFUSED.update(dict.fromkeys(("Loop", "Scan", "SequenceMap"), "a graph that is run several times is no net"))


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
