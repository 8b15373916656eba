"""A forgotten Flatten shows far from where it belongs: Linear takes the last axis of an image, and the loss fails.

Where scores with more axes than labels meet a loss or a metric, the way up from them leads to the layer that should
have had the Flatten: the highest Linear that reads more than a vector for each sample. Where the labels have the axes
of the scores without the last one it is the classes that stand in the wrong place: they are axis 1.
"""

from __future__ import annotations

from ..contract import call
from ..layers.matrices.linear import Linear
from ..schema.errors import ConfigError, LayerForgeError
from .graph import Blob, Node, PhaseGraph

IMAGE = 4  # axes; with fewer it may as well be a sequence, of which one step was to be taken


def named(error: LayerForgeError, graph: PhaseGraph, node: Node, bottoms: list[Blob]) -> LayerForgeError:
    """The error of a loss or metric, or the one that names the layer where a Flatten belongs, if that is behind it."""
    judges = node.layer.loss or not node.layer.is_differentiable()
    if not judges or len(bottoms) < 2 or any(b.spec is None for b in bottoms):
        return error
    scores, labels = bottoms[0].spec, bottoms[1].spec
    if scores is None or labels is None:
        return error
    if scores.ndim == labels.ndim + 1 > 2 and scores.shape[:-1] == labels.shape:
        error.hint = _classes_last(graph, bottoms[0], scores.ndim, node)
        return error
    if not (scores.ndim > 2 >= labels.ndim and scores.ndim > labels.ndim):
        return error
    found = _linear_above(graph, bottoms[0])
    if found is None:
        if scores.ndim >= IMAGE:
            error.hint = f"the scores are an image: {_line(graph, bottoms[0])}, then a Linear, before '{node.name}'"
        return error
    linear, read = found
    if read.spec is None or read.spec.ndim < IMAGE:
        error.hint = f"one vector for each sample: {_line(graph, read)} before '{linear.name}', or take one step of it"
        return error
    message = (
        f"{call.owner(linear.layer)} reads '{read.name}' of shape {read.spec.shape} without a Flatten before it:"
        f" its features are the last axis alone, and the scores become {scores.shape} for labels {labels.shape}"
    )
    return ConfigError(message, place=linear.place, hint=_line(graph, read) + _then(graph, linear))


def _linear_above(graph: PhaseGraph, blob: Blob) -> tuple[Node, Blob] | None:
    """The highest Linear on the way up from a blob that reads more than two axes, and what it reads."""
    found = None
    made = {i: step for step in graph.steps for i in step.tops}
    while blob.index in made:
        step = made[blob.index]
        blob = graph.blobs[step.bottoms[0]] if step.bottoms else blob
        if not step.bottoms:
            break
        if isinstance(step.node.layer, Linear) and blob.spec is not None and blob.spec.ndim > 2:
            found = step.node, blob
    return found


def _classes_last(graph: PhaseGraph, scores: Blob, ndim: int, node: Node) -> str:
    """The hint where scores (N, ..., K) meet labels (N, ...)."""
    dims = [0, ndim - 1, *range(1, ndim - 1)]
    order = "type: Transpose, dim0: 1, dim1: 2" if ndim == 3 else f"type: Permute, dims: {dims}"
    name = _name(graph, "classes_first")
    line = f"- {{name: {name}, {order}, bottom: {scores.name}}}"
    return f"the classes are axis 1 of scores: add `{line}`, and let '{node.name}' read '{name}'"


def _name(graph: PhaseGraph, name: str = "flat") -> str:
    """A name for a layer, and its top, that no blob has."""
    return next(n for n in (name, *(f"{name}{i}" for i in range(2, len(graph.blobs) + 3))) if n not in graph.current)


def _line(graph: PhaseGraph, read: Blob) -> str:
    return f"add `- {{name: {_name(graph)}, type: Flatten, bottom: {read.name}}}`"


def _then(graph: PhaseGraph, linear: Node) -> str:
    bottom = f" and let it read that: `bottom: {_name(graph)}`" if "bottom" in linear.item else ""
    return f" before '{linear.name}'{bottom}"
