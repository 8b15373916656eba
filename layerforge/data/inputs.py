"""Inputs of `predict`: samples without labels, from IDX, NPZ, CSV, PNG or svmlight files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.spec import Spec
from ..schema.errors import LayerForgeError
from .files import file_error
from .idx import read_idx
from .kinds import Kind
from .npz import npz_input
from .png import read_png
from .rows import WITHOUT_KEYS, read_layout, read_numbers
from .source import Source, check_array

GREY = np.array([299, 587, 114])  # thousandths of red, green and blue in luminance (ITU-R BT.601)


def read_inputs(
    path: str | Path, spec: Spec, blob: str = "image", source: Source | None = None, seen: Kind | None = None
) -> np.ndarray:
    """Raw samples (N, ...) for a blob whose samples are like `spec` (no batch axis), still to be transformed.

    Bytes stay bytes. Values are those of the training data before its transform: 0 to 255 for pixels.
        .png               one image of exactly the height and width; grey and colour are converted into each other
        .npz               the array named like the blob, or the only one
                           (of a sparse blob the matrix that scipy.sparse.save_npz wrote)
        .csv               a line per sample, its values in order; a header line is skipped
        IDX (any name)     as MNIST's image files, also .gz
    `source`, that of the training data, reads files of its own kind as it read those: a table by its columns' names,
    arrays by the names that its `blobs` gives them; one that trained on HDF5 takes .h5 files, too.
    `seen` says what training saw: a table of whole numbers from 0 to 255 is one of bytes where training saw bytes.
    A file of one sample needs no axis of samples, and an axis of one channel may be missing.

    Errors   DataError where the file cannot be read or its samples have another shape
    """
    path = Path(path)
    if path.suffix.lower() == ".png":
        return _image(path, spec)
    try:
        array = _array(path, blob, source, spec)
    except LayerForgeError as error:
        error.hint = WITHOUT_KEYS.get(error.hint or "", error.hint)
        raise
    samples = array if spec.sparse else _as_samples(path, array, spec)
    if not len(samples):
        raise file_error(path, "holds no samples")
    if not spec.is_real and samples.dtype.kind == "f" and (samples == np.floor(samples)).all():
        samples = samples.astype(np.int64)  # a table of whole numbers
    check_array(str(path), spec, samples)
    if seen is not None and seen.is_bytes and path.suffix.lower() == ".csv" and _are_bytes(samples):
        samples = samples.astype(np.uint8)
    return samples


def _array(path: Path, blob: str, source: Source | None, spec: Spec) -> Any:
    """What a file that is no image holds for a blob."""
    kind = path.suffix.lower()
    if source is not None and (known := source.inputs_of(path, blob)) is not None:
        return known
    if spec.sparse:
        raise file_error(path, f"'{kind}' is no kind of sparse input", "give a file as training's, or a .npz of CSR")
    if kind == ".npz":
        return npz_input(path, blob)
    if kind == ".csv":
        layout = read_layout(str(path))
        return read_numbers(str(path), ",", layout, list(range(len(layout.names))))
    if kind in (".gz", "", ".idx") or "ubyte" in path.name:
        return read_idx(path)
    raise file_error(path, f"'{kind}' is no kind of input", "give an IDX, .npz, .csv or .png file")


def _are_bytes(samples: np.ndarray) -> bool:
    """Whether numbers are whole and from 0 to 255; nothing but 0 and 1 may as well be pixels that were scaled."""
    whole = (samples == np.floor(samples)).all() and samples.min() >= 0
    return bool(whole and (1 < samples.max() <= 255 or samples.max() == 0))


def _as_samples(path: Path, array: np.ndarray, spec: Spec) -> np.ndarray:
    """The array with an axis of samples in front, where that is only a matter of axes of one."""
    squeezed = tuple(n for n in spec.shape if n != 1)
    if array.shape == spec.shape or (array.shape == squeezed and array.ndim == spec.ndim - 1):
        return array.reshape(1, *spec.shape)
    inner = array.shape[1:]
    if inner == spec.shape or tuple(n for n in inner if n != 1) == squeezed or inner == (spec.size,):
        return array.reshape(-1, *spec.shape)
    raise file_error(path, f"has the shape {array.shape}, samples of the shape {spec.shape} are expected")


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
