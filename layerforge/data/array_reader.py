"""Arrays as inputs: of IDX, NPY, NPZ, HDF5, CSV and PNG files, and of Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..arrays.backend import NUMPY
from ..arrays.spec import Spec, parse_specs
from ..schema.errors import ConfigError, DataError, LayerForgeError
from ..schema.locations import Place
from ..schema.params import parse_as
from .files import file_error
from .idx import read_idx
from .image_form import SUFFIXES
from .kinds import Kind
from .png import read_png
from .reader import Blobs, Reader, demand_blobs, demand_values, of_blob
from .rows import WITHOUT_KEYS, read_layout, read_numbers
from .source import check_array

GREY = np.array([299, 587, 114])  # thousandths of red, green and blue in luminance (ITU-R BT.601)


AT_IMPORT = "say so at import with --scale, --mean-value, --mean-file or --color"  # of both formats
HDF5 = (".h5", ".hdf5", ".hdf")  # suffixes


class ArrayReader(Reader):
    """Raw samples of arrays. Bytes stay bytes, and values are those of the training data before its transform.

        .png               one image of exactly the height and width; grey and colour are converted into each other
        .npy               the array
        .npz, .h5          the array that `names` says is the blob, or that is called like it, or the only one
                           (of a sparse blob the matrix that scipy.sparse.save_npz wrote)
        .csv               a line per sample, its values in order; a header line is skipped
        IDX (any name)     as MNIST's image files, also .gz

    A table of whole numbers from 0 to 255 is one of bytes where training saw bytes. What holds one sample needs no axis
    of samples, and an axis of one channel may be missing. Images of Python may have their channels last, as cameras
    and Pillow give them.

    names    what the blobs are called in files, where that is not their own name
    images   whether an image is what the net sees as it is; where it is not, and nothing says what it would become,
             images are refused, in files and in Python, and so are integers, which raw pixels are
    """

    kind = "array"

    def __init__(
        self, specs: Mapping[str, Spec], names: Mapping[str, str] | None = None, *, images: bool = True
    ) -> None:
        super().__init__(specs)
        self.names = dict(names or {})
        self.images = images

    def plain(self) -> dict[str, Any]:
        return {**super().plain(), "names": self.names, **({} if self.images else {"images": False})}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        names = {str(k): str(v) for k, v in dict(values["names"]).items()}
        return cls(parse_specs(values["blobs"]), names, images=parse_as(bool, values.get("images", True)))

    def read(self, path: Path, blobs: Sequence[str], seen: Mapping[str, Kind]) -> Blobs:
        demand_blobs(self, blobs)
        return {blob: self._of_file(path, blob, seen.get(blob)) for blob in blobs}

    def convert(self, value: Any, blobs: Sequence[str], seen: Mapping[str, Kind]) -> tuple[Blobs, bool]:
        if len(blobs) == 1 and (samples := self.plain_sample(value, blobs[0])) is not None:
            return {blobs[0]: samples}, True
        demand_blobs(self, blobs)
        if isinstance(value, (list, tuple)) and value and all(isinstance(one, Mapping) for one in value):
            value = in_columns(value)
        demand_values(value, blobs, self.specs)
        each = {blob: self._of_object(of_blob(value, blob), blob, seen.get(blob)) for blob in blobs}
        return {blob: samples for blob, (samples, _) in each.items()}, all(single for _, single in each.values())

    # Files ------------------------------------------------------------------------------------------------------------

    def _of_file(self, path: Path, blob: str, seen: Kind | None) -> Any:
        spec = self.specs[blob]
        if not self.images and path.suffix.lower() in SUFFIXES:
            raise _unprepared("is an image", blob, Place(str(path), 0, 0))
        if path.suffix.lower() == ".png":
            return _image(path, spec)
        try:
            array = self._stored(path, blob, spec)
        except LayerForgeError as error:
            error.hint = WITHOUT_KEYS.get(error.hint or "", error.hint)
            raise
        if path.suffix.lower() != ".csv":
            self._demand_prepared(array, blob, Place(str(path), 0, 0))
        samples = array if spec.sparse else _as_samples(str(path), array, spec)
        if not len(samples):
            raise file_error(path, "holds no samples")
        return checked(str(path), spec, samples, seen if path.suffix.lower() == ".csv" else None)

    def _stored(self, path: Path, blob: str, spec: Spec) -> Any:
        """What a file that is no image holds for a blob."""
        kind = path.suffix.lower()
        if spec.sparse:
            return _sparse(path, blob, spec)
        if kind == ".npz":
            from .npz import npz_input

            return npz_input(path, blob, self.names)
        if kind == ".npy":
            from .npy import read_npy

            return read_npy(str(path))
        if kind in HDF5:
            from .hdf5 import hdf5_input

            return hdf5_input(path, blob, self.names)
        if kind == ".csv":
            layout = read_layout(str(path))
            return read_numbers(str(path), ",", layout, list(range(len(layout.names))))
        if kind in (".gz", "", ".idx") or "ubyte" in path.name:
            return read_idx(path)
        raise file_error(path, f"'{kind}' is no kind of input", "give an IDX, .npy, .npz, .h5, .csv or .png file")

    # Objects ----------------------------------------------------------------------------------------------------------

    def plain_sample(self, value: Any, blob: str) -> np.ndarray | None:
        if type(value) is not np.ndarray or blob not in self.specs:
            return None
        spec, kind = self.specs[blob], value.dtype.kind
        if value.shape != spec.shape or not spec.shape or not spec.is_real or spec.sparse:
            return None
        if kind != "f":
            self._demand_prepared(value, blob)
        if kind == "u" or (kind in "if" and np.isfinite(value).all()):
            return value[None]
        return None

    def _of_object(self, value: Any, blob: str, seen: Kind | None) -> tuple[Any, bool]:
        """Samples of one blob, and whether it is a single one."""
        if isinstance(value, (str, Path)):
            return self._of_file(Path(value), blob, seen), Path(value).suffix.lower() == ".png"
        if not self.images and hasattr(value, "getbands"):  # of Pillow
            raise _unprepared("an image was given", blob)
        if isinstance(value, (list, tuple)) and value and not np.isscalar(value[0]):
            return np.concatenate([self._of_object(one, blob, seen)[0] for one in value]), False
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], str):
            return np.concatenate([self._of_file(Path(one), blob, seen) for one in value]), False
        spec, who = self.specs[blob], f"input '{blob}'"
        if spec.sparse:
            return NUMPY.csr_from(who, value, spec.shape[0], "float64"), False
        array = as_numbers(who, value)
        if not isinstance(value, (list, tuple, int)):  # numbers as they are written have no dtype
            self._demand_prepared(array, blob)
        array, single = with_channels_first(array, spec)
        return checked(who, spec, _as_samples(who, array, spec), None), single

    def _demand_prepared(self, array: Any, blob: str, place: Place | None = None) -> None:
        """Refuse integers, most often raw pixels, where nothing says what the net sees of them."""
        spec = self.specs[blob]
        if self.images or not spec.is_real or spec.sparse or array.dtype.kind not in "iu":
            return
        image = spec.ndim == 3 and spec.shape[0] in (1, 3)
        known = f"; or {AT_IMPORT}, and give images" if image else ""
        hint = f"give samples as the net sees them, as float32: scaled as in training where that scaled them{known}"
        told = f"input '{blob}' is given as {array.dtype}, and how that becomes the net's samples is not known"
        raise ConfigError(told, place=place, hint=hint)


def _unprepared(told: str, blob: str, place: Place | None = None) -> ConfigError:
    """The error for an image where nothing is known of what the net sees of it."""
    hint = f"{AT_IMPORT}; or give prepared arrays: .npy, .npz"
    return ConfigError(f"{told}, and how images become the input '{blob}' is not known", place=place, hint=hint)


def as_numbers(who: str, value: Any) -> np.ndarray:
    """An array of what has one: lists, images, frames, tensors. DataError where these are no numbers."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(f"{who} has masked elements", hint="fill them in: array.filled(value)")
    try:
        array = np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value)
    except (TypeError, ValueError, RuntimeError) as problem:  # a ragged list, or a tensor of another device
        raise DataError(f"{who} is no array: {str(problem)[:200]}", hint="give arrays of one shape") from None
    if array.dtype.kind not in "fiub":
        found = type(value).__name__ if array.dtype == object else array.dtype
        raise DataError(f"{who} must hold numbers, got {found}")
    return array


