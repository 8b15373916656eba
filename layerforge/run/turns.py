"""Whose turn it is: what a net holds of a pass serves one thread at a time.

Nets of their own may run in as many threads as one likes. A single net may go from one thread to another, but two
threads that use it at once would overwrite each other's activations: that is refused, and so is a backward whose
forward was followed by one of another thread.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from ..schema.errors import ConcurrencyError

Method = TypeVar("Method", bound=Callable[..., Any])
REMEDY = "give each thread a net of its own (Net.from_config), or hold a threading.Lock from forward to backward"


class Turns:
    """The turns of one net: `with net.turns:` around whatever uses it, as `in_turn` does.

    what   how errors call it
    begin  called before a thread's turn
    """

    def __init__(self, what: str, begin: Callable[[], None]) -> None:
        self.what, self.begin = what, begin
        self._lock, self._depth = threading.Lock(), 0
        self._holder = 0  # the number of the thread whose turn it is: asked for several times in a step
        self._name = ""  # what that thread is called
        self._forward: threading.Thread | None = None  # who ran the last forward
        self._awaited = False  # its backward may yet come
        self._overtaken: weakref.WeakSet[threading.Thread] = weakref.WeakSet()  # another's forward took theirs away

    def __reduce__(self) -> Any:
        """A copy is nobody's turn."""
        return Turns, (self.what, self.begin)

    def __enter__(self) -> None:
        me = threading.get_ident()
        if self._holder == me:
            self._depth += 1
            return
        self.begin()
        name = threading.current_thread().name
        if not self._lock.acquire(blocking=False):
            holder = f"thread '{self._name}'" if self._holder else "another thread"
            message = f"{self.what} is in use by {holder}: thread '{name}' cannot use it at the same time"
            raise ConcurrencyError(message, hint=REMEDY)
        self._holder, self._name, self._depth = me, name, 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._holder = 0
            self._lock.release()

    def forward_begins(self, kept: bool) -> None:
        """What an earlier forward kept is lost from here on."""
        me = threading.current_thread()
        if self._awaited and self._forward is not None and self._forward is not me:
            self._overtaken.add(self._forward)
        self._overtaken.discard(me)
        self._forward, self._awaited = me, kept

    def backward_begins(self) -> None:
        """Errors   ConcurrencyError where the last forward is another thread's and took away this one's."""
        me = threading.current_thread()
        if me in self._overtaken and self._forward is not None:
            message = f"{self.what} was run forward by thread '{self._forward.name}'"
            raise ConcurrencyError(f"{message} between forward and backward of thread '{me.name}'", hint=REMEDY)
        self._awaited = False


def in_turn(method: Method) -> Method:
    """A method of something with `turns` that takes one."""

    @functools.wraps(method)
    def taken(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.turns:
            return method(self, *args, **kwargs)

    return taken  # type: ignore[return-value]
