"""What images become: one form for training, evaluation and prediction. Decoding and scaling are Pillow's.

Source     the meaning of resize and center_crop is that of Resize and CenterCrop of torchvision.transforms
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np

from ..config.augmentation import INTERPOLATIONS
from ..schema.errors import ConfigError, DataError
from ..schema.optional import require
from ..schema.params import parse_as
from .files import file_error, reading, size_of
from .linear_scaling import scaled

MOST_PIXELS = 1 << 26
MOST_BYTES = 1 << 29
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
COLORS = {"gray": 1, "rgb": 3, "bgr": 3}  # and how many channels they have
ORIENTATION = 0x0112  # the tag of EXIF that says how the camera was held
DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I")  # Pillow's modes of grey with more than 8 bits
GREY = ("1", "L", "LA", "La", "F", *DEEP)  # those without colours
SKIPPING = "; in training, on_error: skip leaves it out"
BLOCK = 1 << 20  # bytes that a decoder gets at once


@cache
def pillow() -> ModuleType:
    """Pillow's Image module; ConfigError with the line that installs it where it is missing."""
    require("PIL", extra="image", why="reading images")
    return require("PIL.Image", extra="image", why="reading images")


@dataclass(frozen=True)
class ImageForm:
    """What a decoded image becomes.

        1. resize       an integer: the shorter side becomes that long; [h, w]: exactly; null: nothing
        2. center_crop  the middle of [h, w], with 0 around where the image is smaller; null: nothing
        3. size         the middle of [h, w] likewise; without `resize` the largest middle of that shape is scaled to it

    color          gray, rgb or bgr: the channels in their order
    interpolation  between pixels; antialiased where the image becomes smaller
    antialias      false: not so, but as OpenCV scales, and Caffe with it; bilinear, and what `resize` says alone
    """

    size: tuple[int, int]
    color: str = "rgb"
    resize: int | tuple[int, int] | None = None
    center_crop: tuple[int, int] | None = None
    interpolation: str = "bilinear"
    antialias: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, h, w)"""
        return COLORS[self.color], *self.size

    @property
    def mode(self) -> str:
        """Pillow's name of the colours."""
        return "L" if self.color == "gray" else "RGB"

    @property
    def plain(self) -> dict[str, Any]:
        """As plain values, for a file."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """From what `plain` wrote. Errors   KeyError, TypeError or ValueError where it is something else"""
        height, width = parse_as(list[int], values["size"])
        resize, crop = values["resize"], values["center_crop"]
        if values["color"] not in COLORS or values["interpolation"] not in INTERPOLATIONS:
            raise ValueError
        return cls(
            (height, width),
            values["color"],
            resize if resize is None else parse_as(int | tuple[int, int], resize),
            crop if crop is None else parse_as(tuple[int, int], crop),
            values["interpolation"],
            parse_as(bool, values.get("antialias", True)),
        )

    def fitted(self, image: Any) -> Any:
        """An image of `mode` as one of `size`. Errors   DataError for one that would become too large on the way"""
        if self.resize is not None:
            image = self._resized(image, self.resize)
        if self.center_crop is not None:
            image = middle(image, self.center_crop)
        if self.resize is None and image.size != self.size[::-1]:
            ratio = max(self.size[0] / image.height, self.size[1] / image.width)
            width, height = (min(have, n / ratio) for have, n in zip(image.size, self.size[::-1], strict=True))
            left, top = (image.width - width) / 2, (image.height - height) / 2
            box = (left, top, min(left + width, image.width), min(top + height, image.height))
            return image.resize(self.size[::-1], resample(self.interpolation), box)
        return middle(image, self.size)

    def _resized(self, image: Any, size: int | tuple[int, ...]) -> Any:
        width, height = image.size
        if isinstance(size, int):
            short, long = min(width, height), max(width, height)
            longer = max(1, int(size * long / short))
            size = (longer, size) if height > width else (size, longer)
            if size[0] * size[1] > MOST_PIXELS:
                message = f"of {width} x {height} pixels would become {size[1]} x {size[0]}, allowed are {MOST_PIXELS}"
                raise DataError(message, hint="leave `resize` out, or give it as [height, width]")
        wanted = (size[1], size[0])
        if image.size == wanted:
            return image
        if not self.antialias:
            return pillow().fromarray(scaled(np.asarray(image), wanted[::-1]))
        return image.resize(wanted, resample(self.interpolation))

    def array(self, image: Any) -> np.ndarray:
        """The bytes (C, h, w) of an image of `mode`: a view."""
        return self.channels(np.asarray(image))

    def channels(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (h, w) or (h, w, C) of `mode` as (C, h, w) in the order of `color`: a view."""
        if pixels.ndim == 2:
            return pixels[None]
        return (pixels[..., ::-1] if self.color == "bgr" else pixels).transpose(2, 0, 1)


