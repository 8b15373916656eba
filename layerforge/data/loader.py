"""Loader: the batches of an epoch, prepared in background threads while the net works on the one before."""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays.philox import host_generator
from ..arrays.spec import Spec
from ..arrays.threads import cores
from ..arrays.uploading import Upload, Uploads
from ..config.data_section import SOFT, Feed, is_image
from ..schema.errors import ConfigError
from .augment import Augmenter
from .distort import Distorter
from .lazy import Lazy
from .mixing import Mixer
from .sampling import BalancedSampler
from .streaming import by_chunks
from .transform import InputTransform

AHEAD = 3  # batches that wait for the net
BUFFER = 10_000  # samples that are shuffled at a time, of those that are streamed
BALANCED = "weight: balanced of the loss does as much; or "
MOST_WORKERS = 16  # where the configuration does not say how many


@dataclass(frozen=True)
class Batch:
    """Some samples, ready for the net.

    blobs    reals in the loader's dtype, indices in int64; read-only by convention. Where the batch is on its way to a
             device, an `Upload` of each
    count    how many samples; less than batch_size in the last batch of an epoch
    index    position of its first sample in the epoch
    samples  which samples of the split these are (count,)
    """

    blobs: dict[str, Any]
    count: int
    index: int
    samples: np.ndarray

    @property
    def host(self) -> dict[str, Any]:
        """The arrays on the host."""
        return {name: blob.host if isinstance(blob, Upload) else blob for name, blob in self.blobs.items()}


