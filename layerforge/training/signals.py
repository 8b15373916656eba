"""Signals: what a run does when it is asked, from outside, to stop or to save.

    SIGINT              stop after the step, saved; exit code 130
    SIGTERM, SIGUSR1    the same; exit code 143 (batch systems send one of them before they take the machine away)
    SIGHUP              save after the step, and go on
A second request to stop is not waited for, nor is one while the run prepares its folder or scores the test data: it
has at once the effect that it would have without us, except that the run still writes down how it ended.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

EXIT_CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 143}
SAVING = "SIGHUP"


class Stop(BaseException):
    """A signal asked the run to stop. No Exception: it may come anywhere, and nobody may take it for a failure."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        return EXIT_CODES[self.name]


@dataclass
class Asked:
    """What signals have asked for: the name of the one that wants a stop, and whether to save.

    at_once   whether a request to stop is not waited for, as there is no step to be finished
    """

    stop: str = ""
    save: bool = False
    at_once: bool = False

    def __bool__(self) -> bool:
        return bool(self.stop) or self.save

    def take(self) -> Asked:
        """What has been asked for up to now; what comes later waits for the next call. Saving is asked for once."""
        taken = Asked(self.stop, self.save)
        if taken.save:
            self.save = False
        return taken


def _now(number: int, frame: Any) -> None:
    """What the system would do, which is to end the process, but with a last word; the next one has none."""
    signal.signal(number, signal.SIG_DFL)
    raise Stop(signal.Signals(number).name)


@contextmanager
def listening() -> Iterator[Asked]:
    """Collect signals for as long as this lasts, instead of dying of them."""
    asked = Asked()
    previous: dict[int, Any] = {}

    def stop(number: int, frame: Any) -> None:
        asked.stop = asked.stop or signal.Signals(number).name
        for name in EXIT_CODES:
            known = getattr(signal, name, None)
            if known in previous:
                signal.signal(known, previous[known] if callable(previous[known]) else _now)
        if asked.at_once:
            signal.getsignal(number)(number, frame)  # type: ignore[operator, misc]

    def save(number: int, frame: Any) -> None:
        asked.save = True

    try:
        for name in (*EXIT_CODES, SAVING):
            number = getattr(signal, name, None)  # Windows has not all of them
            if number is not None:
                previous[number] = signal.signal(number, save if name == SAVING else stop)
    except ValueError:  # not in the main thread: signals are the caller's business
        pass
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set by Python
