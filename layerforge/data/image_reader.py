"""Images as inputs: files of any size and colours, Pillow's images, and arrays as cameras give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..arrays.spec import Spec, parse_specs
from ..schema.errors import DataError
from ..schema.params import parse_as
from .array_reader import ArrayReader
from .image_form import SUFFIXES, ImageForm, in_bytes, in_mode, pillow, read_image, upright
from .kinds import Kind
from .reader import Blobs, Reader, demand_blobs, demand_values, of_blob

IMAGE = "image"  # the blob of the pixels, unless it has another name
CHANNELS = (1, 3, 4)  # of an array whose channels are last: grey, colours, colours and how opaque


class ImageReader(Reader):
    """A blob (C, h, w) of bytes: whatever the size and the colours, an image becomes what training's images were.

    form    size, colours and scaling
    words   of each label that has words, these by number
    blob    that of the pixels
    named   the names of the values of `target`
    """

    kind = "image"

    def __init__(
        self,
        specs: Mapping[str, Spec],
        form: ImageForm,
        words: Mapping[str, Sequence[str]],
        blob: str = IMAGE,
        named: Sequence[str] = (),
    ) -> None:
        super().__init__(specs)
        self.form = form
        self.blob = blob
        self.words = {name: tuple(each) for name, each in words.items()}
        self.named = tuple(named)

    @property
    def targets(self) -> tuple[str, ...]:
        return self.named

    def plain(self) -> dict[str, Any]:
        words = {name: list(each) for name, each in self.words.items()}
        return {
            **super().plain(),
            "form": self.form.plain,
            "words": words,
            "blob": self.blob,
            "targets": list(self.named),
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        words = parse_as(dict[str, list[str]], values["words"])
        specs, blob = parse_specs(values["blobs"]), str(values.get("blob", IMAGE))
        if blob not in specs:
            raise ValueError(blob)
        named = parse_as(list[str], values.get("targets", []))
        return cls(specs, ImageForm.parse(values["form"]), words, blob, named)

    def read(self, path: Path, blobs: Sequence[str], seen: Mapping[str, Kind]) -> Blobs:
        """The image of a file; of a .npz, .h5 or IDX file images that have training's size already."""
        self._demand(blobs)
        if path.suffix.lower() not in SUFFIXES and path.suffix:
            return ArrayReader(self.specs).read(path, blobs, seen)
        return {self.blob: self.form.array(read_image(path, self.form.mode, form=self.form))[None]}

    def convert(self, value: Any, blobs: Sequence[str], seen: Mapping[str, Kind]) -> tuple[Blobs, bool]:
        """Of a path, an image of Pillow, an array, or a list of these.

        Arrays hold bytes: (H, W), (H, W, 1), (H, W, 3) in red, green and blue, or (H, W, 4), of any size, or several of
        one size along a first axis; or (C, h, w) exactly as the samples of training, channels in their order.
        """
        self._demand(blobs)
        demand_values(value, blobs, self.specs)
        images, single = self._of_object(of_blob(value, self.blob), seen)
        return {self.blob: images}, single

    def _demand(self, blobs: Sequence[str]) -> None:
        demand_blobs(self, blobs)
        for name in blobs:
            if name != self.blob:
                raise DataError(f"an image does not hold '{name}'", hint=f"predict from `{self.blob}` alone")

    def _formed(self, image: Any) -> np.ndarray:
        return self.form.array(self.form.fitted(image))

    def _of_object(self, value: Any, seen: Mapping[str, Kind]) -> tuple[np.ndarray, bool]:
        if isinstance(value, (str, Path)):
            path = Path(value)
            return self.read(path, [self.blob], seen)[self.blob], path.suffix.lower() in SUFFIXES
        if isinstance(value, pillow().Image):
            return self._formed(in_mode(upright(value), self.form.mode))[None], True
        if hasattr(value, "dtype") and getattr(value.dtype, "kind", "") in "OUT":  # paths in an array or a frame
            value = list(value)
        if isinstance(value, (list, tuple)) and value and (isinstance(value[0], str) or not np.isscalar(value[0])):
            return np.concatenate([self._of_object(one, seen)[0] for one in value]), False
        if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
            raise DataError("an image has masked elements", hint="fill them in: array.filled(value)")
        return self._of_array(np.asarray(value))

    def _of_array(self, array: np.ndarray) -> tuple[np.ndarray, bool]:
        shape = self.form.shape
        if array.dtype == np.uint16:
            array = in_bytes(array)
        if array.dtype != np.uint8:
            hint = "give them as uint8, in red, green and blue"
            raise DataError(f"an image must hold whole numbers from 0 to 255, got {array.dtype}", hint=hint)
        if not array.size:
            raise DataError(f"there are no pixels in an array of the shape {array.shape}")
        if array.shape[-3:] == shape and array.ndim in (3, 4):
            return array.reshape(-1, *shape), array.ndim == 3
        single = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in CHANNELS)
        several = (array.ndim == 4 and array.shape[-1] in CHANNELS) or (array.ndim == 3 and self.form.color == "gray")
        if not single and not several:
            message = f"an array of the shape {array.shape} is no image (H, W), (H, W, 3) or (H, W, 4), and no {shape}"
            raise DataError(message, hint="move the axis of the channels to the end")
        images = [array] if single else list(array)
        return np.stack([self._of_pixels(image) for image in images]), single

    def _of_pixels(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.ndim == 3 and pixels.shape[-1] == 1:
            pixels = pixels[..., 0]
        image = pillow().fromarray(np.ascontiguousarray(pixels))
        return self._formed(in_mode(image, self.form.mode))
