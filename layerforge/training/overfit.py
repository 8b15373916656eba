"""The same few batches again and again: `train.overfit_batches`. A net that cannot learn them has a bug."""

from __future__ import annotations

from collections.abc import Generator

from ..arrays.uploading import Uploads
from ..data.loader import Batch, Loader
from ..schema.errors import ConfigError


class SameBatches:
    """Stands in for a loader: every epoch is as long as before and repeats the first batches of epoch 0.

    Shuffling and augmentation are those of epoch 0, so every repetition is bit for bit the same.

    Errors   ConfigError where an epoch has fewer batches
    """

    def __init__(self, loader: Loader, count: int) -> None:
        if count > len(loader):
            message = f"train.overfit_batches is {count}, but an epoch has {len(loader)} batches"
            raise ConfigError(message, hint="one or two are usual")
        order = loader.order(0)
        self.length, self.batches = len(loader), [loader.batch(0, k, order) for k in range(count)]

    def __len__(self) -> int:
        return self.length

    @property
    def samples(self) -> int:
        """Different samples in all."""
        return sum(batch.count for batch in self.batches)

    def epoch(self, number: int = 0, start: int = 0, uploads: Uploads | None = None) -> Generator[Batch, None, None]:
        """The batches of an epoch from batch `start` on. They stay on the host: there are few, and always the same."""
        for k in range(start, self.length):
            yield self.batches[k % len(self.batches)]
