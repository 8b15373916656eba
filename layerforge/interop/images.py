"""How images become an input of an imported net, as its owner states it: what the importers of all formats share.

With it `layerforge predict DIR photo.jpg` works from the folder alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.spec import Spec
from ..config.scaling import Transform
from ..data.image_form import ImageForm
from ..data.image_reader import ImageReader
from ..data.kinds import Kind
from ..data.mean_image import read_mean_image
from ..data.transform import InputTransform
from ..schema.errors import ConfigError

CHANNELS = (1, 3)
UNKNOWN = "net.yaml takes prepared arrays, no images, until --mean-file, --mean-value, --scale or --color are given"


@dataclass(frozen=True)
class Stated:
    """The preprocessing that the owner of a model states: y = (x - mean) scale.

    scale       factor; None: 1
    mean        subtracted before: one number, or one per channel in the order of the channels
    mean_file   a mean image in the place of that
    color       bgr, rgb or gray: the channels in their order; None: what is usual, or gray where there is one
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

    def values(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The transform: what is stated stands in the place of what was found."""
        if not self.anything:
            return dict(found)
        scale = self.scale if self.scale is not None else found.get("scale", 1.0)
        if self.mean and self.mean_file:
            raise ConfigError("--mean-value and --mean-file are both given", hint="leave one of them out")
        values = {"scale": scale}
        if self.mean:
            numbers = [mean * scale for mean in self.mean]
            values["mean"] = numbers[0] if len(numbers) == 1 else numbers
        elif self.mean_file:
            values["mean_file"] = str(Path(self.mean_file).absolute())
        elif "mean_file" in found:
            values["mean_file"] = found["mean_file"]
        elif "mean" in found:
            old = found.get("scale", 1.0)
            means = found["mean"]
            values["mean"] = [m / old * scale for m in means] if isinstance(means, list) else means / old * scale
        return values


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


def of_statement(inputs: Mapping[str, Sequence[int]], stated: Stated, order: str) -> Preprocessing | None:
    """That of a net of which nothing is known but what is stated; None where nothing is.

    inputs   their shapes, with the batch axis
    order    of the channels, where there are three and nothing is stated

    Errors   ConfigError for a statement that does not fit the net; DataError for a mean image that cannot be read
    """
    if not stated.anything:
        return None
    name = demand_image(inputs, image_of(inputs))
    return prepared(name, inputs[name], stated.values({}), stated, order, antialias=True)


def image_of(inputs: Mapping[str, Sequence[int]]) -> str | None:
    """The input that is an image, where there is one alone."""
    images = [name for name, shape in inputs.items() if is_image(shape)]
    return images[0] if len(images) == 1 else None


def is_image(shape: Sequence[int] | None) -> bool:
    """Whether an input of a shape, with its batch axis, is an image of one or three channels."""
    return shape is not None and len(shape) == 4 and shape[1] in CHANNELS


def demand_image(inputs: Mapping[str, Sequence[int]], name: str | None) -> str:
    """The name of an input that is an image. Errors   ConfigError where it is none"""
    if name is None or not is_image(inputs.get(name)):
        told = ", ".join(f"{name} {list(shape)}" for name, shape in inputs.items())
        raise ConfigError(f"no input of the net is an image of one or three channels: {told or 'none'}")
    return name


def prepared(
    name: str,
    shape: Sequence[int],
    values: Mapping[str, Any],
    stated: Stated,
    order: str,
    stored: Sequence[int] | None = None,
    antialias: bool = False,
) -> Preprocessing:
    """The preprocessing of the images of an input.

    shape       of the input, with its batch axis
    values      the transform
    order       of the channels, where there are three and nothing is stated
    stored      height and width of the images, of which the net takes the middle; None: those of the input
    antialias   as Pillow scales images down; otherwise as OpenCV does

    Errors   ConfigError for a statement that does not fit the net; DataError for a mean image that cannot be read
    """
    color = stated.color or ("gray" if shape[1] == 1 else order)
    if (color == "gray") != (shape[1] == 1):
        raise ConfigError(f"--color {color}: the input '{name}' has {shape[1]} channel(s)")
    sides = tuple(shape[2:])
    stored = sides if stored is None else tuple(stored)
    if stated.mean_file is not None:
        stored = _sides_of_mean(stated.mean_file, name, shape)
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
    form = ImageForm(size, color, resize=size, antialias=antialias)
    return Preprocessing(name, ImageReader({name: spec}, form, {}, name), fitted, values)


def _sides_of_mean(path: str, name: str, shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of a mean image. Errors   ConfigError where it has other channels than the input"""
    channels, height, width = read_mean_image(path).shape
    if channels != shape[1]:
        told = f"the mean image in {path} has {channels} channel(s), the input '{name}' has {shape[1]}"
        raise ConfigError(told, hint="give the mean image of the net's own training data, or --mean-value")
    return height, width
