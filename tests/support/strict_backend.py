"""The strict stand-in for CuPy as a backend of nets and layers."""

from __future__ import annotations

from layerforge.arrays.backend import Backend

from . import strict_cupy

STRICT = Backend("strict", strict_cupy, f"{__package__}.strict_cupyx")
