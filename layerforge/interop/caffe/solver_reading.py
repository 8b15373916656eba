"""A solver.prototxt while it is read: its fields, what is wrong with them, and what is to be known of them."""

from __future__ import annotations

from typing import Any

from ...schema.errors import ConfigError, LayerForgeError
from ...schema.locations import PlacedDict
from .conversion import Unsupported
from .message import Message


class Reading:
    """A SolverParameter while it is read.

    problems   everything that is wrong
    ignored    (field, place, why): what changes nothing here
    notes      what is done in another way than by Caffe
    """

    def __init__(self, message: Message, problems: list[LayerForgeError]) -> None:
        self.message = message
        self.problems = problems
        self.ignored: list[tuple[str, str, str]] = []
        self.notes: list[str] = []

    def get(self, name: str) -> Any:
        """The value of a field."""
        return self.message.get(name)

    def ignore(self, name: str, why: str) -> None:
        """Say why a field changes nothing, if it is there."""
        if self.message.has(name):
            self.ignored.append((name, str(self.message.place(name)), why))

    def invalid(self, told: str, name: str | None = None, hint: str | None = None) -> None:
        """Keep an error at a field."""
        self.problems.append(ConfigError(told, place=self.message.place(name), hint=hint))

    def unsupported(self, told: str, name: str | None = None, hint: str | None = None) -> None:
        """The same of what Caffe, or a fork of it, would do."""
        self.problems.append(Unsupported(told, place=self.message.place(name), hint=hint))

    def put(self, section: PlacedDict, key: str, name: str, value: Any = None) -> None:
        """Write a field, or what became of it, into a section, with its place."""
        section[key] = self.message.get(name) if value is None else value
        section.key_places[key] = section.value_places[key] = self.message.place(name)

    def finish(self) -> None:
        """Refuse what is unknown, and what nobody has read."""
        for path, unknown in self.message.all_unknown():
            why = f": {unknown.reason}" if unknown.reason else ""
            self.problems.append(Unsupported(f"unknown field {path}{unknown.name}{why}", place=unknown.place))
        for path, place in self.message.unread():
            self.problems.append(Unsupported(f"the field {path} is not supported", place=place))
