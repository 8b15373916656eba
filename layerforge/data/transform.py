"""From raw samples to what the net sees: y = (x scale - mean) / std as one multiplication and one addition."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays.sparse import CSR
from ..arrays.spec import Spec
from ..config.data_section import Transform, is_image
from ..graph.uses import TARGET, UNCLEAR
from ..schema.errors import ConfigError, DataError
from .kinds import Kind

BYTES = np.dtype(np.uint8)
CHUNK = 512  # samples at a time in the statistics: bounds the memory of the float64 copies
PIXEL_STD_FLOOR = 0.1  # of the root mean square over all pixels


def natural_scale(dtype: np.dtype) -> float:
    """1/255 for bytes, 1 for all other numbers."""
    return 1 / 255 if dtype == np.uint8 else 1.0


def centre_crop(images: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """The middle (..., h, w) of images (..., H, W): a view."""
    if size is None:
        return images
    top, left = ((have - want) // 2 for have, want in zip(images.shape[-2:], size, strict=True))
    return images[..., top : top + size[0], left : left + size[1]]


class InputTransform:
    """factor and offset per real blob: y = x factor + offset, after cropping images to their middle where asked.

    Both are scalars or arrays that broadcast over the samples. `state` and `from_state` carry it to a place that does
    not have the training data. `kinds` says what training saw of each input; it is empty where that is not known.
    `placed` are the blobs whose constants belong to positions of the whole sample: they are cropped after it.
    """

    def __init__(
        self,
        affine: Mapping[str, tuple[np.ndarray, np.ndarray]],
        crop: tuple[int, int] | None = None,
        kinds: Mapping[str, Kind] | None = None,
        placed: Iterable[str] = (),
    ) -> None:
        self.affine = dict(affine)
        self.crop = crop
        self.kinds = dict(kinds or {})
        self.placed = frozenset(placed)
        self._cast: dict[tuple[str, str], tuple[np.ndarray, np.ndarray, bool, bool]] = {}

    @classmethod
    def fit(
        cls,
        transform: Transform,
        specs: Mapping[str, Spec],
        groups: Sequence[tuple[str, ...]],
        arrays: Mapping[str, np.ndarray],
        crop: tuple[int, int] | None = None,
        uses: Mapping[str, str] | None = None,
    ) -> InputTransform:
        """The transform of a configuration. `groups`: blobs with common statistics; `arrays`: the training split.

        uses   what the net does with each blob (layerforge.graph.uses); targets stay as they are. None: not known

        Errors   ConfigError for names of other blobs, for numbers per channel that are not as many as channels, and
                 where it is not clear which blobs are inputs
        """
        targets = {name for name, use in (uses or {}).items() if use == TARGET}
        affine: dict[str, tuple[Any, Any]] = {
            name: (np.float64(1 if name in targets else natural_scale(arrays[name].dtype)), np.float64(0))
            for name, spec in specs.items()
            if spec.is_real
        }
        chosen = _selected(transform, specs, groups, uses)
        placed = [name for group in chosen for name in group] if transform.mean_file is not None else []
        for group in chosen:
            factor, offset = _affine(transform, specs[group[0]], [arrays[name] for name in group])
            if crop is not None and is_image(specs[group[0]]) and not placed:
                factor, offset = (
                    centre_crop(a, crop) if a.ndim == 3 and a.shape[1:] != (1, 1) else a for a in (factor, offset)
                )
            affine.update(dict.fromkeys(group, (factor, offset)))
        return cls(affine, crop, {name: Kind.of(arrays[name]) for name in affine if name not in targets}, placed)

    def __call__(self, name: str, raw: np.ndarray, dtype: str = "float32") -> np.ndarray:
        """Samples (N, ...) of a blob as the net sees them: reals in `dtype`, indices in int64. `raw` is not changed."""
        known = self._cast.get((name, dtype))
        if known is None or raw.dtype != BYTES or self.crop is not None or self.placed or isinstance(raw, CSR):
            return self._of_any(name, raw, dtype)
        factor, offset, _, shifted = known
        y = np.multiply(raw, factor, order="C")  # the same as below, for a single image: bytes cannot overflow
        if shifted:
            y += offset
        return y

    def _of_any(self, name: str, raw: np.ndarray, dtype: str) -> np.ndarray:
        if name not in self.affine:
            return raw.astype(np.int64)
        if isinstance(raw, CSR):
            return raw.with_data((raw.data * float(self.affine[name][0])).astype(dtype))
        if name in self.placed:
            return np.ascontiguousarray(centre_crop(self.whole(name, raw, dtype), self.crop))
        if self.crop is not None and raw.ndim == 4 and raw.shape[-2:] != self.crop:
            raw = centre_crop(raw, self.crop)
        return self.whole(name, raw, dtype)

    @np.errstate(over="ignore")  # what is too large for `dtype` shows in the loss, which is checked and replayed
    def whole(self, name: str, raw: np.ndarray, dtype: str = "float32") -> np.ndarray:
        """Samples of a real blob, of which nothing is cropped."""
        if name in self.placed and raw.shape[1:] != self.affine[name][1].shape:
            had = self.affine[name][1].shape
            raise DataError(f"'{name}' has samples of the shape {raw.shape[1:]}, the mean image has {had}")
        # Bytes and float32 lose nothing in float32; wide values may be far from 0, so their mean goes in float64.
        working = "float64" if raw.dtype.itemsize > 4 else dtype
        factor, offset, scaled, shifted = self._in(name, working)
        if scaled:
            y = np.multiply(raw, factor, dtype=working, casting="same_kind", order="C")
        elif shifted:
            y = np.array(raw, dtype=working, order="C")
        else:
            return np.ascontiguousarray(raw, dtype=dtype)
        if shifted:
            y += offset
        return y.astype(dtype, copy=False)

    def _in(self, name: str, dtype: str) -> tuple[np.ndarray, np.ndarray, bool, bool]:
        """Factor and offset in a dtype, and whether each does anything."""
        known = self._cast.get((name, dtype))
        if known is None:
            factor, offset = (np.asarray(a, dtype=dtype) for a in self.affine[name])
            known = factor, offset, bool((factor != 1).any()), bool((offset != 0).any())
            self._cast[name, dtype] = known
        return known

    def state(self) -> dict[str, np.ndarray]:
        """Everything as float64 arrays by name, to be kept in a checkpoint."""
        state = {f"{name}.{word}": a for name, pair in self.affine.items() for word, a in _words(pair)}
        if self.crop is not None:
            state["crop"] = np.asarray(self.crop, np.float64)
        return state | {f"{name}.placed": np.asarray(1.0) for name in sorted(self.placed)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], kinds: Mapping[str, Kind] | None = None) -> InputTransform:
        """The transform that `state` described; DataError where it describes none."""
        names = [key.removesuffix(".factor") for key in state if key.endswith(".factor")]
        placed = [name for name in names if f"{name}.placed" in state]
        wanted = {f"{name}.{word}" for name in names for word in ("factor", "offset")} | ({"crop"} & set(state))
        wanted |= {f"{name}.placed" for name in placed}
        if set(state) != wanted or np.shape(state.get("crop", (0, 0))) != (2,):
            found = ", ".join(state)
            raise DataError(f"{found} are no constants of an input transform", hint="take another checkpoint")
        affine = {
            name: (np.asarray(state[f"{name}.factor"], np.float64), np.asarray(state[f"{name}.offset"], np.float64))
            for name in names
        }
        crop = (int(state["crop"][0]), int(state["crop"][1])) if "crop" in state else None
        return cls(affine, crop, kinds, placed)


def _words(pair: tuple[np.ndarray, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    return [("factor", np.asarray(pair[0], np.float64)), ("offset", np.asarray(pair[1], np.float64))]


def _selected(
    transform: Transform,
    specs: Mapping[str, Spec],
    groups: Sequence[tuple[str, ...]],
    uses: Mapping[str, str] | None,
) -> list[tuple[str, ...]]:
    """The groups that the transform is for: those that `blobs` names, or those that are inputs."""
    real = [name for name, spec in specs.items() if spec.is_real]
    for name in transform.blobs or ():
        if name not in real:
            hint = f"real blobs here: {', '.join(real) or 'none'}"
            raise ConfigError(
                f"transform: blobs names '{name}', which is none to scale", place=transform.place, hint=hint
            )
    if transform.blobs is not None:
        listed = [tuple(name for name in group if name in transform.blobs) for group in groups]
        grouped = {name for group in listed for name in group}
        return [g for g in listed if g] + [(name,) for name in transform.blobs if name not in grouped]
    if all(value is None for value in (transform.mean, transform.mean_file, transform.std, transform.scale)):
        return []
    inputs = [group for group in groups if uses is None or not all(uses.get(name) == TARGET for name in group)]
    if not inputs:
        raise ConfigError("transform: the data has no images or features to transform", place=transform.place)
    unclear = [name for group in inputs for name in group if uses is not None and uses.get(name) == UNCLEAR]
    if unclear or (uses is None and len(inputs) > 1):
        named = ", ".join(unclear or [name for group in inputs for name in group])
        message = f"transform: it is not clear which of these are inputs and which are targets: {named}"
        raise ConfigError(message, place=transform.place, hint="name the inputs: transform: {blobs: [...], ...}")
    return inputs


def _affine(transform: Transform, spec: Spec, arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset for blobs of one kind, from the transform and the training samples where it asks for them."""
    scale = natural_scale(arrays[0].dtype) if transform.scale is None else transform.scale
    if spec.sparse:
        return _sparse_affine(transform, scale)
    taken = functools.cache(functools.partial(moments, arrays))  # mean and std usually ask for the same
    mean, std = np.asarray(0.0), np.asarray(1.0)
    if isinstance(transform.mean, str):
        mean = taken(transform.mean == "pixel")[0] * scale
    elif transform.mean is not None:
        mean = _per_channel("mean", transform.mean, spec)
    elif transform.mean_file is not None:
        mean = _of_file(transform, spec, scale) * scale
    if isinstance(transform.std, str):
        std = taken(transform.std == "pixel")[1] * abs(scale)
        if transform.std == "pixel" and spec.ndim > 1:
            std = np.maximum(std, PIXEL_STD_FLOOR * np.sqrt(np.mean(std**2)))
    elif transform.std is not None:
        std = _per_channel("std", transform.std, spec)
    # A standard deviation of 0 marks what never changes: it becomes 0 whatever comes.
    inverse = np.divide(1.0, std, out=np.zeros(np.shape(std)), where=np.asarray(std) > 0)
    return scale * inverse, -mean * inverse


