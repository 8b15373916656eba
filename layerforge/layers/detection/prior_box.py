"""PriorBox: the boxes that a detector starts from, some around each position of a feature map."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ...arrays.sliding_windows import spatial
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError, LayerError
from ...schema.params import FloatPair, Pair, param
from ...schema.registry import register

SAME = 1e-6  # aspect ratios that are no farther apart are one
Numbers = float | list[float]


def listed(numbers: Numbers | None) -> list[float]:
    """One number, several or none, as a list."""
    if numbers is None:
        return []
    return numbers if isinstance(numbers, list) else [numbers]


@register
class PriorBox(Layer):
    """PriorBox: boxes of several sizes and shapes around each position of a feature map (Caffe's SSD: PriorBox)

        y[0, 0] = (a - w/2) / W', (b - h/2) / H', (a + w/2) / W', (b + h/2) / H'
        y[0, 1] = variance, four numbers of each box

    left, top, right and bottom of a box as parts of an image of H' times W' pixels. Position (i, j) of the feature
    map, down and across, has its boxes around (a, b)

        a = (j + offset) step[1],   b = (i + offset) step[0]      step is (H'/H, W'/W) where none is given

    They are w wide and h high. Where s is each min_size in turn,

        w = h = s;   w = h = √(s max_size);   w = s √r, h = s / √r for every aspect ratio r but 1

    the second only where there is a max_size; flip puts 1/r after each r, and a ratio that was there before is left
    out. The boxes of a position follow each other, then come those of the next one across. clip moves what is outside
    of the image to its edge. (Caffe's layer cuts min_size and max_size to whole pixels first.)

    Shapes    x (N, C, H, W) real, of which only the shape is read; a second bottom (N, C', H', W'), the image, where
              img_size is not given; y (1, 2, 4 H W K), with K boxes at a position: the same for all samples
    Keeps     nothing: the boxes depend on no number of the bottoms
    Cost      4 operations per number of y
    Errors    ConfigError for max_size that are not as many as min_size, or not larger, and for variances that are not
              one or four; LayerError for bottoms that are no images, and without the size of the image
    Source    Liu et al. 2016, SSD; the layer of its fork of Caffe
    """

    bottoms = (1, 2)
    no_grad_bottoms = (0, 1)
    per_sample = False

    min_size: Numbers = param(help="sides of the squares, in pixels of the image", gt=0)
    max_size: Numbers | None = param(None, help="for each min_size the side of a larger square, in pixels", gt=0)
    aspect_ratio: Numbers | None = param(None, help="width over height of further boxes", gt=0)
    flip: bool = param(True, help="each aspect ratio also the other way around")
    clip: bool = param(False, help="keep the boxes inside of the image")
    variance: Numbers = param(0.1, help="what offsets from a box are measured by: one number, or one for each", gt=0)
    img_size: Pair | None = param(None, help="height and width of the image; null: those of the second bottom", ge=1)
    step: FloatPair | None = param(None, help="pixels between positions, down and across; null: fill the image", gt=0)
    offset: float = param(0.5, help="where in its step the middle of a box is")

    examples = [
        Example({"min_size": 4}, [Spec((2, 3, 2, 3)), Spec((2, 3, 16, 18))]),
        Example(
            {"min_size": [4, 6], "max_size": [6, 9.5], "aspect_ratio": [2, 3], "variance": [0.1, 0.1, 0.2, 0.3]},
            [Spec((2, 1, 2, 2)), Spec((2, 3, 15, 20))],
        ),
        Example({"min_size": 7, "aspect_ratio": [1, 2, 0.5], "clip": True, "img_size": [12, 10]}, [Spec((3, 2, 2, 3))]),
        Example(
            {"min_size": 3, "aspect_ratio": 1.5, "flip": False, "step": [4, 5], "offset": 0.25, "img_size": 20},
            [Spec((2, 1, 3, 1))],
        ),
    ]
    bad_examples = [
        Bad({}, "min_size is required"),
        Bad({"min_size": 0}, "min_size must be > 0"),
        Bad({"min_size": [4, 8], "max_size": 9}, "1 max_size for 2 min_size"),
        Bad({"min_size": 4, "max_size": 4}, "max_size 4.0 is not larger than its min_size 4.0"),
        Bad({"min_size": []}, "min_size is empty"),
        Bad({"min_size": 4, "variance": [0.1, 0.2]}, "variance has 2 numbers, expected 1 or 4"),
        Bad({"min_size": 4}, "the size of the image is not known", [Spec((2, 3, 4, 4))]),
        Bad({"min_size": 4, "img_size": 9}, "expected 4 axes", [Spec((2, 3, 4))]),
        Bad({"min_size": 4}, "expected 4 axes", [Spec((2, 3, 4, 4)), Spec((2, 3))]),
        Bad({"min_size": 4, "img_size": 9}, "no positions", [Spec((2, 3, 0, 4))]),
    ]

    def validate(self) -> None:
        smallest, largest = listed(self.min_size), listed(self.max_size)
        if not smallest:
            raise ConfigError("min_size is empty", hint="name at least one side, in pixels")
        if largest and len(largest) != len(smallest):
            hint = "name one for each min_size, or none"
            raise ConfigError(f"{len(largest)} max_size for {len(smallest)} min_size", hint=hint)
        for small, large in zip(smallest, largest, strict=False):
            if large <= small:
                raise ConfigError(f"max_size {large} is not larger than its min_size {small}")
        if len(listed(self.variance)) not in (1, 4):
            raise ConfigError(f"variance has {len(listed(self.variance))} numbers, expected 1 or 4")

    def setup(self, x: Spec, *image: Spec) -> Spec:
        height, width = spatial(x, 2)
        if not height * width:
            raise LayerError(f"the bottom has shape {x.shape}: no positions")
        self.size_of_image([spatial(i, 2) for i in image])
        return Spec((1, 2, 4 * height * width * len(list(self.sizes()))), x.dtype)

    def size_of_image(self, bottoms: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """Height and width in pixels: img_size, or the positions of the second bottom."""
        if self.img_size is not None:
            return self.img_size
        if not bottoms:
            raise LayerError("the size of the image is not known", hint="give the image as second bottom, or img_size")
        return bottoms[0]

    def sizes(self) -> Iterator[tuple[float, float]]:
        """Width and height of the boxes of a position, in pixels."""
        largest = listed(self.max_size)
        for i, side in enumerate(listed(self.min_size)):
            yield side, side
            if largest:
                yield (math.sqrt(side * largest[i]),) * 2
            for ratio in self.ratios():
                yield side * math.sqrt(ratio), side / math.sqrt(ratio)

    def ratios(self) -> list[float]:
        """The aspect ratios but 1, each once."""
        found = [1.0]
        for ratio in listed(self.aspect_ratio):
            if all(abs(ratio - other) >= SAME for other in found):
                found += [ratio, 1 / ratio] if self.flip else [ratio]
        return found[1:]

    def forward(self, x: Any, *image: Any) -> Any:
        xp, (height, width) = self.xp, x.shape[2:]
        pixels_down, pixels_across = self.size_of_image([i.shape[2:] for i in image])
        step_down, step_across = self.step or (pixels_down / height, pixels_across / width)
        sizes = list(self.sizes())
        boxes = xp.empty((height, width, len(sizes), 4))
        down = ((xp.arange(height) + self.offset) * step_down)[:, None]
        across = (xp.arange(width) + self.offset) * step_across
        for k, (wide, high) in enumerate(sizes):
            boxes[:, :, k, 0] = (across - wide / 2) / pixels_across
            boxes[:, :, k, 1] = (down - high / 2) / pixels_down
            boxes[:, :, k, 2] = (across + wide / 2) / pixels_across
            boxes[:, :, k, 3] = (down + high / 2) / pixels_down
        y = xp.empty((1, 2, boxes.size // 4, 4), dtype=self.dtype)
        y[0, 0] = (xp.clip(boxes, 0, 1) if self.clip else boxes).reshape(-1, 4)
        variances = listed(self.variance)
        for side in range(4):
            y[0, 1, :, side] = variances[side % len(variances)]
        return y.reshape(1, 2, boxes.size)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 4 * tops[0].size
