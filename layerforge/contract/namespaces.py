"""The four namespaces of a layer: params and grads, state, saved. Never mixed, and typos in them are errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..schema.errors import LayerError
from ..schema.synonyms import did_you_mean


class Namespace:
    """Arrays by name, as attributes. Reading a name that is not there says which ones are."""

    __slots__ = ("__dict__",)
    what = "value"
    remedy = ""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        known = list(vars(self))
        hint = did_you_mean(name, known) or (f"there are: {', '.join(known)}" if known else self.remedy or None)
        raise LayerError(f"there is no {self.what} '{name}'", hint=hint)

    def __setattr__(self, name: str, value: Any) -> None:
        raise LayerError(f"{self.what} '{name}' cannot be assigned", hint=self.remedy or None)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __contains__(self, name: str) -> bool:
        return name in vars(self)

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __len__(self) -> int:
        return len(vars(self))

    def items(self) -> list[tuple[str, Any]]:
        """(name, array) in the order of declaration."""
        return list(vars(self).items())

    def bind(self, name: str, array: Any) -> None:
        """Give a name its array: the framework's side of the namespace."""
        vars(self)[name] = array


class Params(Namespace):
    """The learned arrays. Only the solver changes them."""

    what = "parameter"
    remedy = "declare it in setup with add_param; only the solver changes its values"


class Grads(Namespace):
    """The gradients of the parameters. Backward adds to them: several uses of a parameter sum up by themselves."""

    what = "gradient"

    def __setattr__(self, name: str, value: Any) -> None:
        if value is not getattr(self, name):  # `grads.w += g` assigns the same array back; anything else replaces it
            remedy = f"add with += (self.grads.{name} += ...)"
            raise LayerError(f"the gradient '{name}' was replaced, which loses what was there", hint=remedy)


class State(Namespace):
    """Running statistics: saved with the parameters, never touched by the solver. Assigning copies into the array."""

    what = "state"
    remedy = "declare it in setup with add_state"

    def __setattr__(self, name: str, value: Any) -> None:
        array = getattr(self, name)
        if value is not array:
            array[...] = value


class Saved(Namespace):
    """What one forward keeps for its backward."""

    what = "saved array"
    remedy = "save it in forward with self.save(...)"

    def __init__(self, arrays: dict[str, Any]) -> None:
        vars(self).update(arrays)


class Rows(Namespace):
    """Of the parameters whose gradient is sparse, the rows that have one: a RowSet by parameter name."""

    what = "parameter with a sparse gradient"
    remedy = "declare it in setup with add_param(..., sparse_grad=True)"


class Flags(Namespace):
    """True or False by parameter name."""

    what = "parameter"