class Loader:
    """The batches of one feed.

    arrays   the samples by blob: arrays, or a `Lazy` that reads them when a batch wants them
    workers  threads that prepare whole batches

    The order of an epoch depends on (seed, section, epoch) alone and augmentation on (seed, epoch, sample), so that
    neither threads nor the place where a run is resumed change a batch.

    Errors   ConfigError where the augmentation does not fit the data
    """

    def __init__(
        self,
        feed: Feed,
        arrays: Mapping[str, Any],
        transform: InputTransform,
        specs: Mapping[str, Spec],
        *,
        seed: int = 0,
        dtype: str = "float32",
        sampler: BalancedSampler | None = None,
    ) -> None:
        self.feed = feed
        self.arrays = dict(arrays)
        self.transform = transform
        self.seed = seed
        self.dtype = dtype
        self.sampler = sampler
        self.specs = {name: spec.with_dtype(dtype) for name, spec in specs.items()}
        self.samples = len(next(iter(self.arrays.values())))
        self.batch_size = feed.batch_size
        if feed.drop_last and self.samples < self.batch_size:
            raise ConfigError(
                f"data.{feed.section}: drop_last leaves no batch of {feed.batch_size} from {self.samples} samples",
                place=feed.place,
                hint="make batch_size smaller or remove drop_last",
            )
        in_order = any(isinstance(a, Lazy) and a.goes_forward for a in self.arrays.values())
        if in_order and (sampler is not None or feed.streams):
            who, other = ("streams take", "") if sampler is None else ("sampler takes", BALANCED)
            raise ConfigError(
                f"data.{feed.section}: {who} samples from everywhere, a streamed Parquet file is read in order",
                place=feed.place,
                hint=f"{other}stream: false, where it fits into memory",
            )
        self._distorters = _distorters(feed, self.arrays, self.specs, seed)
        self._augmenters = _augmenters(feed, self.arrays, self.specs, seed)
        self._mixer = Mixer(feed.augment, self.specs, seed) if SOFT in self.specs.keys() - self.arrays.keys() else None
        self._buffer = feed.shuffle_buffer or BUFFER
        self._chunks = _chunks(self.arrays) if feed.shuffle and sampler is None else None
        for array in self.arrays.values():
            if isinstance(array, Lazy):
                array.expect(self._buffer if self._chunks is not None else self.batch_size)
        slow = self._distorters or any(isinstance(array, Lazy) for array in self.arrays.values())
        self.workers = feed.workers or (min(cores(), MOST_WORKERS) if slow else 1)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.samples // self.batch_size if self.feed.drop_last else -(-self.samples // self.batch_size)

    @property
    def samples_per_epoch(self) -> int:
        """Samples that an epoch delivers."""
        return min(self.samples, len(self) * self.batch_size)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes of the labels, where the source knows them."""
        return tuple(self.feed.source.class_names)

    def order(self, epoch: int) -> np.ndarray:
        """The samples in the order of an epoch (samples,)."""
        if self.sampler is not None:
            return self.sampler.order(self.seed, self.feed.section, epoch)
        if self.feed.streams:  # sample k of stream i stands in row i of batch k
            return np.arange(len(self) * self.batch_size).reshape(self.batch_size, -1).T.reshape(-1)
        if not self.feed.shuffle:
            return np.arange(self.samples)
        bits = host_generator(self.seed, f"shuffle/{self.feed.section}/{epoch}").bit_generator
        if self._chunks is not None:
            return by_chunks(self._chunks, self._buffer, bits)
        # Sorting raw words instead of Generator.permutation: NumPy promises the same words in every version.
        return np.argsort(bits.random_raw(self.samples), kind="stable")

    def batch(self, epoch: int, number: int, order: np.ndarray | None = None) -> Batch:
        """One batch of an epoch, prepared now."""
        order = self.order(epoch) if order is None else order
        first = number * self.batch_size
        samples = order[first : first + self.batch_size]
        return Batch(self._blobs(epoch, samples), len(samples), first, samples)

    def _blobs(self, epoch: int, samples: np.ndarray) -> dict[str, np.ndarray]:
        blobs = {}
        for name, array in self.arrays.items():
            if name in self._distorters:
                raw = self._distorters[name](array, epoch, samples)
            else:
                raw = array[samples] if self.feed.shuffle or self.feed.streams else array[samples[0] : samples[-1] + 1]
            if name not in self._augmenters:
                blobs[name] = self.transform(name, raw, self.dtype)
            elif name in self.transform.placed:
                blobs[name] = self._augmenters[name](self.transform.whole(name, raw, self.dtype), epoch, samples)
            else:
                blobs[name] = self.transform(name, self._augmenters[name](raw, epoch, samples), self.dtype)
        if self._mixer is not None:
            self._mixer(blobs, epoch, samples, self.dtype)
        return blobs

    def epoch(self, number: int = 0, start: int = 0, uploads: Uploads | None = None) -> Generator[Batch, None, None]:
        """The batches of an epoch from batch `start` on (those before are not prepared).

        uploads   takes them to a device, ahead of a net that is given them in this order (`uploads_to`)

        An exception of the thread is raised here. Leaving the loop early, or `close()`, ends the thread.
        """
        ready: queue.Queue[Any] = queue.Queue(AHEAD)
        stop = threading.Event()
        args = number, start, ready, stop, uploads
        thread = threading.Thread(target=self._prepare, args=args, daemon=True, name=f"layerforge-{self.feed.section}")
        thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            while thread.is_alive():
                try:
                    ready.get(timeout=0.01)  # makes room, so that a thread waiting to deliver sees the stop
                except queue.Empty:
                    continue
            thread.join()

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch()

    def _prepared(self, epoch: int, start: int, stop: threading.Event) -> Iterator[Batch]:
        """The batches in order, each made whole by one of the workers; none any more once `stop` is set."""
        order, numbers = self.order(epoch), range(start, len(self))
        if self.workers == 1:
            for number in numbers:
                if stop.is_set():
                    return
                yield self.batch(epoch, number, order)
            return
        pool = ThreadPoolExecutor(self.workers, f"layerforge-{self.feed.section}")
        try:
            begun: deque[Future[Batch]] = deque()
            for number in numbers:
                if stop.is_set():
                    return
                begun.append(pool.submit(self.batch, epoch, number, order))
                if len(begun) > self.workers:
                    yield begun.popleft().result()
            while begun and not stop.is_set():
                yield begun.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepare(
        self, epoch: int, start: int, ready: queue.Queue[Any], stop: threading.Event, uploads: Uploads | None
    ) -> None:
        try:
            for batch in self._prepared(epoch, start, stop):
                ready.put(batch if uploads is None else replace(batch, blobs=uploads.begin(batch.blobs)))
            if not stop.is_set():
                ready.put(None)
        except BaseException as problem:
            ready.put(problem)


def _chunks(arrays: Mapping[str, Any]) -> np.ndarray | None:
    """The chunk of each sample, of the blob with the largest samples; None where none is read in chunks."""
    lazy = [array for array in arrays.values() if isinstance(array, Lazy) and array.chunks() is not None]
    return max(lazy, key=lambda array: math.prod(array.shape) * array.dtype.itemsize).chunks() if lazy else None


def _distorters(
    feed: Feed, arrays: Mapping[str, Any], specs: Mapping[str, Spec], seed: int
) -> dict[str, Distorter]:
    """One per image blob, where images are changed one by one."""
    if feed.augment is None or not feed.augment.distorts:
        return {}
    names = [name for name, spec in specs.items() if is_image(spec)]
    return {name: Distorter(feed.augment, arrays[name].shape[1:], arrays[name].dtype, seed) for name in names}


def _augmenters(
    feed: Feed, arrays: Mapping[str, np.ndarray], specs: Mapping[str, Spec], seed: int
) -> dict[str, Augmenter]:
    """One per image blob; all draw the same numbers, so the images of a sample move alike."""
    if feed.augment is None:
        return {}
    images = [name for name, spec in specs.items() if is_image(spec)]
    if not images:
        raise ConfigError("augment: the data has no images (C, H, W)", place=feed.augment.place)
    for name, array in arrays.items():
        if name not in images and array.shape[-2:] == arrays[images[0]].shape[-2:]:
            message = f"augment would move '{images[0]}' but not '{name}', which has the same height and width"
            raise ConfigError(message, place=feed.augment.place, hint="remove augment")
    shapes: dict[str, Any] = {name: arrays[name].shape[1:] for name in images}
    if feed.augment.random_resized_crop is not None:  # what comes from it is already of the size of the batch
        shapes = {name: specs[name].shape for name in images}
    return {name: Augmenter(feed.augment, shapes[name], seed) for name in images}
