"""Stages: what each looks at, how long it may take, and what came of it.

A stage is a function of a `Check`, which it tells what holds, what it measured and how far it is. It ends in one of
three words: `passed`; `failed`, where something that was demanded does not hold or an error came up; `cut short`, where
its time was up before it had looked at everything, which proves nothing and so is no pass.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from layerforge.arrays.backend import Backend

PASSED, FAILED, CUT_SHORT = "passed", "failed", "cut short"
MOST_FAILURES = 40  # of a stage that are written down; more say nothing new


@dataclass(frozen=True)
class Options:
    """How a check is to be run.

    quick         fewer steps, nets and repetitions, for a machine that is no device
    patience      a factor on the time of every stage
    torch_python  the interpreter that has torch, for the comparison of times
    """

    quick: bool = False
    patience: float = 1.0
    torch_python: str = ""


class OutOfTime(Exception):
    """The time of a stage is up."""


@dataclass
class Outcome:
    """What came of a stage.

    checks    how many things were demanded
    failures  those that do not hold, in sentences
    facts     what was measured, by name
    done      how far it came, in words
    """

    name: str
    title: str
    status: str = PASSED
    seconds: float = 0.0
    budget: float = 0.0
    checks: int = 0
    failures: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    done: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class Check:
    """A stage's view of the check: the backend, the options, and where it tells what it found.

    backend  the one that is checked
    strict   it is the stand-in, on which times mean nothing
    """

    def __init__(self, backend: Backend, options: Options, outcome: Outcome, deadline: float) -> None:
        self.backend, self.options, self.outcome = backend, options, outcome
        self.xp = backend.xp
        self.strict = hasattr(backend.xp, "counting")
        self._deadline = deadline

    def demand(self, holds: Any, sentence: str) -> bool:
        """Count a demand; where it does not hold the sentence says what is wrong. Returns whether it holds."""
        self.outcome.checks += 1
        if not holds:
            self.outcome.failures.append(sentence)
        return bool(holds)

    def fact(self, name: str, value: Any) -> None:
        """Write a measurement down; what was written before under a name goes."""
        self.outcome.facts[name] = value

    def reached(self, done: str) -> None:
        """Say how far the stage is; OutOfTime where its time is up."""
        self.outcome.done = done
        if time.monotonic() > self._deadline:
            raise OutOfTime

    def finished(self, done: str) -> None:
        """Say that the stage has looked at everything, whatever the time."""
        self.outcome.done = done

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """An error in this block is a failure of the stage, which goes on after it."""
        try:
            yield
        except OutOfTime:
            raise
        except Exception as problem:
            self.demand(False, f"{what}: {in_words(problem)}")


Stage = Callable[[Check], None]


@dataclass(frozen=True)
class Entry:
    """A stage: what it looks at, in a few words, and how many seconds it may take."""

    run: Stage
    title: str
    budget: float


def in_words(problem: BaseException) -> str:
    """An error of any kind in one line, with the place where it came up."""
    frames = traceback.extract_tb(problem.__traceback__)
    place = f" ({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {text[:300]}{place}"


def run_stage(name: str, entry: Entry, backend: Backend, options: Options) -> Outcome:
    """Run one stage to its end, or to the end of its time. Nothing is raised but what stops a program."""
    outcome = Outcome(name, entry.title, budget=entry.budget * options.patience)
    began = time.monotonic()
    check = Check(backend, options, outcome, began + outcome.budget)
    try:
        entry.run(check)
    except OutOfTime:
        outcome.status = CUT_SHORT
    except Exception as problem:
        check.demand(False, in_words(problem))
    outcome.seconds = time.monotonic() - began
    if outcome.failures:
        outcome.status = FAILED
        del outcome.failures[MOST_FAILURES:]
    return outcome


def all_passed(outcomes: Sequence[Outcome | Mapping[str, Any]]) -> bool:
    """Whether every stage passed; no stage is no pass."""
    found = [o.status if isinstance(o, Outcome) else o["status"] for o in outcomes]
    return bool(found) and all(status == PASSED for status in found)
