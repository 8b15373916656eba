"""Files that a definition names: below its own folder, or a folder that the user names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...schema.errors import ConfigError
from ...schema.locations import Place


def below(name: str, roots: Sequence[Path], place: Place) -> Path:
    """The path of a file that a definition names, below one of these folders; the first where there is one counts.

    Errors   ConfigError with the place for a path that leads out of all of them
    """
    found = []
    for root in roots:
        path = (root / name).resolve()
        if path.is_relative_to(root.resolve()):
            found.append(path)
    if not found:
        folders = " or ".join(str(root) for root in roots)
        hint = f"it must be below {folders}; --data-root names another folder"
        raise ConfigError(f"the path '{name}' leads elsewhere", place=place, hint=hint)
    return next((path for path in found if path.exists()), found[0])
