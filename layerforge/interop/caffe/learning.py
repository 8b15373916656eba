"""How Caffe's `param { }` becomes lr_mult, decay_mult and share: how parameters learn, and whose memory they have.

Parameters of one name share memory. The first layer with the name owns it; Caffe takes multipliers from whichever
sharer says any, and refuses sharers that say different ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

from ...schema.errors import ConfigError
from ..emitting import Made
from .conversion import BlobMap, Site, Unsupported
from .message import Message

# By parameter, the hyper-parameters that say how it starts: of a shared one its owner says it.
START_VALUES = {"weight": ("weight_filler", "filler", "init"), "bias": ("bias_filler",)}


@dataclass
class Sharing:
    """The parameters of one name: the owner's, and what the sharers say of them so far.

    site, blob   of the owner
    multipliers  lr_mult and decay_mult that somebody has written
    """

    site: Site
    blob: BlobMap
    multipliers: dict[str, float] = field(default_factory=dict)
    users: list[BlobMap] = field(default_factory=list)


class Learning:
    """What all `param { }` of a net say, layer after layer; `write` puts it into the emitted layers at the end."""

    def __init__(self) -> None:
        self.shared: dict[str, Sharing] = {}
        self.factors: dict[tuple[str, str], dict[str, float]] = {}  # of a parameter of a layer: its two multipliers
        self.sites: list[Site] = []

    def read(self, site: Site) -> None:
        """Read the `param { }` of a layer that was converted. Errors: ConfigError for what Caffe refuses."""
        specs = site.layer.get("param")
        if len(specs) > len(site.blobs):
            count = f"{len(specs)} param {{ }} for {len(site.blobs)} blob(s)"
            raise ConfigError(site.said(count), place=site.layer.place("param", len(site.blobs)))
        self.sites.append(site)
        for number, blob in enumerate(site.blobs):
            spec = specs[number] if number < len(specs) else Message("ParamSpec")
            if blob.namespace == "state":
                self._state(site, spec)
                continue
            multipliers = {word: spec.get(word) for word in ("lr_mult", "decay_mult") if spec.has(word)}
            name = spec.get("name")
            if name and blob.columns is not None:
                raise site.unsupported(f"a part of a parameter shared as '{name}'", spec, "name")
            if self.factors.get((blob.layer, blob.name), multipliers) != multipliers:
                raise site.unsupported("multipliers that differ between parts of one parameter", spec)
            if name:
                multipliers = self._share(site, blob, spec, name, multipliers)
            self.factors[blob.layer, blob.name] = multipliers

    def _state(self, site: Site, spec: Message) -> None:
        """Statistics are not learned, and Caffe refuses another lr_mult than 0 for them."""
        if spec.values and spec.get("lr_mult") != 0:
            hint = "write `param { lr_mult: 0 }`, or no param at all"
            raise site.invalid("statistics are not learned: their lr_mult must be 0", spec, "lr_mult", hint=hint)
        site.harmless(spec, "decay_mult", why="statistics are not learned")
        if spec.get("name"):
            raise site.unsupported(f"statistics shared as '{spec.get('name')}'", spec, "name")

    def _share(
        self, site: Site, blob: BlobMap, spec: Message, name: str, multipliers: dict[str, float]
    ) -> dict[str, float]:
        mode = spec.get("share_mode")
        group = self.shared.get(name)
        if group is None:
            self.shared[name] = Sharing(site, blob, multipliers)
            return multipliers
        owner = group.blob
        if blob.shape != owner.shape:
            whose = f"'{name}' of layer '{group.site.name}' has shape {owner.shape}, here it has {blob.shape}"
            if mode == "PERMISSIVE" and prod(blob.shape) == prod(owner.shape):
                hint = "sharing memory between shapes (share_mode: PERMISSIVE) is not supported"
                raise site.unsupported(whose, spec, "share_mode", hint=hint)
            raise site.invalid(whose, spec, "name", hint="shared parameters must have the same shape")
        if blob.order != owner.order:
            raise site.unsupported(f"'{name}' has another layout in layer '{group.site.name}'", spec, "name")
        for word, value in multipliers.items():
            if group.multipliers.setdefault(word, value) != value:
                message = f"{word} {value:g} of '{name}', which has {group.multipliers[word]:g} where it is shared"
                raise site.invalid(message, spec, word, hint="sharers must have the same multipliers")
        group.users.append(blob)
        return group.multipliers

    # Writing ------------------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Put multipliers and sharing into the mappings of the layers. Caffe's defaults are 1 and 1."""
        sharers = {(user.layer, user.name): group for group in self.shared.values() for user in group.users}
        for site in self.sites:
            for made in site.made:
                mine = [blob for blob in site.blobs if blob.layer == made.name and blob.namespace == "params"]
                self._write_shares(made, mine, sharers)
                for word, default in (("lr_mult", "lr_mult"), ("decay_mult", "decay_mult")):
                    own = [blob for blob in mine if (blob.layer, blob.name) not in sharers]
                    values = {b.name: self.factors.get((b.layer, b.name), {}).get(word, 1.0) for b in own}
                    _write(made, word, values, len(made.layer.param_decls), default)

    def _write_shares(self, made: Made, mine: list[BlobMap], sharers: dict[tuple[str, str], Sharing]) -> None:
        for blob in mine:
            group = sharers.get((blob.layer, blob.name))
            if group is None:
                continue
            its = made.layer.param_decls[blob.name].shape
            theirs = next(m for m in group.site.made if m.name == group.blob.layer).layer.param_decls[group.blob.name]
            if its != theirs.shape:
                raise Unsupported(
                    f"layer '{made.name}': '{blob.name}' is stored as {its}, that of '{group.blob.layer}', which it"
                    f" shares, as {theirs.shape}",
                    place=made.layer.place,
                )
            made.item.setdefault("share", {})[blob.name] = f"{group.blob.layer}.{group.blob.name}"
            for key in START_VALUES.get(blob.name, ()):
                made.item.pop(key, None)


def _write(made: Made, word: str, values: dict[str, float], count: int, default: str) -> None:
    """The multipliers that differ from those that the layer's parameters have by themselves."""
    decls: dict[str, Any] = made.layer.param_decls
    differing = {name: value for name, value in values.items() if value != getattr(decls[name], default)}
    if not differing:
        return
    if len(values) == count and len(set(values.values())) == 1:
        made.item[word] = next(iter(values.values()))
    else:
        made.item[word] = differing
