"""Graphs with several nodes in the place of one that they stand for: such patterns are recognised before translation.

Each pattern says in its docstring which formula it recognises. What is none is translated node by node and computes the
same: patterns make nets that are read more easily, and layers whose parameters have the names that they have in torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ....schema.errors import DataError
from ..conversions.recurrent_in import CELLS
from ..graph import OnnxGraph
from ..values import Value
from . import activations, attention, directions, linear, loops, movements, multihead, norms, plumbing, recurrent
from .looking import Look, Patterns

SHORTER: Patterns = {**{op: [movements.shortened] for op in movements.ALL}, "Concat": [movements.rejoined]}
LAYERS: Patterns = {"Loop": [loops.as_layer]}
PASSES: list[Patterns] = [
    {
        "Mul": [
            *(norms.layer_norm, norms.rms_norm, norms.scale),
            *(activations.gelu, activations.silu, activations.mish, activations.hard_swish),
        ],
        "Div": [norms.layer_norm, norms.rms_norm, activations.hard_swish],
        "Add": [norms.layer_norm_spread, norms.bias],
        "MatMul": [attention.attention],
        "LayerNormalization": [norms.centred_before],
        "Concat": [recurrent.unrolled],
        **LAYERS,
        **{op: [recurrent.batch_first] for op in CELLS},
    },
    {op: [multihead.multihead] for op in ("Gemm", "MatMul", "Add")},
    {"Reshape": [linear.over_last_axis], "Concat": [directions.both_ways]},
    {**SHORTER, "MatMul": [linear.called_as_bias]},
]


def rewrite(graph: OnnxGraph, values: Mapping[str, Value], passes: Sequence[Patterns] = PASSES) -> OnnxGraph:
    """The same function with the operators that groups of nodes stand for.

    values   what is known of the graph's values, as `translate` has found out
    passes   the patterns

    A graph that cannot be run stays as it is: the translation says why.
    """
    own = replace(graph, nodes=list(graph.nodes), initializers=dict(graph.initializers))
    plumbing.bypassed(own, dict(values))
    look = Look(own, dict(values))
    try:
        for patterns in passes:
            look.replace(patterns)
    except DataError:
        return graph
    return own
