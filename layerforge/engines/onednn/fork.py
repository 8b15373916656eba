"""A child of fork has its parent's library without the threads of its pool, for which it would wait for ever."""

from __future__ import annotations

import os

from ...schema.errors import BackendError

_lost_threads = False  # this process was forked from one in which oneDNN was in use


def watch() -> None:
    """oneDNN is in use from here on: children of this process by fork are to know."""
    os.register_at_fork(after_in_child=_in_child)


def _in_child() -> None:
    global _lost_threads
    _lost_threads = True


def refuse_after_fork() -> None:
    """BackendError (exit 5) in a process that was forked from one in which oneDNN was in use. Asked in every step."""
    if _lost_threads:
        raise BackendError(
            "oneDNN was in use before this process was forked from another, and its threads are not here",
            hint='start processes by multiprocessing.get_context("spawn") or "forkserver", fork before the first net'
            " runs, or set `engine: reference`",
        )
