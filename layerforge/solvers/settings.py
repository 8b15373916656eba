"""The options of a solver as attributes: what is assigned takes effect at the next update, or is refused by name.

    solver.lr = 0.01              # what the schedule multiplies; the schedule goes on
    solver.momentum = 0.95
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..config.python_tree import placed_copy
from ..config.sections import SolverSection
from ..schema.errors import ConfigError
from ..schema.settled import from_within
from ..schema.synonyms import hint_for_key

if TYPE_CHECKING:
    from .rules import Rule

FIXED = ("net", "section", "rule", "schedule", "type", "history")


class Adjustable:
    """Base of Solver. Options are checked as a configuration's; another type, schedule or net is another solver."""

    section: SolverSection
    rule: Rule
    _settled = False  # until it is set up
    _free: frozenset[str] = frozenset()  # counts and results, which a step sets and nobody needs to be kept from

    def _settle(self) -> None:
        """It is set up: from here on assignments are looked at."""
        self._free = frozenset(vars(self)) - {*self._options(), *FIXED, "base_lr"}
        self._settled = True

    def _options(self) -> tuple[str, ...]:
        names = (*self.section.fields, *self.rule.fields)
        return tuple(name for name in names if name not in FIXED)

    def __getattr__(self, name: str) -> Any:
        """Options that are no attributes. Everything else is looked up before this is called."""
        if name[0] != "_" and "section" in vars(self):
            for holder in (self.section, self.rule):
                if name in holder.fields:
                    return getattr(holder, name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._free or not self._settled or name[0] == "_":
            object.__setattr__(self, name, value)
            return
        option = "lr" if name == "base_lr" else name
        if option in self._options():
            self._change(option, value)
        elif name in FIXED and not from_within(self):
            hint = "make a new Solver for this net; its history begins at zero"
            raise ConfigError(f"'{name}' of a solver that is made cannot be replaced", hint=hint)
        elif not self._may_have(name):
            known = [*self._options(), *(n for n in vars(self) if n[0] != "_" and n not in FIXED)]
            raise ConfigError(f"a solver ({self.rule.type_name}) has no '{name}'", hint=hint_for_key(name, known))
        else:
            object.__setattr__(self, name, value)

    def _may_have(self, name: str) -> bool:
        """Subclasses may have attributes of their own."""
        known = name in vars(self) or hasattr(type(self), name)
        return known or type(self).__module__ != "layerforge.solvers.solver"

    def _change(self, name: str, value: Any) -> None:
        raise NotImplementedError

    def _changed_section(self, name: str, value: Any) -> SolverSection:
        """The section with another value for an option. Errors   ConfigError, as from a configuration"""
        return SolverSection.from_config(placed_copy({**self.section.plain(), name: value}))
