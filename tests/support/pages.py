"""Runs the Python that stands in pages."""

from __future__ import annotations

import contextlib
import io
from typing import Any


def output_of(code: str, names: dict[str, Any], page: str) -> str:
    """What a program of a page prints; it goes on with these names, and leaves its own there."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, page, "exec"), names)
    return out.getvalue()
