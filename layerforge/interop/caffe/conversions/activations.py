"""Activations."""

from __future__ import annotations

from ..conversion import Site, converts


@converts("ReLU")
def relu(site: Site) -> None:
    """ReLU, with its slope below zero."""
    site.count(1, 1)
    p = site.param("relu_param")
    site.harmless(p, "engine")
    site.emit("ReLU", site.real(site.bottoms[0]), negative_slope=p.get("negative_slope"))