def demand_scaling(owner: str, form: ImageForm) -> None:
    """ConfigError where an image would be scaled otherwise than without antialiasing, though that is asked for."""
    if not form.antialias and (form.interpolation != "bilinear" or form.resize is None):
        hint = "give resize: [height, width], and leave interpolation out"
        raise ConfigError(f"{owner}: antialias: false is for bilinear scaling to `resize`", hint=hint)


def resample(interpolation: str) -> Any:
    """Pillow's constant of an interpolation."""
    return pillow().Resampling[interpolation.upper()]


def middle(image: Any, size: tuple[int, int]) -> Any:
    """The middle [h, w] of an image, with 0 around where it is smaller."""
    (height, width), (wide, high) = size, image.size
    if (wide, high) == (width, height):
        return image
    if wide < width or high < height:
        larger = (max(wide, width), max(high, height))
        framed = pillow().new(image.mode, larger)
        framed.paste(image, ((larger[0] - wide) // 2, (larger[1] - high) // 2))
        image, (wide, high) = framed, larger
    top, left = round((high - height) / 2), round((wide - width) / 2)
    return image.crop((left, top, left + width, top + height))


# Decoding -------------------------------------------------------------------------------------------------------------


def read_image(path: str | Path, mode: str, what: str = "", form: ImageForm | None = None) -> Any:
    """An image of a file: upright, and in Pillow's mode "L" or "RGB".

    form   what it is made to, where that is wanted
    what   how an error calls it besides, such as its position

    Errors   DataError for what is missing, no image, damaged, cut off, or too large to be decoded
    """
    size = size_of(path)
    if size > MOST_BYTES:
        raise file_error(path, f"{what}has {size} bytes, allowed are {MOST_BYTES}", "save it compressed, or smaller")
    with reading(path):
        content = Path(path).read_bytes()
    try:
        return decoded(content, mode) if form is None else form.fitted(decoded(content, form.mode))
    except DataError as error:
        raise file_error(path, f"{what}{error.message}", error.hint) from None


def decoded(content: bytes, mode: str | None) -> Any:
    """The image that the bytes of a file hold. Errors   those of `read_image`, without the file

    mode   None: "L" of a grey one, otherwise "RGB"
    """
    image_of = pillow()
    try:
        image = image_of.open(io.BytesIO(content), formats=FORMATS)
    except image_of.UnidentifiedImageError:
        kinds = ", ".join(FORMATS)
        raise DataError("is no image that can be read", hint=f"kinds that are read: {kinds}") from None
    except Exception as problem:  # what a damaged header leads to is anything
        raise _damaged(problem) from None
    width, height = image.size
    if width * height > MOST_PIXELS:
        message = f"has {width} x {height} pixels, allowed are {MOST_PIXELS}"
        raise DataError(message, hint="scale the image down first")
    try:
        image.decodermaxblock = BLOCK
        image.load()
        return in_mode(upright(image), mode or ("L" if image.mode in GREY else "RGB"))
    except DataError:
        raise
    except Exception as problem:
        raise _damaged(problem) from None


def _damaged(problem: Exception) -> DataError:
    words = " ".join(str(problem).split())[:200]
    hint = f"replace the file{SKIPPING}"
    return DataError(f"cannot be decoded: it is damaged or cut off ({words or type(problem).__name__})", hint=hint)


def upright(image: Any) -> Any:
    """The image as it was seen by whoever held the camera (EXIF); one whose EXIF is damaged stays as it is."""
    from PIL import ImageOps

    try:
        turned = image.getexif().get(ORIENTATION, 1)
    except Exception:
        return image
    return ImageOps.exif_transpose(image) if turned in range(2, 9) else image


def in_mode(image: Any, mode: str) -> Any:
    """An image in mode "L" or "RGB". 16 bits become 8; what is transparent lies on white.

    Errors   DataError for pixels that are neither bytes nor numbers of 16 bits
    """
    if image.mode == mode:
        return image if "transparency" not in image.info else _on_white(image, mode)
    if image.mode in DEEP:
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise DataError("holds numbers beyond 16 bits", hint="save it with 8 or 16 bits, or as an array: type: NPZ")
        return pillow().fromarray(in_bytes(values)).convert(mode)
    if image.mode == "F":
        raise DataError("holds floating-point numbers", hint="save it with 8 or 16 bits, or as an array: type: NPZ")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _on_white(image, mode)
    return image.convert(mode)


def in_bytes(values: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 65535 as the nearest ones from 0 to 255."""
    scaled = values.astype(np.uint32)
    scaled *= np.uint32(255)
    scaled += np.uint32(32767)
    scaled //= np.uint32(65535)
    return scaled.astype(np.uint8)


def _on_white(image: Any, mode: str) -> Any:
    clear = image.convert("RGBA")
    ground = pillow().new("RGBA", clear.size, (255, 255, 255, 255))
    return pillow().alpha_composite(ground, clear).convert(mode)
