"""What a container lets its processes have: memory and processor time, as Linux's control groups say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MINE = Path("/proc/self/cgroup")


def memory() -> tuple[int, int] | None:
    """The bytes that may be used, the smallest limit of all groups around this process, and those that are in use
    there; None where there is no limit. Version 1 writes "no limit" as a number beyond any memory.
    """
    found = []
    for limit, use in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        for folder in _groups("memory"):
            size = _number(folder / limit)
            if size is not None and size < 2**60:
                found.append((size, _number(folder / use) or 0))
    return min(found, default=None)


def cores() -> float | None:
    """How many cores' time may be used; None where there is no limit."""
    found = []
    for folder in _groups("cpu"):
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        words = _text(folder / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit():
            quota, period = int(words[0]), int(words[1])
        if quota is not None and period and quota > 0:
            found.append(quota / period)
    return min(found, default=None)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the groups that this process is in, from its own to the outermost, in both versions."""
    for line in _text(MINE).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" or controller in controllers.split(","):
            top = ROOT if number == "0" else ROOT / controller
            folder = top / path.lstrip("/")
            yield from (one for one in (folder, *folder.parents) if one.is_relative_to(top))


def _number(path: Path) -> int | None:
    """The whole number that a file has; None for a word, and where there is no file."""
    try:
        return int(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")  # a group may be called anything
    except (OSError, ValueError):
        return ""
