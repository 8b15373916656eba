"""The contract as the tests ask for it: all checks of a case in one test, for as many tests as checks take minutes."""

from __future__ import annotations

from collections.abc import Iterable

from layerforge.check.contract import Case, run


def broken(case: Case, checks: Iterable[str]) -> dict[str, str]:
    """What is wrong with a case, by the checks that it does not pass."""
    told = {check: run(check, case) for check in checks}
    assert told, "nothing is proved"
    return {check: words for check, words in told.items() if words is not None}
