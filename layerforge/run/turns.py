"""Whose turn it is: what a net holds of a pass serves one thread at a time.

Nets of their own may run in as many threads as one likes. A single net may go from one thread to another, but two
threads that use it at once would overwrite each other's activations: that is refused, and so is a backward whose
forward was followed by one of another thread. Copying or saving it is a use, too: what another thread trains meanwhile
would be copied half before an update and half after it.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any, TypeVar

from ..arrays import threads
from ..arrays.waiting import WAITING
from ..engines.protocol import LayerEngine
from ..schema.errors import ConcurrencyError
from .explained import raise_explained

Method = TypeVar("Method", bound=Callable[..., Any])
REMEDY = "give each thread a net of its own (Net.from_config), or hold a threading.Lock from forward to backward"


def begin_turn(engine: LayerEngine | None, count: int) -> None:
    """A thread is about to use a net, with its engine of layers if it asks for one, and with so many threads."""
    if engine is not None:
        engine.refuse_after_fork()
        WAITING.look(count)
    threads.enter(count)


class Turns:
    """The turns of one net: `with net.passes.turns:` around whatever uses it, as `in_turn` does.

    what   how errors call it
    begin  called before a thread's turn
    taken  how many turns there were that may have changed something: what was copied in turns of its own, as a net and
           its solver are, belongs together where this is the same
    """

    def __init__(self, what: str, begin: Callable[[], None]) -> None:
        self.what = what
        self.begin = begin
        self.taken = 0
        self._lock = threading.Lock()
        self._depth = 0
        self.holder = 0  # the number of the thread whose turn it is: read several times in a step
        self._forward: threading.Thread | None = None  # who ran the last forward
        self._awaited = False  # its backward may yet come
        # Those whose forward another's took away; None as long as nobody's was, which is read in every step.
        self._overtaken: weakref.WeakSet[threading.Thread] | None = None

    def __reduce__(self) -> Any:
        """A copy is nobody's turn."""
        return Turns, (self.what, self.begin)

    def __enter__(self) -> None:
        me = get_ident()
        if self.holder == me:
            self._depth += 1
            return
        self.begin()
        if not self._lock.acquire(blocking=False):
            raise self._refusal(self.holder)
        self.holder = me
        self._depth = 1
        self.taken += 1

    def _refusal(self, holder: int) -> ConcurrencyError:
        names = [f"thread '{thread.name}'" for thread in threading.enumerate() if thread.ident == holder]
        who, me = names[0] if names else "another thread", threading.current_thread().name
        message = f"{self.what} is in use by {who}: thread '{me}' cannot use it at the same time"
        return ConcurrencyError(message, hint=REMEDY)

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self.holder = 0
            self._lock.release()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A turn that changes nothing."""
        with self:
            if self._depth == 1:
                self.taken -= 1
            yield

    def forward_begins(self, kept: bool) -> None:
        """What an earlier forward kept is lost from here on."""
        me = threading.current_thread()
        if self._forward is not me:
            if self._awaited and self._forward is not None:
                self._overtaken = self._overtaken or weakref.WeakSet()
                self._overtaken.add(self._forward)
            self._forward = me
        if self._overtaken is not None:
            self._overtaken.discard(me)
        self._awaited = kept

    def backward_begins(self) -> None:
        """Errors   ConcurrencyError where the last forward is another thread's and took away this one's."""
        me = threading.current_thread()
        if self._overtaken is not None and me in self._overtaken and self._forward is not None:
            message = f"{self.what} was run forward by thread '{self._forward.name}'"
            raise ConcurrencyError(f"{message} between forward and backward of thread '{me.name}'", hint=REMEDY)
        self._awaited = False


def turns_of(net: Any) -> Turns | None:
    """Those of a net; None for what takes the place of a net, and need not know of turns."""
    passes = getattr(net, "passes", None)
    return None if passes is None else passes.turns


def in_turn(method: Method) -> Method:
    """A method of something with `_turns` that takes one. What the machine lacks in it is explained (explained.py)."""

    @functools.wraps(method)
    def taken(self: Any, *args: Any, **kwargs: Any) -> Any:
        turns = self._turns
        if turns.holder == get_ident():  # called by what has taken it
            return method(self, *args, **kwargs)
        with turns:
            try:
                return method(self, *args, **kwargs)
            except Exception as problem:
                raise_explained(problem, self)

    return taken  # type: ignore[return-value]


def reading_in_turn(method: Method) -> Method:
    """`in_turn` for a method that changes nothing."""

    @functools.wraps(method)
    def taken(self: Any, *args: Any, **kwargs: Any) -> Any:
        turns = self._turns
        if turns.holder == get_ident():
            return method(self, *args, **kwargs)
        with turns.reading():
            try:
                return method(self, *args, **kwargs)
            except Exception as problem:
                raise_explained(problem, self)

    return taken  # type: ignore[return-value]
