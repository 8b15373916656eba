"""Mean images: arrays of the shape of a sample that are subtracted from each, such as compute_image_mean makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .datum import parse_blob
from .files import file_error, reading, size_of
from .npy import read_npy

NPY_MAGIC = b"\x93NUMPY"
MOST_BYTES = 1 << 29


def read_mean_image(path: str) -> np.ndarray:
    """The mean image (C, H, W) of a .binaryproto (BlobProto) or .npy file, as it is stored.

    Errors   DataError for another file, and for an array that is no finite image
    """
    size = size_of(path)
    if size > MOST_BYTES:
        raise file_error(path, f"has {size} bytes, a mean image has at most {MOST_BYTES}")
    with reading(path):
        content = Path(path).read_bytes()
    image = read_npy(path) if content.startswith(NPY_MAGIC) else parse_blob(content, path)
    if image.ndim == 4 and len(image) == 1:
        image = image[0]
    if image.ndim != 3 or not image.size or image.dtype.kind not in "biuf":
        hint = "a mean image is one array of numbers: channels, height, width"
        raise file_error(path, f"holds {image.dtype} {image.shape}, no mean image", hint)
    if not np.isfinite(image).all():
        raise file_error(path, "holds a value that is not finite")
    return image
