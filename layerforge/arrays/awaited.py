"""What the host has to know of a device, asked for on the way and fetched together, so that the host waits once.

    with awaiting(xp) as awaited:            # None on NumPy, where a number is there when it is computed
        refuse_where(bad.any(), error)       # a layer's own check: raised when it is known
        loss = asked(top)                    # a number that somebody will want
        ...
        loss.value                           # fetches everything that was asked for until now

Each wait empties the device's queue, and it stands idle until the host has filled it again. The list of what is asked
for belongs to the calling thread, and ends with the block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

HOST = (np.generic, np.ndarray)


class Later:
    """A number on its way to the host: `value` is it, and fetches what was asked for if it is not there yet."""

    def __init__(self, awaited: Awaited | None, known: float | None = None) -> None:
        self._awaited, self._known = awaited, known

    @property
    def value(self) -> float:
        if self._known is None and self._awaited is not None:
            self._awaited.fetch()
        return 0.0 if self._known is None else self._known

    def arrive(self, value: float) -> None:
        """It is known."""
        self._known, self._awaited = value, None


class Awaited:
    """Numbers of one element each that were asked for, and what is to be done with them."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self._asked: list[tuple[Any, Callable[[float], None]]] = []
        self._unowned = 0  # checks from here on have no owner yet

    def ask(self, number: Any) -> Later:
        """A number of the device's."""
        later = Later(self)
        self._asked.append((number, later.arrive))
        return later

    def refuse_where(self, flag: Any, error: Callable[[], Exception]) -> None:
        """Raise an error when it is known that a flag is set."""

        def told(value: float) -> None:
            if value:
                raise error()

        self._asked.append((flag, told))

    def own(self, owned: Callable[[Exception], Exception]) -> None:
        """Whose checks those are that were asked for since the last call: `owned` makes their errors."""
        for i in range(self._unowned, len(self._asked)):
            number, use = self._asked[i]
            self._asked[i] = number, _owned(use, owned)
        self._unowned = len(self._asked)

    def fetch(self) -> None:
        """Wait, once, for all that was asked for. Errors: that of the first check which does not hold.

        Where the device cannot tell, for want of memory, all of it is still asked for.
        """
        asked = self._asked
        if not asked:
            return
        row = self.xp.stack([number.astype("float64").reshape(()) for number, _ in asked])
        values = self.xp.asnumpy(row)
        self._asked, self._unowned = [], 0
        problem: Exception | None = None
        for value, (_, use) in zip(values, asked, strict=True):
            try:
                use(float(value))
            except Exception as error:  # numbers that others wait for arrive all the same
                problem = problem or error
        if problem is not None:
            raise problem


def _owned(use: Callable[[float], None], owned: Callable[[Exception], Exception]) -> Callable[[float], None]:
    def told(value: float) -> None:
        try:
            use(value)
        except Exception as error:
            raise owned(error) from error

    return told


class _Present(threading.local):
    awaited: Awaited | None = None


PRESENT = _Present()


def present() -> Awaited | None:
    """Where this thread asks for numbers; None where none are gathered."""
    return PRESENT.awaited


@contextmanager
def awaiting(xp: Any) -> Iterator[Awaited | None]:
    """Gather what is asked for in this block; on NumPy, and within another such block, nothing new is begun.

    What was not fetched at its end is fetched then.
    """
    if xp is np or PRESENT.awaited is not None:
        yield PRESENT.awaited
        return
    PRESENT.awaited = awaited = Awaited(xp)
    try:
        yield awaited
        awaited.fetch()
    finally:
        PRESENT.awaited = None


def asked(number: Any) -> Later:
    """A number of one element: on its way where numbers are gathered, otherwise known."""
    awaited = PRESENT.awaited
    return Later(None, float(number)) if awaited is None else awaited.ask(number)


def number_of(array: Any) -> Any:
    """An array of one element as a number of Python's; one of a device as it is, which nobody waits for here."""
    return array.item() if isinstance(array, HOST) else array


def refuse_where(flag: Any, error: Callable[[], Exception]) -> None:
    """Raise an error where a flag is set: at once, or where numbers are gathered when they are fetched."""
    gathered = PRESENT.awaited
    if gathered is not None:
        gathered.refuse_where(flag, error)
    elif flag:
        raise error()


def refuse_unless(flag: Any, error: Callable[[], Exception]) -> None:
    """Raise an error unless a flag is set; when, as `refuse_where` says."""
    gathered = PRESENT.awaited
    if gathered is not None:
        gathered.refuse_where(~flag, error)
    elif not flag:
        raise error()
