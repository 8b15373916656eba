"""From the `data:` section to loaders: files found, the fallback decided, statistics taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from ..feed import DataSection
from .loader import Loader
from .source import MissingData
from .transform import InputTransform


@dataclass(frozen=True)
class OpenData:
    """Data that is ready to be fed.

    section        the data section as it came to be used: with the fallback in place of the sources where it was needed
    loaders        by section name
    transform      what the blobs go through; its `state()` serves where the training data is not at hand
    fallback_used  whether the fallback replaced the declared sources
    notice         what has to be said about that, loudly; "" otherwise
    """

    section: DataSection
    loaders: dict[str, Loader]
    transform: InputTransform
    fallback_used: bool = False
    notice: str = ""

    @property
    def train(self) -> Loader | None:
        return self.loaders.get("train")

    @property
    def val(self) -> Loader | None:
        return self.loaders.get("val")

    @property
    def test(self) -> Loader | None:
        return self.loaders.get("test")


def open_data(
    section: DataSection,
    *,
    sections: Sequence[str] | None = None,
    seed: int = 0,
    dtype: str = "float32",
    use_fallback: bool | None = None,
    transform: InputTransform | None = None,
    progress: bool | None = None,
) -> OpenData:
    """Open train, val and test, or the `sections` named.

    use_fallback  None: only where no file of a set is here and no mirror answers. True and False: as decided earlier
                  (a resumed run keeps its data)
    transform     as computed before; without it, statistics that are asked for are taken from the training split
    progress      True and False show and hide download bars; None shows them on a terminal

    Errors   MissingData where the data is nowhere and there is no fallback; DataError for wrong files; ConfigError for
             splits, sections and transforms that do not fit
    """
    names = list(section.feeds()) if sections is None else list(sections)
    notice = ""
    if use_fallback and section.fallback is not None:
        section, notice = section.with_fallback(), _notice(section)
    else:
        try:
            _prepare(section, names, transform, progress)
        except MissingData:
            if section.fallback is None or use_fallback is False:
                raise
            section, notice = section.with_fallback(), _notice(section)
    arrays = {name: section.feed(name).source.load(progress) for name in names}
    if transform is None:
        transform = _fit(section, arrays, progress)
    _check_kinds(arrays)
    loaders = {
        name: Loader(section.feed(name), arrays[name], transform, section.sample_specs(name), seed=seed, dtype=dtype)
        for name in names
    }
    return OpenData(section, loaders, transform, bool(notice), notice)


def _notice(section: DataSection) -> str:
    missing, instead = section.train.source.title, section.fallback.title
    return (
        f"{missing} WAS NOT FOUND and could not be downloaded: {instead} IS USED INSTEAD. "
        f"The results say nothing about {missing}."
    )


def _prepare(section: DataSection, names: list[str], transform: InputTransform | None, progress: bool | None) -> None:
    needed = dict.fromkeys(names)
    if transform is None and section.transform.needs_statistics:
        needed["train"] = None
    for name in needed:
        section.feed(name).source.prepare(progress)


def _fit(section: DataSection, arrays: dict[str, dict[str, np.ndarray]], progress: bool | None) -> InputTransform:
    source = section.train.source
    known = arrays.get("train")
    if known is None and section.transform.needs_statistics:
        known = source.load(progress)
    if known is None:
        known = next(iter(arrays.values()))
    return InputTransform.fit(section.transform, source.specs(), source.normalised(), known, section.crop)


def _check_kinds(arrays: dict[str, dict[str, np.ndarray]]) -> None:
    """Bytes in one section and other numbers in the next would be scaled alike: refuse."""
    kinds: dict[str, tuple[str, bool]] = {}
    for section, blobs in arrays.items():
        for name, array in blobs.items():
            first, is_bytes = kinds.setdefault(name, (section, array.dtype == np.uint8))
            if is_bytes != (array.dtype == np.uint8) and array.ndim > 1:
                raise DataError(
                    f"blob '{name}' is bytes in one of data.{first} and data.{section}, but not in the other",
                    hint="store both in the same form: they go through one transform",
                )
