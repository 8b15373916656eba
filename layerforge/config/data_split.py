"""`data.split`: how one source is divided into train, val and test, or into the folds of a cross-validation."""

from __future__ import annotations

from ..schema.errors import ConfigError
from ..schema.params import param
from .data_mapping import DataMapping


class SplitSection(DataMapping):
    """Shares of the samples of data.train's source for val and test; train keeps the rest.

    A number below 1 is a fraction of all samples, rounded to whole ones and at least one; from 1 on it is a count. With
    `folds` those that are not test's are cut into so many parts of one size, of which number `fold` is val.
    """

    noun = "split"
    description = "a mapping such as {val: 0.2, test: 0.1, stratify: label}"

    val: int | float | None = param(None, help="samples for val: a fraction (0.2) or how many (500)", gt=0)
    test: int | float | None = param(None, help="samples for test: a fraction (0.1) or how many (500)", gt=0)
    shuffle: bool = param(True, help="choose at random; false: train first, then val, then test, as the samples stand")
    stratify: str | None = param(None, help="blob or column of classes that have the same share in every part")
    group: str | None = param(None, help="blob or column; samples of one value stay together in one part")
    seed: int = param(0, help="another seed divides otherwise", ge=0)
    folds: int | None = param(None, help="folds of a cross-validation (`layerforge train CONFIG --folds K`)", ge=2)
    fold: int = param(0, help="which of the folds is val, from 0", ge=0)

    def validate(self) -> None:
        if self.folds is not None and self.val is not None:
            message = "split: with folds each of them is val once, and val cannot be a number"
            raise ConfigError(message, place=self.place, hint="remove split.val")
        if self.folds is None and self.val is None and self.test is None:
            hint = "for example split: {val: 0.2, test: 0.1}"
            raise ConfigError("split needs val, test or folds", place=self.place, hint=hint)
        if self.fold >= (self.folds or 1):
            message = f"split: there is no fold {self.fold} of {self.folds or 'none'}"
            raise ConfigError(message, place=self.place, hint="folds are counted from 0")
        for name in ("val", "test"):
            share = getattr(self, name)
            if isinstance(share, float) and share >= 1:
                hint = f"write a fraction such as 0.2, or a whole number: {int(share)}"
                raise ConfigError(f"split: {name} is {share}: a fraction is below 1", place=self.place, hint=hint)

    @property
    def sections(self) -> tuple[str, ...]:
        """The sections that get samples."""
        val = ("val",) if self.val is not None or self.folds is not None else ()
        return ("train", *val, *(("test",) if self.test is not None else ()))

    def sizes(self, count: int) -> list[int]:
        """How many of `count` samples each part gets: train, val, test; with folds the folds in order, then test.

        Errors   ConfigError where a part would be empty
        """
        taken = {name: self._size(getattr(self, name), count) for name in ("val", "test")}
        left = count - sum(taken.values())
        if self.folds is None:
            sizes = [left, *(taken[name] for name in self.sections[1:])]
        else:
            sizes = [(left + i) // self.folds for i in range(self.folds)] + [taken["test"]] * (self.test is not None)
        if min(sizes) < 1:
            words = f"{self.folds} folds" if self.folds is not None else "train"
            message = f"split: of {count} samples there are not enough for {' and '.join((words, *self.sections[1:]))}"
            raise ConfigError(message, place=self.place, hint="make val and test smaller")
        return sizes

    def section_of(self, part: int) -> str:
        """The section that a part of `sizes` belongs to."""
        if self.folds is None:
            return self.sections[part]
        return "test" if part == self.folds else "val" if part == self.fold else "train"

    @staticmethod
    def _size(share: float | None, count: int) -> int:
        if share is None:
            return 0
        return max(1, round(share * count)) if isinstance(share, float) else share
