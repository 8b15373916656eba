"""Signature: what a trained net takes and gives, as its checkpoints and weights files say it.

With it and the configuration a net is built, fed and understood where nothing of the training data is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..arrays.spec import Spec, parse_specs, plain_specs
from ..schema.errors import DataError
from ..schema.params import parse_as
from .graph import Graph

VERSION = 1


@dataclass(frozen=True)
class Signature:
    """What a trained net takes and gives.

    inputs       the net's inputs by name, labels among them (batch axis first)
    outputs      what the net gives in eval
    class_names  the words of the classes by number; () where they have none
    reader       how samples come from files and objects, as plain values; None where no data section says so
    """

    inputs: dict[str, Spec]
    outputs: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    reader: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, graph: Graph, class_names: Sequence[str] = (), reader: Mapping[str, Any] | None = None) -> Signature:
        """That of a net, and of the data that it learns from."""
        blobs = graph.phases["eval"].blobs
        outputs = tuple(blob.name for blob in blobs if blob.producer is not None and not blob.readers)
        return cls(dict(graph.inputs), outputs, tuple(class_names), reader)

    @property
    def plain(self) -> dict[str, Any]:
        """As plain values, for a file."""
        return {
            "version": VERSION,
            "inputs": plain_specs(self.inputs),
            "outputs": list(self.outputs),
            "class_names": list(self.class_names),
            "reader": self.reader,
        }

    @classmethod
    def parse(cls, values: Any, source: str) -> Signature:
        """From what `plain` wrote. `source` is what errors call the file.

        Errors   DataError where it is something else, or was written by a later version
        """
        try:
            later = parse_as(int, values["version"]) > VERSION
            inputs = parse_specs(values["inputs"])
            outputs, names = (tuple(parse_as(list[str], values[key])) for key in ("outputs", "class_names"))
            reader = None if values["reader"] is None else dict(values["reader"])
        except (KeyError, TypeError, ValueError):
            hint = "take another file"
            raise DataError(f"{source} does not say what its net takes and gives", hint=hint) from None
        if later:
            raise DataError(f"{source} was written by a later version of LayerForge", hint="upgrade LayerForge")
        return cls(inputs, outputs, names, reader)


def signature_of(meta: Mapping[str, Any], source: str) -> Signature | None:
    """The signature that a file holds; None where it is older than that."""
    return None if meta.get("signature") is None else Signature.parse(meta["signature"], source)
