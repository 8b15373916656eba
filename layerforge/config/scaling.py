"""`data.transform`: scaling and normalisation of inputs, declared."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from ..schema.errors import ConfigError
from ..schema.params import FilePath, param, parse_as
from ..schema.synonyms import did_you_mean
from .data_mapping import DataMapping

STATISTICS = ("channel", "pixel")
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}  # of red, green and blue, from 0 to 1


class StatisticRule:
    """The rule for a number, a list of one number per channel, or the name of a statistic of the training split."""

    description = "a number, one per channel, 'channel' or 'pixel'"

    @staticmethod
    def parse(value: Any) -> float | list[float] | str:
        if isinstance(value, str) and value not in STATISTICS:
            hint = did_you_mean(value, STATISTICS) or f"either {StatisticRule.description}"
            raise ConfigError(f"there is no statistic '{value}'", hint=hint)
        return value if isinstance(value, str) else parse_as(float | list[float], value)


Statistic: TypeAlias = Annotated[float | list[float] | str, StatisticRule]


class Transform(DataMapping):
    """y = (x scale - mean) / std, the same for train, val and test.

    `channel` and `pixel` stand for the statistics of the training split before augmentation, in float64: one number per
    channel (the first axis of a sample), or one per position. A channel that never changes becomes 0. The standard
    deviation of a pixel is taken as at least a tenth of the root mean square over all pixels, so that a pixel that is
    almost always black does not explode where it is not.

    `mean_file` holds a mean image, of the shape of a sample (C, H, W) and in its units before scaling:
    y = (x - mean) scale / std. It belongs to the positions of the whole sample: random crops, shifts and flips come
    after it.
    """

    noun = "transform"

    scale: float | None = param(None, help="factor; null: 1/255 for bytes, 1 for other numbers")
    mean: Statistic | None = param(
        None, help="subtracted after scaling: a number, one per channel, 'channel' or 'pixel' (of the training split)"
    )
    mean_file: FilePath | None = param(
        None, help="a mean image, subtracted before scaling: .binaryproto or .npy, of the shape of a whole sample"
    )
    std: Statistic | None = param(
        None, help="divisor: a number, one per channel, 'channel' or 'pixel' (of the training split)"
    )
    normalize: str | None = param(
        None, help="imagenet: mean and std of ImageNet's colours, as nets trained on it expect", choices=("imagenet",)
    )
    blobs: list[str] | None = param(
        None, help="what is transformed; null: every input, and no target (what only losses and metrics read)"
    )

    def validate(self) -> None:
        if self.scale == 0:
            raise ConfigError("scale must not be 0")
        numbers = [] if self.std is None or isinstance(self.std, str) else self.std
        if any(n <= 0 for n in (numbers if isinstance(numbers, list) else [numbers])):
            raise ConfigError("std must be > 0")
        if self.normalize and (self.mean is not None or self.std is not None or self.mean_file is not None):
            raise ConfigError("normalize stands for mean and std", hint="leave it out, or them")
        if self.mean is not None and self.mean_file is not None:
            raise ConfigError("mean and mean_file are both given", hint="leave one of them out")

    def of_colours(self, colours: str) -> Transform:
        """This with numbers in place of `normalize`.

        colours   of the channels in their order: rgb, bgr or gray

        Errors   ConfigError where the images have no colours
        """
        if self.normalize is None:
            return self
        if colours == "gray":
            message = "transform: normalize: imagenet is for three colours, the images are gray"
            raise ConfigError(message, place=self.place, hint="give mean and std as numbers, or color: rgb")
        step = -1 if colours == "bgr" else 1
        numbers = {word: values[::step] for word, values in IMAGENET.items()}
        made = Transform(scale=self.scale, blobs=self.blobs, **numbers)
        made.place = self.place
        return made

    @property
    def needs_statistics(self) -> bool:
        """Whether the training split has to be read to know the transform."""
        return isinstance(self.mean, str) or isinstance(self.std, str)
