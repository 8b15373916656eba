"""`augment:` of data.train: random changes of images, declared. Names and meanings are those of torchvision."""

from __future__ import annotations

from typing import Annotated, Any, Self, TypeAlias

from ..schema.errors import ConfigError
from ..schema.params import Pair, param, parse_as
from .data_mapping import DataMapping

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


class RandomCrop(DataMapping):
    """A window at a random place of the image, which is first padded with zeros on all sides."""

    noun = "random_crop"
    description = "the padding in pixels, or {size:, padding:}"

    size: Pair | None = param(None, help="height and width of the window; null: those of the image", ge=1)
    padding: Pair = param(0, help="zeros added on each side", ge=0)

    @classmethod
    def parse(cls, value: Any) -> Self:
        """As a section, or from a bare padding."""
        return super().parse({"padding": value} if isinstance(value, (int, list, tuple)) else value)

    def validate(self) -> None:
        if self.size is None and self.padding == (0, 0):
            raise ConfigError("random_crop changes nothing without size or padding", hint="example: random_crop: 4")


class RangeRule:
    """The rule for the two ends of a range, the smaller one first."""

    description = "a pair [smallest, largest]"

    @staticmethod
    def parse(value: Any) -> tuple[float, float]:
        low, high = parse_as(tuple[float, float], value)
        if low > high:
            raise ConfigError(f"a range goes from its smaller end to its larger one, got {[low, high]}")
        return low, high


class AnglesRule(RangeRule):
    """The rule for a range that may be written as its larger end d, for [-d, d]."""

    description = "an angle > 0 or a pair [smallest, largest]"

    @staticmethod
    def parse(value: Any) -> tuple[float, float]:
        if isinstance(value, (list, tuple)):
            return RangeRule.parse(value)
        angle = parse_as(float, value)
        if angle <= 0:
            raise TypeError
        return -angle, angle


Range: TypeAlias = Annotated[tuple[float, float], RangeRule]
Angles: TypeAlias = Annotated[tuple[float, float], AnglesRule]


class RandomResizedCrop(DataMapping):
    """A piece of the image of random area and shape, scaled to the size of a sample."""

    noun = "random_resized_crop"
    description = "true, the height and width, or {size:, scale:, ratio:, interpolation:}"

    size: Pair | None = param(None, help="height and width that it is scaled to; null: those of the samples", ge=1)
    scale: Range = param((0.08, 1.0), help="area of the piece, as a share of the image's", gt=0, le=1)
    ratio: Range = param((3 / 4, 4 / 3), help="width / height of the piece", gt=0)
    interpolation: str = param("bilinear", help="between pixels, antialiased", choices=INTERPOLATIONS)

    @classmethod
    def parse(cls, value: Any) -> Self:
        """As a section, from a bare size, or from true."""
        if value is True:
            value = {}
        return super().parse({"size": value} if isinstance(value, (int, list, tuple)) else value)


class RandomRotation(DataMapping):
    """A rotation around the middle of the image, which keeps its size; 0 where nothing was."""

    noun = "rotation"
    description = "the largest angle in degrees, or {degrees: [smallest, largest], interpolation:}"

    degrees: Angles = param(help="angles, counter-clockwise: [smallest, largest]; one number d: [-d, d]")
    interpolation: str = param("bilinear", help="between pixels", choices=INTERPOLATIONS[:3])

    @classmethod
    def parse(cls, value: Any) -> Self:
        """As a section, or from a bare angle."""
        return super().parse({"degrees": value} if isinstance(value, (int, float, list, tuple)) else value)


class ColorJitter(DataMapping):
    """Brightness, contrast, saturation and hue, each changed by a random factor (hue: added), in random order.

    A number b means a factor from max(0, 1 - b) to 1 + b, of hue h a part of the circle of colours from -h to h.
    """

    noun = "color_jitter"
    description = "{brightness:, contrast:, saturation:, hue:}"

    brightness: float = param(0.0, help="largest change of the factor of all values", ge=0)
    contrast: float = param(0.0, help="largest change of the factor of the distance from the mean", ge=0)
    saturation: float = param(0.0, help="largest change of the factor of the distance from grey", ge=0)
    hue: float = param(0.0, help="largest part of the circle of colours that is added", ge=0, le=0.5)

    def validate(self) -> None:
        if not any((self.brightness, self.contrast, self.saturation, self.hue)):
            raise ConfigError("color_jitter changes nothing", hint="example: color_jitter: {brightness: 0.2}")


class Augment(DataMapping):
    """Random changes of the training images, before the transform; what moves in from outside is 0.

    They come in this order: random_resized_crop, rotation, color_jitter, random_crop, shift, flip; and of whole
    batches, after the transform, mixup and cutmix (of both, one by chance). All images of a sample are changed alike.
    Val and test get the middle of the image where one of the crops has a size.
    """

    noun = "augment"

    random_resized_crop: RandomResizedCrop | None = param(None, help="true, a size, or {size:, scale:, ratio:}")
    random_crop: RandomCrop | None = param(None, help="padding, or {size:, padding:}")
    flip: str | None = param(None, help="mirror every second image", choices=("horizontal", "vertical"))
    shift: int = param(0, help="largest random shift in pixels, in both directions", ge=0)
    rotation: RandomRotation | None = param(None, help="largest angle in degrees, or {degrees: [low, high]}")
    color_jitter: ColorJitter | None = param(None, help="{brightness:, contrast:, saturation:, hue:}")
    mixup: float | None = param(
        None, help="alpha of Beta(alpha, alpha): images and targets are mixed; adds the blob `target`", gt=0
    )
    cutmix: float | None = param(
        None, help="alpha of Beta(alpha, alpha): a box comes from another image; adds the blob `target`", gt=0
    )
    classes: int | None = param(None, help="of mixup and cutmix: how many there are; null: as the labels say", ge=1)

    def validate(self) -> None:
        if self.random_resized_crop and self.random_crop and self.random_crop.size:
            message = "random_resized_crop and random_crop both say the size"
            raise ConfigError(message, hint="give random_crop padding only, or leave one of them out")

    @property
    def crop(self) -> tuple[int, int] | None:
        """Height and width that images are cropped to, where the configuration says so."""
        sized = self.random_resized_crop or self.random_crop
        return sized.size if sized is not None else None

    @property
    def distorts(self) -> bool:
        """Whether images are changed one by one, in other ways than by moving them."""
        return bool(self.random_resized_crop or self.rotation or self.color_jitter)

    @property
    def mixes(self) -> bool:
        """Whether samples of a batch are mixed."""
        return self.mixup is not None or self.cutmix is not None
