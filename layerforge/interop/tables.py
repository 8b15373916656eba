"""Tables of functions that a decorator fills: of conversions, by the names of what they are for."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def entering(
    table: MutableMapping[str, Function], names: tuple[str, ...], what: str
) -> Callable[[Function], Function]:
    """A decorator that enters a function under these names. Errors: KeyError for a name that is there, as `what`."""

    def enter(function: Function) -> Function:
        for name in names:
            if name in table:
                raise KeyError(f"there are two {what} {name}")
            table[name] = function
        return function

    return enter
