"""What Caffe's layers and blobs are called here.

A blob of Caffe's that layers overwrite in place is one name for several arrays, its versions. Here each version has a
name of its own, and where arrays share memory is the planner's business. The last version has Caffe's name, so that
`net.blobs["conv1"]` is what Caffe's blob holds after a forward; the versions before it are called as the layers that
made them. Only an input keeps its name though it is overwritten: what is given to `net.forward` is its first version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ...net import FORWARD_WORDS
from ...schema.errors import ConfigError
from ...schema.synonyms import did_you_mean
from ..emitting import free_name
from .message import Message


@dataclass
class Version:
    """One array that a blob of Caffe's stands for.

    maker, top   the layer (its number) that makes it, as which of its tops
    name         what it is called here
    readers      (layer, which bottom), in their order; (-1, 0) first for a loss weight
    """

    blob: str
    maker: int
    top: int
    name: str = ""
    readers: list[tuple[int, int]] = field(default_factory=list)


class Names:
    """The names of a net's layers and blobs.

    layers     what each layer is called here, in the order of the net
    versions   the versions of each blob of Caffe's
    bottoms    for each layer the versions that it reads; None for a blob that there is none of
    tops       for each layer the versions that it makes
    errors     blobs that are read before they are made, or made twice
    """

    def __init__(
        self, layers: Sequence[Message], is_input: Callable[[Message], bool], loses: Callable[[Message, int], bool]
    ) -> None:
        """`loses(layer, top)` says whether a top has a loss weight, and so one more reader."""
        self.taken: set[str] = set()
        self.counts: dict[str, int] = {}  # how often a name was wanted, so that a free one is found at once
        self.errors: list[ConfigError] = []
        self.versions: dict[str, list[Version]] = {}
        self.bottoms: list[list[Version | None]] = []
        self.tops: list[list[Version]] = []
        for number, layer in enumerate(layers):
            self._wire(number, layer, loses)
        self.taken |= {*self.versions, *FORWARD_WORDS}
        self.layers = self._name_layers(layers)
        self.taken |= set(self.layers)
        for versions in self.versions.values():
            self._name_versions(versions, layers, is_input)

    def unique(self, name: str) -> str:
        """A name that nothing else has, as close to this one as may be."""
        return self._free(name, self.taken)

    def _free(self, name: str, used: set[str]) -> str:
        """A legal name that is not used yet, which is used then."""
        return free_name(name, used, self.counts)

    # Wiring -------------------------------------------------------------------------------------------------------

    def _wire(self, number: int, layer: Message, loses: Callable[[Message, int], bool]) -> None:
        bottoms, tops = layer.get("bottom"), layer.get("top")
        read: list[Version | None] = []
        for i, blob in enumerate(bottoms):
            version = self.versions[blob][-1] if blob in self.versions else None
            if version is None:
                message = f"layer '{layer.get('name')}' ({layer.get('type')}): no layer above makes its bottom '{blob}'"
                hint = did_you_mean(blob, self.versions)
                self.errors.append(ConfigError(message, place=layer.place("bottom", i), hint=hint))
            else:
                version.readers.append((number, i))
            read.append(version)
        self.bottoms.append(read)
        made = []
        for j, blob in enumerate(tops):
            if blob in self.versions and not self._in_place(number, layer, j, bottoms):
                message = f"layer '{layer.get('name')}' ({layer.get('type')}): top '{blob}' is made by a layer above"
                hint = "in place is top i with the name of bottom i, which no other layer may read"
                self.errors.append(ConfigError(message, place=layer.place("top", j), hint=hint))
            version = Version(blob, number, j)
            if loses(layer, j):
                version.readers.append((-1, 0))
            self.versions.setdefault(blob, []).append(version)
            made.append(version)
        self.tops.append(made)

    def _in_place(self, number: int, layer: Message, top: int, bottoms: Sequence[str]) -> bool:
        """Whether a top overwrites the bottom of its number, which nobody else reads: Caffe takes no other."""
        blob = layer.get("top")[top]
        if top >= len(bottoms) or bottoms[top] != blob:
            return False
        return self.versions[blob][-1].readers == [(number, top)]

    # Naming -------------------------------------------------------------------------------------------------------

    def _name_layers(self, layers: Iterable[Message]) -> list[str]:
        """Legal names, each once; a layer may be called as a blob is."""
        used: set[str] = set()
        return [self._free(str(layer.get("name")) or str(layer.get("type")).lower(), used) for layer in layers]

    def _name_versions(
        self, versions: list[Version], layers: Sequence[Message], is_input: Callable[[Message], bool]
    ) -> None:
        given = is_input(layers[versions[0].maker])
        blob = versions[0].blob
        plain = self.unique(f"{blob}_") if blob in FORWARD_WORDS and given else blob
        for version in versions:
            if version is (versions[0] if given else versions[-1]):
                version.name = plain
                continue
            own = self.layers[version.maker]
            version.name = own if own not in self.versions and version.top == 0 else self.unique(f"{own}.out")


def split_names(version: Version, layer: str) -> list[str]:
    """What Caffe calls the copies of a blob that it makes for its readers, where there are several.

    layer   Caffe's name of the layer that makes the blob
    """
    if len(version.readers) < 2:
        return []
    return [f"{version.blob}_{layer}_{version.top}_split_{k}" for k in range(len(version.readers))]
