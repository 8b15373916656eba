"""What a person sees of a run: lines and a progress bar. Results go to stdout, narration and bars to stderr."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..schema.texts import visible

QUIET_SECONDS = 30.0  # without a terminal, a line of progress at most this often
# What the system says of a stream that nobody reads any more: a pipe whose reader left, a terminal that was closed.
GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET, getattr(errno, "ESHUTDOWN", errno.EPIPE))


def show_metric(name: str, value: float) -> str:
    """Shares as per cent, everything else with four digits."""
    return f"{100 * value:.2f} %" if "accuracy" in name else f"{value:.4f}"


class Console:
    """Prints lines, keeps a progress bar below them, and copies every line into the run's log.

    A stream that takes nothing any more ends nothing: a run goes on, and its log has every line. Nobody reads it, or it
    leads to a disk that is full: the latter is said, where it still can be.

    progress   "auto" (a bar on a terminal, a line now and then elsewhere), "on" or "off"
    results    whether result lines go to stdout; with --json they go to stderr
    lost       called with a stream when it turns out to be gone
    """

    def __init__(
        self,
        *,
        progress: str = "auto",
        quiet: bool = False,
        results: bool = True,
        lost: Callable[[Any], None] = lambda stream: None,
    ) -> None:
        self.progress, self.quiet, self.results, self.lost = progress, quiet, results, lost
        self.log: Callable[[str], None] = lambda line: None
        self._gone: list[Any] = []
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

    def machine(self, text: str) -> None:
        """A text for programs, on stdout; it is no line of the log."""
        self._print(text, sys.stdout)

    def _write(self, text: str, stream: Any) -> None:
        text = visible(text)
        self.log(text)
        if self._bar is None:
            self._print(text, stream)
            return
        with self._seen(sys.stderr):
            self._bar.clear()
        self._print(text, stream)
        if self._bar is not None:
            with self._seen(sys.stderr):
                self._bar.refresh()

    def _print(self, text: str, stream: Any) -> None:
        if stream is None or stream in self._gone:  # None: the process was started without it
            return
        with self._seen(stream):
            try:
                print(text, file=stream, flush=True)
            except UnicodeEncodeError:
                print(text.encode("ascii", "backslashreplace").decode(), file=stream, flush=True)

    @contextmanager
    def _seen(self, stream: Any) -> Iterator[None]:
        """Go on when a stream fails: a run that was left alone still has its log."""
        try:
            yield
        except BlockingIOError:  # a reader that is too slow for a pipe that does not wait misses a line
            pass
        except (OSError, ValueError) as problem:  # ValueError: "I/O operation on closed file"
            if isinstance(problem, UnicodeError):
                raise
            self._gone.append(stream)
            self.lost(stream)
            if stream is sys.stderr and self._bar is not None:
                self._bar.disable = True
                self._bar = None
            if isinstance(problem, OSError) and problem.errno not in GONE:
                name = "stdout" if stream is sys.stdout else "stderr"
                self.note(f"{name} takes no more: {problem.strerror or problem}; the run's log has every line")

    def start(self, total: int, done: int = 0) -> None:
        """Begin to show progress towards `total` steps."""
        self._total, self._spoken = total, time.monotonic()
        bars = self.progress == "on" or (self.progress == "auto" and not self.quiet and "CI" not in os.environ)
        if bars and sys.stderr is not None and sys.stderr not in self._gone:
            from tqdm import tqdm

            disable = False if self.progress == "on" else None  # None: only on a terminal
            with self._seen(sys.stderr):
                bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True, disable=disable, leave=False)
                self._bar = None if bar.disable else bar

    def step(self, done: int, describe: Callable[[], str]) -> None:
        """One step further; `describe` is called only when something is shown."""
        if self._bar is not None:
            with self._seen(sys.stderr):
                self._bar.update(1)
                if self._bar.n % 20 == 0:
                    self._bar.set_postfix_str(describe(), refresh=False)
        elif self.progress != "off" and not self.quiet and time.monotonic() - self._spoken > QUIET_SECONDS:
            self._spoken = time.monotonic()
            self.note(f"step {done}/{self._total}  {describe()}")

    def stop(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            with self._seen(sys.stderr):
                self._bar.close()
            self._bar = None
