"""What a person sees of a run: lines and a progress bar. Results go to stdout, narration and bars to stderr."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import visible

QUIET_SECONDS = 30.0  # without a terminal, a line of progress at most this often


class Console:
    """Prints lines, keeps a progress bar below them, and copies every line into the run's log.

    progress   "auto" (a bar on a terminal, a line now and then elsewhere), "on" or "off"
    results    whether result lines go to stdout; with --json they go to stderr
    """

    def __init__(self, *, progress: str = "auto", quiet: bool = False, results: bool = True) -> None:
        self.progress, self.quiet, self.results = progress, quiet, results
        self.log: Callable[[str], None] = lambda line: None
        self._bar: Any = None
        self._total, self._spoken = 0, 0.0

    def result(self, text: str) -> None:
        """A line that the user asked for."""
        self._write(text, sys.stdout if self.results else sys.stderr)

    def note(self, text: str) -> None:
        """A line about what is going on."""
        if self.quiet:
            self.log(text)
        else:
            self._write(text, sys.stderr)

    def warn(self, text: str) -> None:
        """A line that must not be missed, whatever was asked to be quiet."""
        frame = "!" * 100
        self._write(f"{frame}\n{text}\n{frame}", sys.stderr)

    def _write(self, text: str, stream: Any) -> None:
        text = visible(text)
        self.log(text)
        with self._seen():
            if self._bar is not None:
                self._bar.clear()
            print(text, file=stream, flush=True)
            if self._bar is not None:
                self._bar.refresh()

    @contextmanager
    def _seen(self) -> Iterator[None]:
        """Go on when the terminal is gone: a run that was left alone (SIGHUP) still has its log."""
        try:
            yield
        except OSError as problem:
            if problem.errno != errno.EIO:
                raise
            if self._bar is not None:
                self._bar.disable = True
            self._bar = None

    def start(self, total: int, done: int = 0) -> None:
        """Begin to show progress towards `total` steps."""
        self._total, self._spoken = total, time.monotonic()
        bars = self.progress == "on" or (self.progress == "auto" and not self.quiet and "CI" not in os.environ)
        if bars:
            from tqdm import tqdm

            disable = False if self.progress == "on" else None  # None: only on a terminal
            self._bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True, disable=disable, leave=False)
            if self._bar.disable:
                self._bar = None

    def step(self, done: int, describe: Callable[[], str]) -> None:
        """One step further; `describe` is called only when something is shown."""
        if self._bar is not None:
            with self._seen():
                self._bar.update(1)
                if self._bar.n % 20 == 0:
                    self._bar.set_postfix_str(describe(), refresh=False)
        elif self.progress != "off" and not self.quiet and time.monotonic() - self._spoken > QUIET_SECONDS:
            self._spoken = time.monotonic()
            self.note(f"step {done}/{self._total}  {describe()}")

    def stop(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            with self._seen():
                self._bar.close()
            self._bar = None
