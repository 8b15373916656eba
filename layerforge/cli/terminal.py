"""The terminal: streams that take every character, colours where they help, notes on stderr."""

from __future__ import annotations

import codecs
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from ..schema.texts import printable, visible

# What stands for a character where a stream cannot encode it. Others lose their accent, or are named.
ASCII = {
    "−": "-", "–": "-", "—": "-", "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~", "±": "+-",
    "×": "x", "·": "*", "⊙": "*", "∘": "o", "∈": "in", "∞": "inf", "∂": "d", "Σ": "sum", "Π": "prod", "√": "sqrt",
    "⌊": "floor(", "⌋": ")", "⌈": "ceil(", "⌉": ")", "⟨": "<", "⟩": ">", "‖": "||", "⁄": "/", "…": "...",
    "‘": "'", "’": "'", "“": '"', "”": '"', "°": "deg", "µ": "u", "∇": "grad",
}  # fmt: skip
COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}
HANDLER = "layerforge"


def plain(text: str) -> str:
    """A text in ASCII: x² is x^2, Wᵀ is W^T, xₙ is x_n, → is ->."""
    out, raised = "", ""
    for character in text:
        kind = unicodedata.decomposition(character).partition(" ")[0]
        mark = {"<super>": "^", "<sub>": "_"}.get(kind, "")
        out += mark if mark != raised else ""
        raised = mark
        out += "".join(_plain(c) for c in unicodedata.normalize("NFKD", character))
    return out


def _plain(character: str) -> str:
    if character.isascii() or character in ASCII:
        return ASCII.get(character, character)
    if (text := printable(character)) != character:
        return text
    if unicodedata.combining(character):
        return ""
    name = unicodedata.name(character, "")
    if name.startswith("GREEK"):
        return name.split()[-1].lower()
    return f"\\u{ord(character):04x}"


def _encode_plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


codecs.register_error(HANDLER, _encode_plainly)


@contextmanager
def safe_streams() -> Iterator[None]:
    """No character makes printing fail while this lasts, whatever stdout and stderr can encode."""
    streams: list[Any] = [s for s in (sys.stdout, sys.stderr) if hasattr(s, "reconfigure")]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors=HANDLER)
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            if not stream.closed:
                stream.reconfigure(errors=errors)


def coloured(stream: TextIO | None) -> bool:
    """Whether to write colours: on a terminal that has them, unless NO_COLOR; always with FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, stream: TextIO | None) -> str:
    """The text in a colour where the stream takes colours."""
    return f"\033[{COLOURS[colour]}m{text}\033[0m" if text and coloured(stream) else text


def flush_output(stream: TextIO | None = None) -> None:
    """Send on what was printed so far, on stdout; without a stdout (`>&-`), or a closed one, there is nothing to do."""
    stream = sys.stdout if stream is None else stream
    if stream is not None and not getattr(stream, "closed", False):
        stream.flush()


def discard(stream: TextIO | None) -> None:
    """Let what is still to be written to a stream go nowhere."""
    if stream is None:
        return
    with suppress(OSError, ValueError):  # a stream that is no file has no number to put it in the place of
        number = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        if null != number:  # else it was closed, and now is what it should be
            os.dup2(null, number)
            os.close(null)


def settle_output() -> None:
    """Send on what was printed, on both streams; what one does not take goes nowhere, and is no failure."""
    for stream in (sys.stdout, sys.stderr):
        try:
            flush_output(stream)
        except (OSError, ValueError):
            discard(stream)


def tell(text: str) -> None:
    """A text on stderr, behind everything that was printed on stdout; its first words coloured."""
    with suppress(OSError, ValueError):  # it will fail again, and be told, where stdout is written
        flush_output()
    text = visible(text)
    if sys.stderr is None:  # `2>&-`; print would take stdout instead
        return
    colours = {"error:": "red", "warning:": "yellow", "note:": "bold"}
    text = re.sub(r"^(error|warning|note):", lambda m: paint(m[0], colours[m[0]], sys.stderr), text, flags=re.MULTILINE)
    with suppress(OSError, ValueError):  # nobody is left to be told
        print(text, file=sys.stderr, flush=True)


def note(text: str) -> None:
    """A remark on stderr."""
    tell(f"note: {text}")


def peak_memory() -> str:
    """The most memory that the process has had so far, in words."""
    try:
        import resource
    except ImportError:  # Windows has no such count
        return "peak memory not known"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"peak memory {peak / (2**20 if sys.platform == 'darwin' else 2**10):.0f} MiB"
