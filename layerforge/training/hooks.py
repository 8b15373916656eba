"""Hooks: users' own code in a training run. One protocol, three priorities; docs/hooks.md is the guide.

    @hook(priority="first")
    class Printer:
        def on_step_end(self, run):
            print(run.step, run.loss)

Decorated classes are active in runs whose configuration imports the file (`import: [my_hooks.py]`); instances can also
be given to `layerforge.train(..., hooks=[Printer()])`, decorated or not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..schema import user_modules
from ..schema.errors import ConfigError, LayerForgeError
from ..schema.synonyms import did_you_mean
from ..schema.texts import from_json, to_json

if TYPE_CHECKING:
    from ..config.document import Config
    from ..net import Net
    from ..solvers.solver import Solver
    from .checkpoints import Position

PRIORITIES = ("first", "normal", "last")
EVENTS = {
    "on_train_begin": "on_train_begin(self, run)",
    "on_step_end": "on_step_end(self, run)",
    "on_eval_end": "on_eval_end(self, run, metrics)",
    "on_checkpoint": "on_checkpoint(self, run, path)",
    "on_train_end": "on_train_end(self, run, status)",
}
MARK = "_layerforge_hook_priority"

Class = TypeVar("Class", bound=type)


@overload
def hook(cls: Class) -> Class:
    """`@hook`."""


@overload
def hook(cls: None = None, *, priority: str = "normal") -> Callable[[Class], Class]:
    """`@hook(priority="first")`."""


def hook(cls: Class | None = None, *, priority: str = "normal") -> Any:
    """Mark a class as a hook: `@hook`, or `@hook(priority="first")`.

    priority  first, normal or last: the order in which the hooks of a run are called; within one, that of the files

    Errors    ConfigError for another priority, and for a class that has no event, or one that does not exist
    """
    if priority not in PRIORITIES:
        hint = did_you_mean(priority, PRIORITIES) or f"one of {', '.join(PRIORITIES)}"
        raise ConfigError(f"there is no priority '{priority}' for a hook", hint=hint)

    def mark(decorated: Class) -> Class:
        check_events(decorated)
        setattr(decorated, MARK, priority)
        return decorated

    return mark if cls is None else mark(cls)


def check_events(cls: type) -> None:
    """ConfigError unless a class has events, and none that would never be called."""
    events = [name for name in dir(cls) if name.startswith("on_")]
    for name in events:
        if name not in EVENTS:
            hint = did_you_mean(name, EVENTS) or f"events: {', '.join(EVENTS.values())}"
            raise ConfigError(f"hook {cls.__name__}: there is no event '{name}'", hint=hint)
    if not events:
        raise ConfigError(f"hook {cls.__name__} has no event", hint=f"write one of {', '.join(EVENTS.values())}")


class Running:
    """What a hook sees of the run that it is in."""

    def __init__(
        self,
        net: Net,
        solver: Solver,
        config: Config,
        folder: Path,
        position: Position,
        *,
        total: int,
        steps_per_epoch: int,
        columns: list[str],
        note: Callable[[str], None],
    ) -> None:
        self._net = net
        self._solver = solver
        self._config = config
        self._folder = folder
        self._position = position
        self._total = total
        self._steps_per_epoch = steps_per_epoch
        self._columns = columns
        self._note = note

    @property
    def net(self) -> Net:
        """The net: weights, gradients and statistics by name."""
        return self._net

    @property
    def solver(self) -> Solver:
        return self._solver

    @property
    def config(self) -> Config:
        return self._config

    @property
    def folder(self) -> Path:
        """The run's folder, from the root."""
        return self._folder

    @property
    def step(self) -> int:
        """Completed steps."""
        return self._solver.iteration

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self._total

    @property
    def epoch(self) -> float:
        """Completed epochs, with fractions."""
        return self.step / self._steps_per_epoch

    @property
    def loss(self) -> float:
        """Of the last step."""
        return self._solver.loss or 0.0

    @property
    def latest(self) -> Mapping[str, float]:
        """The newest value of every metric."""
        return self._position.latest

    def note(self, text: str) -> None:
        """Say something, on stderr and in train.log."""
        self._note(text)

    def log(self, **values: float) -> None:
        """Put values into the next row of metrics, into columns that a hook has declared: `columns = ("name", ...)`.

        Errors   ConfigError for a column that no hook declares
        """
        for name, value in values.items():
            if name not in self._columns:
                hint = did_you_mean(name, self._columns) or f'give the hook the attribute columns = ("{name}",)'
                raise ConfigError(f"no hook declares the column '{name}'", hint=hint)
            self._position.logged[name] = float(value)

    def stop(self, reason: str) -> None:
        """End the run after this step, with a checkpoint and exit code 0; the reason goes into summary.json."""
        self._position.ending = self._position.ending or reason


