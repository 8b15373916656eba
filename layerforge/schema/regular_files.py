"""Files that a configuration names are regular files: reading a named pipe or a device might never end.

What the user gives on a command line may also be a pipe that is open already: `layerforge check /dev/stdin`, or the
shell's `<(...)`.
"""

from __future__ import annotations

import errno
import os
import stat

KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
OPEN_ALREADY = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")


def irregular(path: str | os.PathLike[str]) -> str | None:
    """What lies at a path, such as "a named pipe", where that is neither a file nor a folder; else None.

    Nothing is opened: opening a pipe waits for somebody who writes to it.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None
    return next((name for is_kind, name in KINDS if is_kind(mode)), None)


def regular(path: str, flags: int) -> int:
    """An opener for `open(path, mode, opener=regular)` that never waits, and opens nothing but regular files.

    What is only written may be a device as well: /dev/null ends.

    Errors   OSError as open raises, and for pipes, devices, sockets and folders one whose strerror says what it is
    """
    try:
        descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError as problem:  # ENXIO: a pipe that nobody reads, or a socket
        if problem.errno == errno.ENXIO and (kind := irregular(path)):
            raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", path) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode) and not (flags & os.O_WRONLY and stat.S_ISCHR(mode)):
        os.close(descriptor)
        kind = next((name for is_kind, name in KINDS if is_kind(mode)), "a folder")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", path)
    return descriptor


def is_open_already(path: str | os.PathLike[str]) -> bool:
    """Whether a path is one of this process's own open files."""
    return os.fspath(path).startswith(OPEN_ALREADY)
