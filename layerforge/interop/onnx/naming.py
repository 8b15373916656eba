"""What nodes and values of ONNX are called here: legal names, each once, as close to the file's as may be.

A layer is called as its node. Where the node's numbers are called "name.weight" it is "name", so that a parameter has
the name that the program which wrote the file knows it by: exporters invent names of nodes, and keep those of
parameters. A blob is called as its value, or as its layer where the value's name was made from the node's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..emitting import free_name, legal_name
from .graph import Node, OnnxGraph

PARAMETERS = (".weight", ".weight_v", ".running_mean", ".in_proj_weight", ".weight_ih_l0", ".kernel")
INVENTED = re.compile(r"n\d+(_\d+)?\Z")  # by torch's exporter, as is "node_" before the name of an output


def base_of(name: str) -> str:
    """A name without the slash that some exporters begin with, and without what they append to that of an output."""
    return name.lstrip("/").removesuffix("_output_0").removesuffix(":0")


class Names:
    """The names of a graph's layers and blobs.

    blobs           what values are called here, as far as they were asked for
    renamed_layers  nodes that are called otherwise
    """

    def __init__(self, graph: OnnxGraph, taken: set[str]) -> None:
        self.graph = graph
        self.blobs: dict[str, str] = {}
        self.renamed_layers: dict[str, str] = {}
        self.used_blobs: set[str] = set(taken)
        self.used_layers: set[str] = set()
        self.counts: dict[str, int] = {}
        for info in [*graph.outputs, *graph.inputs]:
            self.blob(info.name)

    def blob(self, name: str) -> str:
        """What a value is called here."""
        if name not in self.blobs:
            self.blobs[name] = free_name(base_of(name), self.used_blobs, self.counts)
        return self.blobs[name]

    def layer(self, node: Node, learned: Sequence[str] = ()) -> str:
        """What the main layer of a node is called here.

        learned   the initializers that its parameters come from
        """
        by_output = next((base_of(name) for name in node.outputs if name), node.op)
        invented = node.name == f"node_{by_output}" or INVENTED.match(node.name)
        wanted = self._by_parameter(learned) or ("" if invented else base_of(node.name)) or by_output
        made = free_name(wanted, self.used_layers, self.counts)
        if node.name and node.name != made:
            self.renamed_layers[node.name] = made
        return made

    def unique(self, name: str) -> str:
        """A name that no other blob or layer has."""
        made = free_name(name, self.used_layers | self.used_blobs, self.counts)
        self.used_layers.add(made)
        self.used_blobs.add(made)
        return made

    def _by_parameter(self, learned: Sequence[str]) -> str:
        """The name before that of a parameter: "fc1" of "fc1.weight"."""
        for name in learned:
            for end in PARAMETERS:
                start = name.removesuffix(end)
                if start not in (name, "") and legal_name(start) == start and start not in self.used_layers:
                    return start
        return ""
