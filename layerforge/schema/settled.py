"""Who assigns an attribute: the object's own code may have any; from outside, an unknown name would do nothing."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any


def from_within(owner: Any, depth: int = 2) -> bool:
    """Whether an attribute of `owner` is being assigned by a method of its own, or by the framework.

    depth   frames between this function and whoever assigns
    """
    frame: FrameType | None = sys._getframe(depth)
    if frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "layerforge":
        return True
    while frame is not None:
        code = frame.f_code
        own = code.co_argcount and frame.f_locals.get(code.co_varnames[0]) is owner
        if own and hasattr(type(owner), code.co_name):
            return True
        frame = frame.f_back
    return False
