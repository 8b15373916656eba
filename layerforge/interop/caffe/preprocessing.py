"""What an imported net does with images before it sees them: from its data layers, or as its owner states it.

Images are scaled to the size that the net was trained on without antialiasing, as OpenCV does, and Caffe's tools with
it; colours are in the order blue, green, red.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...net import Net
from .. import signing
from ..images import UNKNOWN, Preprocessing, Stated, demand_image, image_of, is_image, prepared
from .feeding import Feeding
from .model import Model

ORDER = "bgr"


def hold_for(stated: Stated, one: Feeding) -> bool:
    """Let a statement hold for the images of a data layer, and tell whether it is a source of images."""
    if not stated.anything or one.feed is None or one.feed["type"] not in ("LMDB", "ImageList"):
        return False
    one.transform = stated.values(one.transform)
    if stated.color is not None:
        one.feed["color"] = stated.color
    return True


def preprocessing_of(model: Model, stated: Stated) -> Preprocessing | None:
    """That of a model; None where it is not known, or no input is an image.

    Errors   ConfigError for a statement that does not fit the net; DataError for a mean image that cannot be read
    """
    feeding = next((one for one in model.feedings if one.transform), None)
    found = {name: section["shape"] for name, section in model.config.get("inputs", {}).items()}
    if feeding is None and not stated.anything:
        if (image := image_of(found)) is not None:
            model.report.preprocessing |= {f"images of {image}": UNKNOWN}
        return None
    blob = feeding.tops[0] if feeding is not None else None
    name = model.first_version(blob) if blob is not None else image_of(found)
    if not stated.anything and (name is None or not is_image(found.get(name))):
        return None
    name = demand_image(found, name)
    values = stated.values(feeding.transform if feeding is not None else {})
    if feeding is not None and not stated.mean_file and not Path(values.get("mean_file", ".")).exists():
        model.report.notes.append(feeding.said(f"without its mean image {UNKNOWN}"))
        return None
    stored = feeding.shape[1:] if feeding is not None and feeding.shape is not None else None
    made = prepared(name, found[name], values, stated, ORDER, stored)
    if feeding is not None:
        for key in feeding.transform:  # what holds is told with the rest
            model.report.preprocessing.pop(f"{blob}: {key}", None)
    return made


def signed(model: Model, net: Net, made: Preprocessing | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a net for a file of weights, and what the file says of it: with how images become its input.

    Where that is not known arrays are taken as the net sees them, and images are refused. Labels are said to be
    indices, as the data sections of train.yaml give them.
    """
    labels = {
        model.first_version(one.tops[1]) for one in model.feedings if one.feed and one.feed.get("label") is not None
    }
    if made is None:
        return signing.signed(net, labels=labels)
    return signing.signed(net, made.reader, made.transform, labels)