def _of_file(transform: Transform, spec: Spec, scale: float) -> np.ndarray:
    """The mean image, in the units before scaling; ConfigError where it is not one for samples of `spec`."""
    assert transform.mean_file is not None
    from .mean_image import read_mean_image  # with what reads its formats, which few transforms need

    image = read_mean_image(transform.mean_file).astype(np.float64)
    if image.shape != spec.shape:
        message = f"transform: the mean image in {transform.mean_file} is {image.shape}, samples are {spec.shape}"
        numbers = ", ".join(f"{n:.6g}" for n in image.mean(axis=(1, 2)) * scale)
        raise ConfigError(
            message, place=transform.place, hint=f"of its channels alone, after scaling: mean: [{numbers}]"
        )
    return image


def _sparse_affine(transform: Transform, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset for a sparse blob: one number, and 0, so that what is not stored stays 0."""
    if transform.mean not in (None, 0) or transform.mean_file is not None:
        raise ConfigError(
            "transform: a sparse blob has no mean subtracted: none of its numbers would be 0 any more",
            place=transform.place, hint="give scale alone, or name other blobs: transform: {blobs: [...]}",
        )  # fmt: skip
    if isinstance(transform.std, str | list):
        raise ConfigError("transform: std of a sparse blob is one number", place=transform.place)
    return np.asarray(scale / (transform.std or 1.0)), np.asarray(0.0)


def _per_channel(word: str, value: float | list[float], spec: Spec) -> np.ndarray:
    """Declared numbers in the shape that broadcasts over samples of `spec`."""
    if not isinstance(value, list):
        return np.asarray(float(value))
    channels = spec.shape[0] if spec.shape else 1
    if len(value) != channels:
        message = f"transform: {word} has {len(value)} numbers, samples of shape {spec.shape} have {channels} channels"
        raise ConfigError(message, hint="give one number for all or one per channel (the first axis)")
    return np.asarray(value, np.float64).reshape(spec.shape[:1] + (1,) * (spec.ndim - 1))


def moments(arrays: list[np.ndarray], per_pixel: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the samples of all arrays, in float64 and two passes.

    Per position of a sample, or per channel (its first axis), in the shape that broadcasts over samples. A deviation
    below the rounding of the mean counts as 0.
    """
    axes = (0,) if per_pixel or arrays[0].ndim == 1 else (0, *range(2, arrays[0].ndim))

    def chunks() -> Iterator[np.ndarray]:
        """Of a Lazy read anew in each pass."""
        return (a[i : i + CHUNK] for a in arrays for i in range(0, len(a), CHUNK))

    sums = [np.sum(c, axis=axes, keepdims=True, dtype=np.float64) for c in chunks()]
    count = sum(math.prod(a.shape) for a in arrays) / sums[0].size
    mean: Any = sum(sums) / count
    square = sum(np.sum(np.square(c - mean), axis=axes, keepdims=True) for c in chunks()) / count
    std = np.sqrt(square)
    std[std <= 1e-12 * np.abs(mean)] = 0
    return mean[0], std[0]
