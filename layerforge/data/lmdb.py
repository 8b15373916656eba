"""LMDB: Caffe's databases of samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.spec import Spec, index
from ..config.augmentation import INTERPOLATIONS
from ..schema.errors import ConfigError, DataError
from ..schema.params import FilePath, Pair, param
from ..schema.registry import register_source
from .array_reader import ArrayReader
from .datum import Datum
from .files import file_error
from .image_form import COLORS, ImageForm, decoded, demand_scaling
from .image_reader import ImageReader
from .lazy import Lazy
from .lmdb_records import Database, Images, Values, data_file, database
from .reader import Reader
from .source import Source


@register_source
class LMDB(Source):
    """Records of an LMDB that are Caffe's Datum, in the order of their keys: blobs `image` (C, H, W) and `label`.

    Bytes are pixels, channels as they are stored (Caffe's tools write blue, green, red); floats stay as they are.
    Encoded images are decoded by Pillow when a batch wants them. Records are read one by one, and nothing of the file
    is believed before it is checked; the package lmdb is only needed to write one (`layerforge.data.lmdb_writing`).
    """

    path: FilePath = param(help="the folder of the database, or its data.mdb")
    blob: str = param("image", help="the name of the blob of the samples")
    label: str | None = param("label", help="the name of the blob of the labels; null: none")
    classes: int | None = param(None, help="labels are from 0 to classes - 1; null: any whole number", ge=1)
    color: str | None = param(
        None,
        help="the channels in their order; null: bgr, or gray as the first sample. Raw ones stay as they are",
        choices=tuple(COLORS),
    )
    size: Pair | None = param(
        None, help="height and width of encoded images; null: those of the first, which all have", ge=1, le=1 << 14
    )
    resize: int | Pair | None = param(
        None, help="encoded images are scaled to: the shorter side, or [height, width]", ge=1, le=1 << 14
    )
    center_crop: Pair | None = param(None, help="of encoded images, the middle after `resize`", ge=1, le=1 << 14)
    interpolation: str = param("bilinear", help="between pixels, antialiased", choices=INTERPOLATIONS)
    antialias: bool = param(True, help="false: scaled to `resize` as OpenCV does, and Caffe with it; bilinear only")

    def validate(self) -> None:
        if self.blob == self.label:
            raise ConfigError(f"LMDB: two blobs would be called '{self.blob}'")
        demand_scaling("LMDB", self._form_of((1, 1), "bgr"))

    @property
    def channels(self) -> str:
        form = self._form
        return "rgb" if form is None else form.color

    @property
    def _database(self) -> Database:
        found = database(self.path)
        if not len(found):
            raise file_error(found.path, "holds no records")
        return found

    @property
    def _form(self) -> ImageForm | None:
        """What images are; None where the samples are none."""
        first = self._database.datum(0)
        if first.encoded:
            return self._encoded_form(first)
        if self.size or self.resize or self.center_crop:
            message = "LMDB: size, resize and center_crop are for encoded images"
            raise ConfigError(f"{message}, the samples of {self.path} are raw {first.shape}", place=self.place)
        channels, height, width = first.shape
        if first.array.dtype != np.uint8 or channels not in COLORS.values():
            if self.color is not None:
                message = f"LMDB: color is for images, the samples of {self.path} are {first.array.dtype}"
                raise ConfigError(f"{message} with {channels} channels", place=self.place)
            return None
        color = self.color or ("gray" if channels == 1 else "bgr")
        if COLORS[color] != channels:
            message = f"LMDB: the raw samples of {self.path} have {channels} channels, which is not '{color}'"
            raise ConfigError(message, place=self.place, hint="only encoded images are converted; leave color out")
        return ImageForm((height, width), color)

    def _encoded_form(self, first: Datum) -> ImageForm:
        own = self.size or self.center_crop or (self.resize if isinstance(self.resize, tuple) else None)
        if own is None and self.resize is not None:
            raise ConfigError("LMDB: resize to a shorter side needs size, too", place=self.place)
        found = self._database
        try:
            image = decoded(bytes(first.data), None)
        except DataError as error:
            raise found.error(0, error) from None
        color = self.color or ("gray" if image.mode == "L" else "bgr")
        return self._form_of(own or (image.height, image.width), color)

    def _form_of(self, size: tuple[int, int], color: str) -> ImageForm:
        """What encoded images become."""
        return ImageForm(size, color, self.resize, self.center_crop, self.interpolation, self.antialias)

    def specs(self) -> dict[str, Spec]:
        form = self._form
        sample = Spec(self._database.datum(0).shape if form is None else form.shape)
        specs = {self.blob: sample}
        if self.label is not None:
            specs[self.label] = Spec((), role="index") if self.classes is None else index((), self.classes)
        return specs

    def count(self, part: str) -> int:
        return len(self._database)

    def read(self, part: str, progress: bool | None = None) -> dict[str, Any]:
        found, form = self._database, self._form
        rows = np.arange(len(found))
        samples: Lazy
        if form is None:
            first = found.datum(0)
            samples = Values(found, first.shape, first.array.dtype, rows)
        else:
            samples = Images(found, form, bool(self.size or self.resize or self.center_crop), rows)
        return {self.blob: samples, **({} if self.label is None else {self.label: found.labels})}

    def labels(self) -> dict[str, np.ndarray]:
        return {} if self.label is None else self.cut({self.label: self._database.labels})

    def normalised(self) -> list[tuple[str, ...]]:
        return [(self.blob,)]

    def reader(self) -> Reader:
        form = self._form
        return ArrayReader(self.specs()) if form is None else ImageReader(self.specs(), form, {}, self.blob)

    def read_files(self) -> list[str]:
        return [data_file(self.path)]
