"""`sampler:` of data.train: which samples an epoch draws."""

from __future__ import annotations

from typing import Any, Self

from ..schema.params import param
from .data_mapping import DataMapping


class SamplerSection(DataMapping):
    """Which samples an epoch draws, instead of each of them once. An epoch stays as long as it is."""

    noun = "sampler"
    description = "balanced, or {type: balanced, label: BLOB}"

    type: str = param("balanced", help="balanced: with replacement, all classes equally often", choices=("balanced",))
    label: str | None = param(None, help="the blob of the classes; null: the only integer target")

    @classmethod
    def parse(cls, value: Any) -> Self:
        """As a section, or from a bare type."""
        return super().parse({"type": value} if isinstance(value, str) else value)