class Hooks:
    """The hooks of a run, in the order of their priorities."""

    def __init__(self, hooks: Sequence[Any]) -> None:
        for each in hooks:
            if isinstance(each, type):
                raise ConfigError(f"hooks: {each.__name__} is a class", hint=f"give an instance: {each.__name__}()")
            check_events(type(each))
            if hasattr(each, "load_state") != callable(getattr(each, "state", None)):
                hint = "state(self) returns what load_state(self, state) takes"
                raise ConfigError(f"hook {type(each).__name__}: state and load_state go together", hint=hint)
        self._run: Running | None = None
        self.hooks = sorted(hooks, key=lambda each: PRIORITIES.index(getattr(each, MARK, "normal")))
        self._calls = {event: [(h, getattr(h, event)) for h in self.hooks if hasattr(h, event)] for event in EVENTS}

    def names(self) -> list[str]:
        """A name for each hook: that of its class, with a number where there are several of one."""
        kinds = [type(each).__name__ for each in self.hooks]
        return [kind if kinds.count(kind) == 1 else f"{kind}.{kinds[:i].count(kind)}" for i, kind in enumerate(kinds)]

    def columns(self, taken: Iterable[str] = ()) -> list[str]:
        """The columns of metrics that the hooks declare; ConfigError for one that is `taken` or declared twice."""
        known, found = set(taken), []
        for each in self.hooks:
            for name in map(str, getattr(each, "columns", ())):
                if name in known:
                    message = f"hook {type(each).__name__}: there is a column '{name}' already"
                    raise ConfigError(message, hint="give it another name")
                known.add(name)
                found.append(name)
        return found

    def begin(self, run: Running) -> None:
        """The run is about to train: what hooks are given from now on, and their first event."""
        self._run = run
        self.call("on_train_begin")

    def end(self, status: str) -> None:
        """The run is over: the last event, which comes once, and only to hooks that have had the first."""
        if self._run is not None:
            calls, self._calls["on_train_end"] = self._calls["on_train_end"], []
            for each, method in calls:
                _guarded(each, "on_train_end", method, self._run, status)

    def call(self, event: str, *arguments: Any) -> None:
        """Tell every hook that has this event, in their order.

        Errors   LayerForgeError with the line of the user's file where a hook fails; LayerForgeErrors as they are
        """
        for each, method in self._calls[event]:
            _guarded(each, event, method, self._run, *arguments)

    def state(self) -> dict[str, Any]:
        """The state of the hooks that have one, by name: part of a checkpoint.

        Errors   ConfigError for a state that JSON cannot hold
        """
        states = {}
        for name, each in zip(self.names(), self.hooks, strict=True):
            if hasattr(each, "load_state"):
                value = _guarded(each, "state", each.state)
                try:
                    states[name] = from_json(to_json(value))
                except (TypeError, ValueError) as problem:
                    hint = "return numbers, texts, lists and dicts with texts as keys"
                    raise ConfigError(f"hook {name}: its state cannot be kept: {problem}", hint=hint) from None
        return states

    def load_state(self, states: Mapping[str, Any]) -> None:
        """Give hooks the state that a checkpoint holds for them."""
        for name, each in zip(self.names(), self.hooks, strict=True):
            if name in states:
                _guarded(each, "load_state", each.load_state, states[name])


def _guarded(each: Any, doing: str, method: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return method(*arguments)
    except LayerForgeError:
        raise
    except (Exception, SystemExit) as problem:
        message = f"hook {type(each).__name__}.{doing}: {type(problem).__name__}: {user_modules.described(problem)}"
        raise LayerForgeError(message, place=user_modules.where(Path(_file(each)), problem)) from problem


def _file(each: Any) -> str:
    """The file that a hook's class was written in."""
    try:
        return inspect.getfile(type(each))
    except (TypeError, OSError):
        return "hook"


def imported(paths: Iterable[str]) -> list[Any]:
    """An instance of every decorated class in the users' files that have been imported, in the order of the files.

    Errors   ConfigError for a class that cannot be made without arguments
    """
    found = []
    for path in paths:
        module = user_modules.imported(path)
        for value in vars(module).values() if module is not None else ():
            if isinstance(value, type) and MARK in vars(value) and value not in found:
                found.append(value)
    return [_made(cls) for cls in found]


def _made(cls: type) -> Any:
    try:
        return cls()
    except LayerForgeError:
        raise
    except (Exception, SystemExit) as problem:
        place = user_modules.where(Path(inspect.getfile(cls)), problem)
        hint = "a hook of an imported file is made without arguments"
        message = f"hook {cls.__name__}: {user_modules.described(problem)}"
        raise ConfigError(message, place=place, hint=hint) from problem
