"""DataMapping: what the sections inside of `data:` are built on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from ..schema.locations import Place
from ..schema.params import Declared, to_plain


class DataMapping(Declared):
    """A fixed part of the configuration: a mapping without a `type`."""

    description: ClassVar[str] = "a mapping"
    noun: ClassVar[str]  # what errors call it

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The section from its mapping, or itself where it was built in Python."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise TypeError
        return cls.from_config(value)

    @classmethod
    def from_config(cls, values: Mapping[str, Any], owner: str | None = None, place: Place | None = None) -> Self:
        """From its mapping; errors begin with `owner`, or with the name that the section has in the file."""
        return super().from_config(values, owner or cls.noun, place)

    @property
    def config(self) -> dict[str, Any]:
        """The values as YAML writes them, defaults included."""
        values = {name: getattr(self, name) for name in self.fields}
        return {name: v.config if isinstance(v, DataMapping) else to_plain(v) for name, v in values.items()}
