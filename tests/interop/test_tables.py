"""Tables that decorators fill: a second function for a name would take the place of the first without a word."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from layerforge.interop.tables import entering


def test_each_name_has_one_function() -> None:
    table: dict[str, Callable[[], int]] = {}

    @entering(table, ("A", "B"), "conversions for")
    def first() -> int:
        return 1

    assert table == {"A": first, "B": first}
    with pytest.raises(KeyError, match="there are two conversions for B"):
        entering(table, ("C", "B"), "conversions for")(lambda: 2)
    assert table["B"] is first
