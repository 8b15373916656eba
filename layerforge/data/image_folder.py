"""ImageFolder: a folder of images, with a subfolder for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..arrays.spec import index
from ..schema.errors import DataError
from ..schema.params import FilePath, param
from ..schema.registry import register_source
from .files import file_error, reading
from .image_form import SUFFIXES
from .image_source import ImageSource, Listing
from .learned import unknown_class

PARTS = ("train", "val", "test")


@register_source
class ImageFolder(ImageSource):
    """A folder of images of any sizes: blobs `image` (C, h, w) bytes and `label`, the class that its subfolder names.

    Classes are numbered in the order of their names. Where the folder has subfolders train, val or test that are
    divided into classes themselves, these are the parts. JPEG, PNG, BMP, WebP, TIFF and GIF files count, in subfolders
    of a class too; hidden ones do not.
    """

    path: FilePath = param(help="the folder")

    @property
    def parts(self) -> tuple[str, ...]:  # type: ignore[override]
        """Train, and val and test where they are there, of a folder that has one of them; otherwise all.

        The part that the split names is one even where it is gone: a run is scored without its training images.
        """
        found = {part for part in PARTS if _has_classes(Path(getattr(self, "path", "")) / part)}
        if getattr(self, "split", None) and self.part in PARTS:
            found.add(self.part)
        return tuple(part for part in PARTS if part in found or part == "train") if found else ("all",)

    def listing(self, part: str) -> Listing:
        folder = Path(self.path) if part == "all" else Path(self.path) / part
        names = self._classes(folder)
        trained = self.trained.words["label"] if self.trained is not None else ()
        for name in names if trained else ():
            if name not in trained:
                raise file_error(folder / name, *unknown_class(name, trained))
        classes = trained or tuple(names)
        files: list[str] = []
        labels: list[int] = []
        for name in names:
            found = list(images_in(folder / name))
            if not found:
                raise self._without_images(folder / name)
            files += found
            labels += [classes.index(name)] * len(found)
        labelled = {"label": np.array(labels, np.int64)}
        return Listing(files, labelled, {"label": index((), len(classes))}, {"label": classes})

    def _classes(self, folder: Path) -> list[str]:
        """The names of the subfolders; DataError where there are none."""
        with reading(folder):
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        if names:
            return names
        if any(entry.name.lower().endswith(SUFFIXES) for entry in entries):
            hint = "put the images of each class into a subfolder of its name, or list them: type: ImageList"
            raise file_error(folder, "has images, but no subfolder for each class", hint)
        raise self._without_images(folder)

    @staticmethod
    def _without_images(folder: Path) -> DataError:
        return file_error(folder, "has no images", f"files that count end in {', '.join(SUFFIXES)}")


def _has_classes(folder: Path) -> bool:
    """Whether a folder has subfolders and no images: it is no class itself."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return False
    return any(e.is_dir() for e in entries) and not any(e.name.lower().endswith(SUFFIXES) for e in entries)


def images_in(folder: Path) -> Iterator[str]:
    """The image files in a folder and its subfolders, in the order of their names."""

    def refuse(problem: OSError) -> None:
        raise file_error(problem.filename or folder, f"cannot be read ({problem.strerror})")

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.join(place, name)
