"""ImageSource: what sources of image files have in common."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.spec import Spec
from ..config.augmentation import INTERPOLATIONS
from ..schema.errors import ConfigError, DataError
from ..schema.params import Pair, param
from .image_form import COLORS, ImageForm, demand_scaling, pillow
from .image_reader import IMAGE, ImageReader
from .lazy_images import LazyImages
from .reader import Reader
from .source import Source

NAMED = 5  # unreadable files that a warning names


@dataclass(frozen=True)
class Listing:
    """The samples of a part: files, their other blobs, and of each label its words by number."""

    files: list[str]
    blobs: dict[str, np.ndarray]
    specs: dict[str, Spec]
    words: dict[str, tuple[str, ...]]

    @property
    def classes(self) -> tuple[str, ...]:
        """The words of the label, where there is one."""
        return next(iter(self.words.values())) if len(self.words) == 1 else ()


class ImageSource(Source):
    """Image files that are decoded when a batch wants them. A subclass lists those of a part."""

    size: Pair = param(help="height and width of the samples", ge=1, le=1 << 14)
    color: str = param("rgb", help="the channels in their order", choices=tuple(COLORS))
    resize: int | Pair | None = param(
        None, help="scaled to: the shorter side, or [height, width]; null: so that it covers `size`", ge=1, le=1 << 14
    )
    center_crop: Pair | None = param(None, help="the middle that is taken after `resize`", ge=1, le=1 << 14)
    interpolation: str = param("bilinear", help="between pixels, antialiased", choices=INTERPOLATIONS)
    antialias: bool = param(True, help="false: scaled to `resize` as OpenCV does, and Caffe with it; bilinear only")
    on_error: str = param(
        "stop", help="a file that cannot be read: stop; or skip: all are tried first", choices=("stop", "skip")
    )
    cache: str | None = param(None, help="where decoded images are kept; null: nowhere", choices=("memory", "disk"))
    blob: str = param(IMAGE, help="the name of the blob of the images")

    _listings: dict[str, Listing]

    def validate(self) -> None:
        self._listings = {}
        demand_scaling(type(self).__name__, self._declared_form)
        if self.blob in ("label", "target"):
            raise ConfigError(f"the images cannot be the blob '{self.blob}' as well", hint="for example blob: data")

    @property
    def _declared_form(self) -> ImageForm:
        return ImageForm(self.size, self.color, self.resize, self.center_crop, self.interpolation, self.antialias)

    def listing(self, part: str) -> Listing:
        """The samples of a part. Errors   DataError where there are none, or their labels are not train's"""
        raise NotImplementedError(f"{type(self).__name__} needs listing(part)")

    @property
    def form(self) -> ImageForm:
        """What images become. Errors   ConfigError where Pillow is missing"""
        pillow()
        return self._declared_form

    @property
    def channels(self) -> str:
        return self.color

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._listed(self.part).classes

    @property
    def trained(self) -> ImageReader | None:
        """What data.train found out about its labels, where this is val or test."""
        reader = None if self.leader is None else self.leader.reader()
        return reader if isinstance(reader, ImageReader) else None

    def specs(self) -> dict[str, Spec]:
        return {self.blob: Spec(self.form.shape), **self._listed(self.part).specs}

    def count(self, part: str) -> int:
        return len(self._listed(part).files)

    def read(self, part: str, progress: bool | None = None) -> dict[str, Any]:
        listing = self._listed(part)
        images = LazyImages(listing.files, range(len(listing.files)), self.form, self.cache)
        return {self.blob: images, **listing.blobs}

    def load(self, progress: bool | None = None) -> dict[str, Any]:
        """As every source; with `on_error: skip` what cannot be read is left out, and told of in a warning."""
        arrays: dict[str, Any] = super().load(progress)
        if self.on_error == "stop":
            return arrays
        good, errors = arrays[self.blob].readable()
        if not errors:
            return arrays
        if not len(good):
            raise errors[0]
        self._tell(errors, len(arrays[self.blob]))
        return {name: array.take(good) if name == self.blob else array[good] for name, array in arrays.items()}

    def _tell(self, errors: list[DataError], count: int) -> None:
        named = "; ".join(f"{error.place.file if error.place else ''} {error.message}" for error in errors[:NAMED])
        more = f"; and {len(errors) - NAMED} more" if len(errors) > NAMED else ""
        skipped = f"{len(errors)} of {count} images of {self.title} ({self.split}) are left out"
        warnings.warn(f"{skipped}: {named}{more}", stacklevel=3)

    def labels(self) -> dict[str, np.ndarray]:
        found: dict[str, Any] = super().load()
        return {name: array for name, array in found.items() if name != self.blob and array.dtype.kind == "i"}

    def normalised(self) -> list[tuple[str, ...]]:
        """The images; targets stay as they are."""
        return [(self.blob,)]

    def follow(self, leader: Any) -> None:
        super().follow(leader)
        self._listings = {}

    def reader(self) -> Reader:
        return ImageReader(self.specs(), self.form, self._listed(self.part).words, self.blob, self.target_names)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of the numbers of `target`, where they have names."""
        return ()

    def _listed(self, part: str) -> Listing:
        if part not in self._listings:
            self._listings[part] = self.listing(part)
        return self._listings[part]
