"""What an imported net does with images before it sees them: from its data layers, or as its owner states it.

With it `layerforge predict DIR photo.jpg` works from the folder alone. Images are scaled to the size that the net was
trained on without antialiasing, as OpenCV does, and Caffe's tools with it; colours are in the order blue, green, red.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...config.scaling import Transform
from ...data.image_form import ImageForm
from ...data.image_reader import ImageReader
from ...data.kinds import Kind
from ...data.mean_image import read_mean_image
from ...data.transform import InputTransform
from ...net import Net
from ...schema.errors import ConfigError
from .. import signing
from .feeding import Feeding
from .model import Model

CHANNELS = {1: "gray", 3: "bgr"}
UNKNOWN = "net.yaml takes prepared arrays, no images, until --mean-file, --mean-value, --scale or --color are given"


@dataclass(frozen=True)
class Stated:
    """The preprocessing that the owner of a model states: y = (x - mean) scale.

    scale       factor; None: 1
    mean        subtracted before: one number, or one per channel in the order of the channels
    mean_file   a mean image in the place of that
    color       bgr, rgb or gray: the channels in their order; None: bgr, or gray where there is one
    """

    scale: float | None = None
    mean: tuple[float, ...] = ()
    mean_file: str | None = None
    color: str | None = None

    @property
    def anything(self) -> bool:
        """Whether the owner states anything."""
        return bool(self.options)

    @property
    def options(self) -> list[str]:
        """The options of the command that state something."""
        given = {"--mean-file": self.mean_file, "--mean-value": self.mean, "--color": self.color}
        found = [option for option, value in given.items() if value]
        return found if self.scale is None else [*found, "--scale"]

    def hold_for(self, one: Feeding) -> bool:
        """Let all this hold for the images of a data layer, and tell whether it is a source of images."""
        if not self.anything or one.feed is None or one.feed["type"] not in ("LMDB", "ImageList"):
            return False
        one.transform = _values(one.transform, self)
        if self.color is not None:
            one.feed["color"] = self.color
        return True


@dataclass(frozen=True)
class Preprocessing:
    """How images become an input of a net.

    blob       the input
    reader     what makes bytes of images
    transform  what makes numbers of bytes
    values     the same as a configuration has it
    """

    blob: str
    reader: ImageReader
    transform: InputTransform
    values: Mapping[str, Any]

    @property
    def told(self) -> dict[str, Any]:
        """For the report, with the mean as Caffe has it: subtracted before the scale."""
        form, scale = self.reader.form, self.values.get("scale", 1.0)
        made = {"images of": self.blob, "size": f"{form.size[0]} x {form.size[1]}", "channels": form.color}
        if self.transform.crop is not None:
            made["the middle of"] = "{} x {}".format(*self.transform.crop)
        if "mean_file" in self.values:
            made["mean file"] = self.values["mean_file"]
        if "mean" in self.values:
            made["mean value"] = ", ".join(f"{mean / scale:.9g}" for mean in np.atleast_1d(self.values["mean"]))
        return {**made, "scale": f"{scale:.9g}"}


def preprocessing_of(model: Model, stated: Stated) -> Preprocessing | None:
    """That of a model; None where it is not known, or no input is an image.

    Errors   ConfigError for a statement that does not fit the net; DataError for a mean image that cannot be read
    """
    feeding = next((one for one in model.feedings if one.transform), None)
    found = {name: section["shape"] for name, section in model.config.get("inputs", {}).items()}
    if feeding is None and not stated.anything:
        if (image := _image(found)) is not None:
            model.report.preprocessing |= {f"images of {image}": UNKNOWN}
        return None
    blob = feeding.tops[0] if feeding is not None else None
    name = model.first_version(blob) if blob is not None else _image(found)
    shape = found.get(name) if name is not None else None
    if name is None or shape is None or len(shape) != 4 or shape[1] not in CHANNELS:
        if stated.anything:
            told = ", ".join(f"{name} {shape}" for name, shape in found.items())
            raise ConfigError(f"no input of the net is an image of one or three channels: {told or 'none'}")
        return None
    values = _values(feeding.transform if feeding is not None else {}, stated)
    if feeding is not None and not stated.mean_file and not Path(values.get("mean_file", ".")).exists():
        model.report.notes.append(feeding.said(f"without its mean image {UNKNOWN}"))
        return None
    color = stated.color or CHANNELS[shape[1]]
    if (color == "gray") != (shape[1] == 1):
        raise ConfigError(f"--color {color}: the input '{name}' has {shape[1]} channel(s)")
    sides = tuple(shape[2:])
    stored = feeding.shape[1:] if feeding is not None and feeding.shape is not None else sides
    if stated.mean_file is not None:
        stored = read_mean_image(stated.mean_file).shape[1:]
    crop = None if stored == sides else (sides[0], sides[1])
    if any(have < want for have, want in zip(stored, sides, strict=True)):
        told = f"images of {stored[0]} x {stored[1]} are smaller than the net's input, {sides[0]} x {sides[1]}"
        raise ConfigError(told)
    size = (int(stored[0]), int(stored[1]))
    spec = Spec((shape[1], *size))
    transform = Transform.from_config({**values, "blobs": [name]})
    raw = {name: np.zeros((1, *spec.shape), np.uint8)}
    fitted = InputTransform.fit(transform, {name: spec}, [(name,)], raw, crop)
    fitted.kinds = {name: Kind("uint8", 0.0, 255.0, spec.shape)}
    form = ImageForm(size, color, resize=size, antialias=False)
    if feeding is not None:
        for key in feeding.transform:  # what holds is told with the rest
            model.report.preprocessing.pop(f"{blob}: {key}", None)
    return Preprocessing(name, ImageReader({name: spec}, form, {}, name), fitted, values)


def _image(inputs: Mapping[str, Sequence[int]]) -> str | None:
    """The input that is an image, where there is one alone."""
    images = [name for name, shape in inputs.items() if len(shape) == 4 and shape[1] in CHANNELS]
    return images[0] if len(images) == 1 else None


def _values(found: Mapping[str, Any], stated: Stated) -> dict[str, Any]:
    """The transform: what is stated stands in the place of what was found."""
    if not stated.anything:
        return dict(found)
    scale = stated.scale if stated.scale is not None else found.get("scale", 1.0)
    if stated.mean and stated.mean_file:
        raise ConfigError("--mean-value and --mean-file are both given", hint="leave one of them out")
    values = {"scale": scale}
    if stated.mean:
        numbers = [mean * scale for mean in stated.mean]
        values["mean"] = numbers[0] if len(numbers) == 1 else numbers
    elif stated.mean_file:
        values["mean_file"] = str(Path(stated.mean_file).absolute())
    elif "mean_file" in found:
        values["mean_file"] = found["mean_file"]
    elif "mean" in found:
        old = found.get("scale", 1.0)
        means = found["mean"]
        values["mean"] = [m / old * scale for m in means] if isinstance(means, list) else means / old * scale
    return values


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
