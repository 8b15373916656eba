"""Samplers: which samples an epoch draws, where it does not go through all of them in a new order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arrays.philox import host_generator
from ..config.data_section import Feed
from ..graph.uses import TARGET
from ..schema.errors import ConfigError


class BalancedSampler:
    """Samples with replacement, each class as likely as any other and each sample of a class as any other of it.

    An epoch has as many samples as there are; its draws depend on (seed, section, epoch) alone. They are those of
    torch's WeightedRandomSampler with weights 1 / (samples of the class).

    labels   the class of each sample (N,)
    """

    def __init__(self, labels: np.ndarray) -> None:
        inverse = np.unique(labels, return_inverse=True)[1].reshape(-1)
        self.counts = np.bincount(inverse)
        self.by_class = np.argsort(inverse, kind="stable")
        self.starts = np.cumsum(self.counts) - self.counts

    def order(self, seed: int, section: str, epoch: int) -> np.ndarray:
        """The samples of an epoch (N,)."""
        bits = host_generator(seed, f"balanced/{section}/{epoch}").bit_generator
        # Raw words instead of Generator.integers: NumPy promises the same words in every version.
        which, member = ((bits.random_raw(len(self.by_class)) >> np.uint64(11)) * 2.0**-53 for _ in range(2))
        classes = (which * len(self.counts)).astype(np.int64)
        return self.by_class[self.starts[classes] + (member * self.counts[classes]).astype(np.int64)]


def sampler_of(feed: Feed, arrays: Mapping[str, Any], uses: Mapping[str, str] | None) -> BalancedSampler | None:
    """The sampler of a feed; None where it goes through all samples.

    uses   what the net does with each blob (layerforge.graph.uses); None: not known

    Errors   ConfigError where it is not clear which blob holds the classes, or that blob holds none
    """
    if feed.sampler is None:
        return None
    name, place = feed.sampler.label, feed.sampler.place
    if name is None:
        found = [n for n, a in arrays.items() if a.ndim == 1 and a.dtype.kind in "biu"]
        found = [n for n in found if uses is None or uses.get(n) == TARGET] or found
        if len(found) != 1:
            what = f"there are several: {', '.join(found)}" if found else "there is none"
            hint = "name it: sampler: {type: balanced, label: BLOB}"
            raise ConfigError(f"sampler: balanced needs one blob of class labels, {what}", place=place, hint=hint)
        name = found[0]
    if name not in arrays:
        message = f"sampler: data.{feed.section} has no blob '{name}'"
        raise ConfigError(message, place=place, hint=f"its blobs: {', '.join(arrays)}")
    labels = np.asarray(arrays[name]).reshape(len(arrays[name]), -1)
    if labels.shape[1] != 1 or (labels != np.floor(labels)).any():
        raise ConfigError(f"sampler: '{name}' does not hold a class for each sample", place=place)
    return BalancedSampler(labels[:, 0])
