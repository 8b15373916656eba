"""Trials: a mutation is made in a process of its own, and there the checks of `layerforge test` are run."""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

import numpy as np

from layerforge.check.case import CHECKS, Case, CheckFailed
from layerforge.check.contract import applicable, cases
from layerforge.check.gradcheck import SAMPLES_LAYER, example_rows, make_effort
from layerforge.schema.registry import LAYERS

from .operators import Mutation
from .sites import Site

SECONDS = 300.0
EFFORT = make_effort(None, None, None, SAMPLES_LAYER, False, 0, "float64")  # that of the command without options
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Mutant:
    """A mutation of a function, and the layer that it was drawn for."""

    site: Site
    mutation: Mutation
    layer: str

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What names it, whatever line it stands in."""
        m = self.mutation
        again = f" ({m.place + 1})" if m.place else ""
        return self.site.file, self.site.name, m.operator, m.text, f"{m.before} -> {m.after}{again}"

    @property
    def layers(self) -> list[str]:
        """Whose checks may see it: first the layer that it was drawn for."""
        return [self.layer, *(name for name in self.site.layers if name != self.layer)]


@dataclass(frozen=True)
class Outcome:
    """What came of a mutant: caught (by a check), survived, or raised."""

    mutant: Mutant
    verdict: str
    words: str = ""
    seconds: float = 0.0


def trials(mutants: Sequence[Mutant], jobs: int) -> Iterator[Outcome]:
    """The outcomes of some mutants, in their order; some are tried at the same time."""
    todo, running, done = list(enumerate(mutants))[::-1], {}, {}
    for number in range(len(mutants)):
        while number not in done:
            while todo and len(running) < jobs:
                which, mutant = todo.pop()
                ours, theirs = FORK.Pipe(duplex=False)
                process = FORK.Process(target=_try, args=(mutant, theirs), daemon=True)
                process.start()
                theirs.close()
                running[ours] = (which, mutant, process, time.monotonic())
            ready = wait(list(running), timeout=1.0)
            late = [c for c, (*_, began) in running.items() if time.monotonic() - began > SECONDS]
            for connection in {*ready, *late}:
                which, mutant, process, began = running.pop(connection)
                verdict, words = _answer(connection, connection in ready)
                process.kill()
                process.join()
                done[which] = Outcome(mutant, verdict, words, time.monotonic() - began)
        yield done.pop(number)


def _answer(connection: Connection, ready: bool) -> tuple[str, str]:
    try:
        return connection.recv() if ready else ("raised", f"nothing said in {SECONDS:g} s")
    except EOFError:
        return "raised", "the process ended"


def _try(mutant: Mutant, connection: Connection) -> None:
    warnings.simplefilter("ignore")
    with np.errstate(all="ignore"):
        connection.send(attempt(mutant))


def attempt(mutant: Mutant) -> tuple[str, str]:
    """Make the mutation in this process and say what the checks do: the verdict, and its words."""
    try:
        mutant.site.apply(mutant.mutation)
    except (ValueError, SyntaxError) as problem:
        return "raised", str(problem)
    for name in mutant.layers:
        try:
            found = first_failure(name)
        except Exception as problem:  # a mutant may raise anything
            return "raised", f"{type(problem).__name__}: {problem}"
        if found:
            return "caught", found
    return "survived", ""


def first_failure(name: str) -> str:
    """What the first check that fails says of a layer, or ""; errors of the layer are raised."""
    cls = LAYERS.get(name)
    for number, (label, _) in enumerate(cases(cls)):
        for row in example_rows(cls, number, EFFORT):
            if not row.ok and row.failed is not None:
                return f"{label}: gradients: {row.blob}{row.failed.describe()}"
    for label, case in cases(cls):
        for check in (check for check in applicable(case) if check != "gradients"):
            if found := _failure(check, case):
                return f"{label}: {check}: {found}"
    return ""


def _failure(check: str, case: Case) -> str:
    try:
        CHECKS[check](case)
    except CheckFailed as failure:
        return str(failure)
    return ""
