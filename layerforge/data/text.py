"""Text: the characters of a file, for models that predict the next one."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..errors import ConfigError
from ..params import FilePath, param
from ..registry import register_source
from ..spec import Spec, index
from .files import file_error, reading, size_of
from .source import Source, Split


@register_source
class Text(Source):
    """Windows of a text: blobs `x` and `y`, indices (T,) into the vocabulary; y is x one character later.

    The vocabulary is every character of the file, sorted (`class_names`). The split counts characters:
    `all[:90%]` is the first nine tenths of the text, and no window reaches over its end.
    """

    path: FilePath = param(help="the text file, in UTF-8")
    sequence_length: int = param(help="characters in a window", ge=1)
    stride: int | None = param(None, help="from one window to the next; null: sequence_length, no overlap", ge=1)

    @property
    def class_names(self) -> tuple[str, ...]:
        return read_text(self.path)[0]

    def specs(self) -> dict[str, Spec]:
        window = index((self.sequence_length,), len(self.class_names))
        return {"x": window, "y": window}

    def load(self, progress: bool | None = None) -> dict[str, np.ndarray]:
        codes = read_text(self.path)[1]
        start, stop = Split.of(self.split).range(len(codes), f"{Path(self.path).name} (characters)", self.place)
        if stop - start <= self.sequence_length:
            raise ConfigError(
                f"Text: split '{self.split}' has {stop - start} characters, "
                f"a window of sequence_length {self.sequence_length} and the next character need one more",
                place=self.place,
                hint="make sequence_length smaller or the split larger",
            )
        windows = sliding_window_view(codes[start:stop], self.sequence_length + 1)
        windows = windows[:: self.stride or self.sequence_length]
        return {"x": windows[:, :-1], "y": windows[:, 1:]}


def read_text(path: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The sorted vocabulary of a UTF-8 file and its text as indices into that."""
    size_of(path)
    with reading(path):
        status = Path(path).stat()
        return _read_text(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=2)  # train and val are two splits of one file
def _read_text(path: str, modified: int, size: int) -> tuple[tuple[str, ...], np.ndarray]:
    data = Path(path).read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        message = f"is not UTF-8 text: byte 0x{data[problem.start]:02x} in line {line} ({problem.reason})"
        raise file_error(path, message, "store the file as UTF-8") from None
    points = np.frombuffer(text.replace("\r\n", "\n").encode("utf-32-le"), "<u4")
    characters, codes = np.unique(points, return_inverse=True)
    codes = codes.astype(np.uint8 if len(characters) <= 256 else np.uint32)
    codes.flags.writeable = False
    return tuple(chr(c) for c in characters), codes
