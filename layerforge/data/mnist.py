"""MNIST and FashionMNIST: 28 x 28 grey images of ten classes, in IDX files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..arrays.spec import Spec, index
from ..schema.errors import DataError
from ..schema.registry import register_source
from . import fetch
from .files import file_error, shared
from .idx import idx_shape, read_idx
from .source import Source


class IdxImages(Source):
    """Base of the sets in MNIST's four files: an image file and a label file for train and for test."""

    parts = ("train", "test")
    published: ClassVar[dict[str, int]] = {"train": 60_000, "test": 10_000}
    files: ClassVar[fetch.DataSet]

    def specs(self) -> dict[str, Spec]:
        return {"image": Spec((1, 28, 28)), "label": index((), len(self.class_names))}

    def count(self, part: str) -> int | None:
        here = fetch.locate(self.files, self.files.parts[part][0])
        with suppress(DataError):  # reading it will say what is wrong
            return idx_shape(here[0])[0] or None if here else None
        return None

    def prepare(self, progress: bool | None = None) -> None:
        fetch.ensure(self.files, self.part, progress)

    def read(self, part: str, progress: bool | None = None) -> dict[str, np.ndarray]:
        (images,), (labels,) = fetch.ensure(self.files, part, progress)
        return read_labelled(images, labels, len(self.class_names))


@register_source
class MNIST(IdxImages):
    """MNIST's handwritten digits (LeCun, Cortes & Burges): blobs `image` (1, 28, 28) bytes and `label` 0 to 9.

    60,000 in `train`, 10,000 in `test`. Downloaded (12 MB) where the files are not here.
    """

    files = fetch.MNIST
    class_names = tuple("0123456789")


@register_source
class FashionMNIST(IdxImages):
    """Fashion-MNIST's articles of clothing (Xiao, Rasul & Vollgraf 2017), in MNIST's form; 31 MB."""

    files = fetch.FASHION_MNIST
    class_names = (
        "T-shirt/top", "trouser", "pullover", "dress", "coat",
        "sandal", "shirt", "sneaker", "bag", "ankle boot",
    )  # fmt: skip


REMEDY = "delete the file: it is downloaded again at the next start"


def _read(path: str) -> np.ndarray:
    return read_idx(path, REMEDY)


def read_labelled(images: Path, labels: Path, classes: int) -> dict[str, np.ndarray]:
    """Images (N, 1, 28, 28) and labels (N,) from two IDX files that belong together.

    Errors   DataError where a file is not what it should be, or the two do not match
    """
    pixels, numbers = shared(_read, images), shared(_read, labels)
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (28, 28):
        raise file_error(images, f"should hold images of 28 x 28 bytes, found {_form(pixels)}", REMEDY)
    if numbers.dtype != np.uint8 or numbers.ndim != 1:
        raise file_error(labels, f"should hold one byte per image, found {_form(numbers)}", REMEDY)
    if len(pixels) == 0:
        raise file_error(images, "holds no images", REMEDY)
    if len(pixels) != len(numbers):
        raise file_error(labels, f"holds {len(numbers)} labels, but {images.name} {len(pixels)} images", REMEDY)
    worst = int(numbers.argmax())
    if numbers[worst] >= classes:
        message = f"label {numbers[worst]} of image {worst} is out of range, classes are 0 to {classes - 1}"
        raise file_error(labels, message, REMEDY)
    return {"image": pixels[:, None], "label": numbers}


def _form(array: np.ndarray) -> str:
    return f"{' x '.join(map(str, array.shape))} {array.dtype}"
