"""What can go wrong, in words. Every error that a user may see is one of these and knows its exit code.

Exit codes of the command line: 0 ok, 1 the thing checked is not so or the run failed, 2 usage or configuration,
3 data or file, 4 training diverged, 5 backend or engine unavailable or failing, 130/143 stopped by a signal
after saving.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .locations import Place


class LayerForgeError(Exception):
    """Base of all errors of the framework: one sentence, its place in a file if there is one, and the remedy."""

    exit_code = 1

    def __init__(
        self, message: str, *, place: Place | None = None, hint: str | None = None, exit_code: int | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.place, self.hint = message, place, hint
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        """The sentence with place, line, caret and remedy, without the word "error"."""
        head = f"{self.place}: {self.message}" if self.place else self.message
        short = self.hint is not None and len(self.hint) <= 60 and "\n" not in self.hint
        excerpt = self.place.excerpt((self.hint or "") if short else "") if self.place else ""
        lines = [head] + ([excerpt] if excerpt else [])
        if self.hint and not (short and excerpt):
            lines.append(f"     = {self.hint}")
        return "\n".join(lines)


class ConfigError(LayerForgeError):
    """A configuration, a command line or a call asks for something that does not exist or cannot be."""

    exit_code = 2


class ConfigErrors(ConfigError):
    """All the errors of one configuration, reported together."""

    def __init__(self, errors: Iterable[LayerForgeError]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(str(e) for e in self.errors))

    def __str__(self) -> str:
        return self.message


class LayerError(LayerForgeError):
    """A layer was declared, wired or used wrongly. Raised while a net is built it counts as a configuration error."""


class DataError(LayerForgeError):
    """A data set, checkpoint or other file is missing, unreadable, truncated or corrupt."""

    exit_code = 3


class MissingData(DataError):
    """No file of a data set is anywhere, and it cannot be fetched. The only error that a `fallback` answers."""


class ConcurrencyError(LayerForgeError):
    """Several threads use a net at once."""


class DivergedError(LayerForgeError):
    """Training produced a loss or gradient that is not finite."""

    exit_code = 4


class BackendError(LayerForgeError):
    """A backend or engine was asked for that this machine cannot give."""

    exit_code = 5


class BackendMissing(BackendError):
    """The array library of a backend, or its GPU, is not there: another backend computes the same."""


class OutOfMemory(LayerForgeError, MemoryError):
    """Arrays do not fit into memory. Whoever knows what was to be computed adds what that needs, once (`explain`)."""

    explained = False
    meant: Any = None  # the executor of the pass that was to begin, where that is not the net's last

    def explain(self, needs: str, memory: str, remedies: str) -> None:
        """Say what is needed, what there is, and what needs less; "" for what is not known."""
        lines = (f"needed: {needs}" if needs else "", f"there is: {memory}" if memory else "", remedies)
        self.hint = "\n     = ".join(line for line in lines if line) or self.hint
        self.explained = True


class DeviceOutOfMemory(OutOfMemory, BackendError):
    """The same of a GPU's memory."""


def exit_code(problem: BaseException) -> int:
    """The exit code of a command that this ends."""
    if isinstance(problem, LayerForgeError):
        return problem.exit_code
    if isinstance(problem, KeyboardInterrupt):
        return 130
    if isinstance(problem, BrokenPipeError):  # as a program has that the system ends: 128 + SIGPIPE
        return 141
    return 3 if isinstance(problem, OSError) else 1


def flatten(error: LayerForgeError) -> list[LayerForgeError]:
    """The single errors inside an error, in order."""
    return [e for part in error.errors for e in flatten(part)] if isinstance(error, ConfigErrors) else [error]


def in_order(errors: Iterable[LayerForgeError], files: Iterable[str] = ()) -> list[LayerForgeError]:
    """Single errors without repetitions, by file (`files` first) and line; those without a place last."""
    single = [e for error in errors for e in flatten(error)]
    unique = {(str(e.place), e.message): e for e in single}.values()
    named = dict.fromkeys([*files, *(e.place.file for e in unique if e.place)])
    order = {file: number for number, file in enumerate(named)}

    def position(error: LayerForgeError) -> tuple[int, int, int]:
        place = error.place
        return (order[place.file], place.line, place.column) if place else (len(order), 0, 0)

    return sorted(unique, key=position)


def raise_all(errors: Iterable[LayerForgeError]) -> None:
    """Raise what was collected: nothing, the one error, or all of them as one, in the order of the file."""
    unique = in_order(errors)
    if len(unique) == 1:
        raise unique[0]
    if unique:
        raise ConfigErrors(unique)


def report(error: LayerForgeError, consequence: str = "") -> str:
    """The text for a terminal: each error with its prefix, and how many there are where there are several."""
    errors = flatten(error)
    text = "\n".join(f"error: {e}" for e in errors)
    if len(errors) > 1:
        text += f"\n{len(errors)} errors" + (f"; {consequence}" if consequence else "") + "."
    return text