def in_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Samples that are mappings as one mapping of lists. DataError where they have not all the same keys."""
    keys = list(rows[0])
    for number, row in enumerate(rows):
        if set(row) != set(keys):
            raise DataError(f"sample {number} has {', '.join(map(str, row))}, sample 0 has {', '.join(map(str, keys))}")
    return {key: [row[key] for row in rows] for key in keys}


def _sparse(path: Path, blob: str, spec: Spec) -> Any:
    from .sparse_npz import csr_input

    if path.suffix.lower() == ".npz":
        return csr_input(path, blob, spec.shape[0])
    hint = "give a .npz file of a CSR matrix"
    raise file_error(path, f"'{path.suffix.lower()}' is no kind of sparse input", hint)


def checked(owner: str, spec: Spec, samples: np.ndarray, seen: Kind | None) -> np.ndarray:
    """Blobs whose whole numbers are indices or bytes where they are meant to be; DataError where they do not fit."""
    if not spec.is_real and samples.dtype.kind == "f" and (samples == np.floor(samples)).all():
        samples = samples.astype(np.int64)  # a table of whole numbers
    check_array(owner, spec, samples)
    if seen is not None and seen.is_bytes and _are_bytes(samples):
        samples = samples.astype(np.uint8)
    return samples


def _are_bytes(samples: np.ndarray) -> bool:
    """Whether numbers are whole and from 0 to 255; nothing but 0 and 1 may as well be pixels that were scaled."""
    whole = (samples == np.floor(samples)).all() and samples.min() >= 0
    return bool(whole and (1 < samples.max() <= 255 or samples.max() == 0))


def _as_samples(owner: str, array: np.ndarray, spec: Spec) -> np.ndarray:
    """The array with an axis of samples in front, where that is only a matter of axes of one."""
    squeezed = tuple(n for n in spec.shape if n != 1)
    if array.shape == spec.shape or (array.shape == squeezed and array.ndim == spec.ndim - 1):
        return array.reshape(1, *spec.shape)
    inner = array.shape[1:]
    if inner == spec.shape or tuple(n for n in inner if n != 1) == squeezed or inner == (spec.size,):
        return array.reshape(-1, *spec.shape)
    raise file_error(owner, f"has the shape {array.shape}, samples of the shape {spec.shape} are expected")


def with_channels_first(array: np.ndarray, spec: Spec) -> tuple[np.ndarray, bool]:
    """Images whose channels are last as (..., C, H, W), and whether an array is a single sample."""
    if spec.ndim == 3 and array.ndim in (2, 3, 4):
        channels, *size = spec.shape
        last = (*size, channels)
        if array.shape[-3:] != spec.shape and array.shape[-3:] == last:
            array = np.moveaxis(array, -1, -3)
        elif array.shape == tuple(size):
            array = array[None].repeat(channels, axis=0)
    squeezed = tuple(n for n in spec.shape if n != 1)
    return array, array.shape == spec.shape or (array.shape == squeezed and array.ndim == spec.ndim - 1)


def _image(path: Path, spec: Spec) -> np.ndarray:
    if spec.ndim not in (2, 3) or not spec.is_real or (spec.ndim == 3 and spec.shape[0] not in (1, 3)):
        raise file_error(path, f"is an image, but the net reads samples of shape {spec.shape}")
    height, width = spec.shape[-2:]
    image = read_png(path, (height, width))
    channels = spec.shape[0] if spec.ndim == 3 else 1
    if channels == 1 and len(image) == 3:
        grey = np.tensordot(GREY, image.astype(np.int64), 1)
        image = ((grey + 500) // 1000).astype(np.uint8)[None]
    elif channels == 3 and len(image) == 1:
        image = image.repeat(3, axis=0)
    return image.reshape(1, *spec.shape)
