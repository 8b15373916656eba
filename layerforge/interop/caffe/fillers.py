"""Caffe's fillers as those of LayerForge, which have the same formulas."""

from __future__ import annotations

from typing import Any, Protocol

from .message import Message


class Site(Protocol):
    """What keeps account of a layer while it is converted (conversion.py)."""

    def harmless(self, message: Message, *names: str, why: str = "") -> None:
        """Read fields that change nothing."""

    def invalid(self, told: str, message: Message, name: str = "", *, hint: str = "") -> Exception:
        """The error for what Caffe refuses, too."""
        raise NotImplementedError

    def unsupported(self, told: str, message: Message, name: str, hint: str = "") -> Exception:
        """The error for what cannot be imported."""
        raise NotImplementedError


# For each type: the fields that it reads, and what they are called here where that differs.
FIELDS: dict[str, tuple[str, ...]] = {
    "constant": ("value",),
    "uniform": ("min", "max"),
    "gaussian": ("mean", "std", "sparse"),
    "positive_unitball": (),
    "xavier": ("variance_norm",),
    "msra": ("variance_norm",),
    "bilinear": (),
}
DEFAULTS: dict[str, Any] = {"value": 0.0, "min": 0.0, "max": 1.0, "mean": 0.0, "std": 1.0, "sparse": -1}
KNOWN = ("type", "value", "min", "max", "mean", "std", "sparse", "variance_norm")


def filler_of(site: Site, message: Message) -> Any:
    """A FillerParameter as a hyper-parameter: a name, or a mapping with a type. One that is not set is constant 0."""
    kind = message.get("type")
    if kind not in FIELDS:
        raise site.unsupported(f"unknown filler '{kind}'", message, "type", hint=f"known: {', '.join(FIELDS)}")
    if kind != "gaussian" and message.get("sparse") != -1:
        raise site.invalid(f"the filler {kind} cannot be sparse", message, "sparse", hint="gaussian can")
    options: dict[str, Any] = {}
    for name in FIELDS[kind]:
        value = message.get(name)
        if name == "variance_norm":
            if value != "FAN_IN":
                options["mode"] = value.lower()
        elif value != DEFAULTS[name]:
            options[name] = value
    unused = [name for name in KNOWN if name != "type" and name not in FIELDS[kind]]
    site.harmless(message, *unused, why=f"the filler {kind} does not read it")
    return {"type": kind, **options} if options else kind
