"""The commit of the code around a run, read from git's files: git itself is never started.

Asking git for a state runs what the folder's own .git/config names (core.fsmonitor, filters, ...), and a folder may
come from anybody. So whether there are changes on top of the commit is not known, and not said.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..schema.regular_files import regular

COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")  # SHA-1, or SHA-256
REF = re.compile(r"refs/[\w./@+-]+")
MOST = 4096  # bytes of HEAD and the like
MOST_PACKED = 64 << 20  # bytes of packed-refs
MOST_STEPS = 5  # from one symbolic ref to the next


def commit(folder: Path) -> dict[str, Any] | None:
    """The commit that is checked out in the repository around a folder, and its branch; None where there is none.

    None too for what only looks like a repository, whatever it holds: no run ends for want of its commit.
    """
    for place in (folder, *folder.parents):
        try:
            git = _git_folder(place / ".git")
            found = None if git is None else _follow(git)
        except (OSError, ValueError):  # ValueError: a path with a NUL in it
            return None
        if git is not None:
            return None if found is None else {"commit": found[0], "ref": found[1]}
    return None


def _git_folder(path: Path) -> Path | None:
    """Where HEAD is stored: in .git itself, or where a file of that name points to (worktrees, submodules)."""
    if (path / "HEAD").is_file():
        return path
    text = _read(path)
    if text is None or not text.startswith("gitdir:"):
        return None
    pointed = path.parent / text.removeprefix("gitdir:").strip()
    return pointed if (pointed / "HEAD").is_file() else None


def _follow(git: Path) -> tuple[str, str | None] | None:
    """(commit, ref) of HEAD; the ref is None where HEAD is detached."""
    common = _read(git / "commondir")
    folders = [git, *([git / common.strip()] if common else [])]
    text, ref = _read(git / "HEAD"), None
    for _ in range(MOST_STEPS):
        text = (text or "").strip()
        if COMMIT.fullmatch(text):
            return text, ref
        name = text.removeprefix("ref:").strip()
        if not text.startswith("ref:") or not REF.fullmatch(name) or ".." in name:
            return None
        ref = name
        text = next((found for f in folders if (found := _read(f / ref)) is not None), None)
        text = text or next((found for f in folders if (found := _packed(f / "packed-refs", ref)) is not None), None)
    return None


def _packed(path: Path, ref: str) -> str | None:
    text = _read(path, MOST_PACKED) or ""
    return next((line[: -len(ref) - 1] for line in text.splitlines() if line.endswith(f" {ref}")), None)


def _read(path: Path, most: int = MOST) -> str | None:
    """The text of an ordinary file; None for anything else, a pipe that would be waited for included."""
    try:
        with open(path, "rb", opener=regular) as file:
            return file.read(most).decode("utf-8", "replace")
    except (OSError, ValueError):
        return None
