"""From the `data:` section to loaders: files found, the fallback decided, statistics taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..config.data_section import DataSection, SampleSource
from ..graph.uses import TARGET
from ..schema.errors import DataError, MissingData
from ..schema.texts import first_few
from .kinds import Kind
from .learned import Learned
from .loader import Loader
from .sampling import sampler_of
from .transform import InputTransform


@dataclass(frozen=True)
class OpenData:
    """Data that is ready to be fed.

    section        the data section as it came to be used: with the fallback in place of the sources where it was needed
    loaders        by section name
    transform      what the blobs go through; its `state()` serves where the training data is not at hand
    fallback_used  whether the fallback replaced the declared sources
    notice         what has to be said about that, loudly; "" otherwise
    remarks        what else has to be said: classes that train has and val has not
    """

    section: DataSection
    loaders: dict[str, Loader]
    transform: InputTransform
    fallback_used: bool = False
    notice: str = ""
    remarks: list[str] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """All that has to be said, one by one."""
        return [self.notice, *self.remarks] if self.fallback_used else self.remarks

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
    uses: Mapping[str, str] | None = None,
    learned: Learned | None = None,
) -> OpenData:
    """Open train, val and test, or the `sections` named.

    use_fallback  None: only where no file of a set is here and no mirror answers. True and False: as decided earlier
                  (a resumed run keeps its data)
    transform     as computed before; without it, statistics that are asked for are taken from the training split
    progress      True and False show and hide download bars; None shows them on a terminal
    uses          what the net does with each blob (layerforge.graph.uses.uses_of); None: not known, and a transform has
                  to name its blobs where there are several
    learned       what a run found out about its train: the sections named follow that, and nothing of train is read

    Errors   MissingData where the data is nowhere and there is no fallback; DataError for wrong files; ConfigError for
             splits, sections and transforms that do not fit
    """
    names = list(section.feeds()) if sections is None else list(sections)
    notice, fallback = "", section.fallback
    if use_fallback and fallback is not None:
        section, notice = section.with_fallback(), _notice(section, fallback)
    else:
        try:
            _prepare(section, names, transform, progress)
        except MissingData:
            if fallback is None or use_fallback is False:
                raise
            section, notice = section.with_fallback(), _notice(section, fallback)
    for name in names if learned is not None else ():
        section.feed(name).source.follow(learned)
    arrays = {name: section.feed(name).source.load(progress) for name in names}
    _check_numbering(section, names, learned)
    fresh = transform is None
    if transform is None:
        transform = _fit(section, arrays, progress, uses)
    elif not transform.kinds and "train" in arrays:  # of a checkpoint that is older than kinds
        kinds = _kinds(transform, arrays["train"], uses)
        transform = InputTransform(transform.affine, transform.crop, kinds, transform.placed)
    _check_kinds(arrays)
    for name, blobs in arrays.items():
        for blob in () if fresh and name == "train" else transform.kinds.keys() & blobs.keys():
            transform.kinds[blob].check(blob, blobs[blob], f"data.{name}")
    loaders = {
        name: Loader(
            section.feed(name),
            arrays[name],
            transform,
            section.sample_specs(name),
            seed=seed,
            dtype=dtype,
            sampler=sampler_of(section.feed(name), arrays[name], uses),
        )
        for name in names
    }
    return OpenData(section, loaders, transform, bool(notice), notice, class_gaps(section, arrays, uses))


def _notice(section: DataSection, fallback: SampleSource) -> str:
    missing, instead = section.train.source.title, fallback.title
    return (
        f"{missing} WAS NOT FOUND and could not be downloaded: {instead} IS USED INSTEAD. "
        f"The results say nothing about {missing}."
    )


def _prepare(section: DataSection, names: list[str], transform: InputTransform | None, progress: bool | None) -> None:
    needed = dict.fromkeys(names)
    if transform is None and section.scaling.needs_statistics:
        needed["train"] = None
    for name in needed:
        section.feed(name).source.prepare(progress)


def _fit(
    section: DataSection,
    arrays: dict[str, dict[str, np.ndarray]],
    progress: bool | None,
    uses: Mapping[str, str] | None,
) -> InputTransform:
    source = section.train.source
    known = arrays.get("train")
    if known is None and section.scaling.needs_statistics:
        known = source.load(progress)
    seen = known is not None
    if known is None:
        known = next(iter(arrays.values()))
    scaling = section.scaling.of_colours(source.channels)
    fitted = InputTransform.fit(scaling, source.specs(), source.normalised(), known, section.crop, uses)
    return fitted if seen else InputTransform(fitted.affine, fitted.crop, placed=fitted.placed)


def _kinds(
    transform: InputTransform, arrays: Mapping[str, np.ndarray], uses: Mapping[str, str] | None
) -> dict[str, Kind]:
    inputs = [name for name in transform.affine if name in arrays and (uses or {}).get(name) != TARGET]
    return {name: Kind.of(arrays[name]) for name in inputs}


def _check_numbering(section: DataSection, names: Sequence[str], learned: Learned | None) -> None:
    """DataError where a source numbers its classes otherwise than that of train."""
    for name in names:
        own = section.feed(name).source.class_names
        leader = learned or (section.train.source if name != "train" else None)
        known = leader.class_names if own and leader is not None else ()
        for number, word in enumerate(own if known else ()):
            trained = known[number] if number < len(known) else None
            if word != trained:
                there = f"'{trained}'" if trained is not None else "unknown"
                raise DataError(
                    f"class {number} is '{word}' in data.{name} and {there} in data.train",
                    hint="both need the same classes in the same order; a source of one's own has Source.follow for it",
                )


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


def class_gaps(
    section: DataSection, arrays: Mapping[str, Mapping[str, np.ndarray]], uses: Mapping[str, str] | None
) -> list[str]:
    """What to say of classes that val or test has and train has not, or the other way round.

    Classes are the index blobs of one number per sample that the net compares with (`uses`; None: all of them).
    """
    known, remarks = arrays.get("train", {}), []
    for name, array in known.items():
        if array.ndim != 1 or array.dtype.kind not in "biu" or (uses is not None and uses.get(name) != TARGET):
            continue
        words = section.train.source.class_names
        trained = set(np.unique(array).tolist())
        for other in ("val", "test"):
            if name not in arrays.get(other, {}):
                continue
            there = set(np.unique(arrays[other][name]).tolist())
            unseen, untested = sorted(there - trained), sorted(trained - there)
            if unseen:
                remarks.append(f"data.{other} has classes that data.train lacks: {_listed(name, unseen, words)}. {CUT}")
            if untested:
                remarks.append(
                    f"data.train has classes that data.{other} lacks: {_listed(name, untested, words)}. {CUT}"
                )
    return remarks


CUT = "Is the file sorted by class, and cut in two? Shuffle its rows first."


def _listed(name: str, classes: list[int], words: Sequence[str]) -> str:
    shown = (f"{n} ({words[n]})" if 0 <= n < len(words) else str(n) for n in classes)
    return f"'{name}' {first_few(shown, 5)}"
