"""The `data:` section of a configuration: what is fed into the net, declared. No arrays and no files here.

    data:
      train: {type: MNIST, split: "train[:55000]", batch_size: 64, augment: {shift: 2}}
      val:   {type: MNIST, split: "train[55000:]", batch_size: 500}
      test:  {type: MNIST, split: test, batch_size: 500}
      fallback: {type: Digits}
      transform: {mean: pixel, std: pixel}

The keys of a feed (batch_size, shuffle, drop_last, augment) and those of its source stand in one mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol, Self

import numpy as np

from ..arrays.spec import Spec
from ..schema.errors import ConfigError, LayerForgeError, raise_all
from ..schema.locations import Place, PlacedDict, place_of
from ..schema.params import Declared, family_value, param
from ..schema.registry import SOURCES
from ..schema.synonyms import hint_for_key
from .augmentation import Augment
from .data_mapping import DataMapping
from .data_split import SplitSection
from .sampling import SamplerSection
from .scaling import Transform

SECTIONS = ("train", "val", "test")
# Keys that are never a source's own.
FEED_KEYS = ("type", "batch_size", "shuffle", "shuffle_buffer", "drop_last", "streams", "augment", "sampler", "workers")
SOFT = "target"  # the blob of the probabilities of the classes, where samples are mixed


class SampleSource(Protocol):
    """What is needed of a data source to feed a net from it; `data.Source` is the base of those that there are."""

    place: Place | None
    split: str

    @property
    def parts(self) -> tuple[str, ...]: ...
    @property
    def title(self) -> str: ...
    @property
    def channels(self) -> str: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def consecutive(self) -> bool | None: ...
    def specs(self) -> dict[str, Spec]: ...
    def follow(self, leader: Any) -> None: ...
    def prepare(self, progress: bool | None = None) -> None: ...
    def load(self, progress: bool | None = None) -> dict[str, np.ndarray]: ...
    def count(self, part: str) -> int | None: ...
    def normalised(self) -> list[tuple[str, ...]]: ...
    def reader(self) -> Any: ...
    def notes(self) -> list[str]: ...
    def with_split(self, split: str) -> Self: ...
    def divided(self, split: SplitSection) -> Mapping[str, Self]: ...


class SourceRule:
    """The rule for a data source, named by its type or given as an object."""

    description = "a data source"

    @staticmethod
    def parse(value: Any) -> Any:
        if isinstance(value, Declared):
            return value
        return family_value(SOURCES, value, "data source")


class Feed(DataMapping):
    """One of train, val and test: a source and how it is cut into batches."""

    noun = "feed"

    source: Annotated[SampleSource, SourceRule] = param(help="where the samples come from")
    batch_size: int = param(64, help="samples in a batch", ge=1)
    shuffle: bool | None = param(None, help="a new order every epoch; null: for train only")
    shuffle_buffer: int | None = param(
        None, help="samples that are shuffled at a time, of data that are streamed; null: 10000", ge=1
    )
    drop_last: bool = param(False, help="leave out the last batch of an epoch where it is not full")
    streams: bool = param(
        False, help="cut the samples, in their order, into batch_size streams: row i of a batch goes on in the next"
    )
    augment: Augment | None = param(None, help="random changes of the images (train only)")
    sampler: SamplerSection | None = param(None, help="balanced: draws all classes equally often (train only)")
    workers: int | None = param(
        None, help="threads that prepare batches; null: one, and where images are decoded or distorted one a core", ge=1
    )

    section: str = "train"

    @classmethod
    def from_config(cls, values: Mapping[str, Any], owner: str | None = None, place: Place | None = None) -> Self:
        """From one mapping with the keys of the feed and those of its source."""
        if "source" in values and "type" not in values and isinstance(values["source"], Declared):
            return super().from_config(values, owner, place)
        kind = f" ({values['type']})" if isinstance(values.get("type"), str) else ""
        owner = f"{owner or cls.noun}{kind}"
        errors: list[LayerForgeError] = []
        own = _part(values, [key for key in values if key in FEED_KEYS and key != "type"])
        # A source that cannot be built is replaced by an empty one: the other keys are checked all the same.
        own["source"] = _caught(errors, _source, values, owner) or Declared()
        feed = _caught(errors, super().from_config, own, owner, place or place_of(values))
        raise_all(errors)
        return feed

    def with_source(self, source: SampleSource, section: str) -> Feed:
        """The same feed for another source. Of another section: nothing random, no sample left out."""
        own = {name: getattr(self, name) for name in self.fields} | {"source": source}
        if section != self.section:
            own |= {"shuffle": False, "drop_last": self.streams, "augment": None, "sampler": None}
        feed = Feed.from_config(own, place=self.place)
        feed.section = section
        return feed

    @property
    def config(self) -> dict[str, Any]:
        """One mapping, as in the file."""
        own = super().config
        return {**own.pop("source"), **own}


def _part(values: Mapping[str, Any], keys: list[str]) -> PlacedDict:
    part = PlacedDict({key: values[key] for key in keys}, place=place_of(values))
    for key in keys:
        part.copy_places(values, key)
    return part


def _caught(errors: list[LayerForgeError], build: Any, *args: Any) -> Any:
    try:
        return build(*args)
    except ConfigError as error:
        errors.append(error)
        return None


def _source(values: Mapping[str, Any], owner: str) -> Any:
    """The source in a feed's mapping. Unknown keys are reported against the keys of both."""
    if "type" not in values:
        hint = f"add 'type: ...', one of {', '.join(SOURCES.names())}"
        raise ConfigError(f"{owner}: a data source needs a type", place=place_of(values), hint=hint)
    cls = SOURCES.get(values["type"], place_of(values, "type"))
    unknown = [key for key in values if key not in cls.fields and key not in FEED_KEYS]
    errors: list[LayerForgeError] = []
    for key in unknown:
        known = [*FEED_KEYS, *cls.fields]
        hint = f"'{key}' stands in data:, beside train" if key in DataSection.fields else hint_for_key(key, known)
        place = place_of(values, key, of="key")
        errors.append(ConfigError(f"{owner}: unknown key '{key}'", place=place, hint=hint))
    own = _part(values, [key for key in values if key in cls.fields])
    source = _caught(errors, cls.from_config, own, owner)
    raise_all(errors)
    return source


class FeedOf:
    """The rule for the feed of one section."""

    description = "a mapping such as {type: MNIST, split: train, batch_size: 64}"

    def __init__(self, section: str) -> None:
        self.section = section

    def parse(self, value: Any) -> Feed | None:
        if value is None:
            return None
        if isinstance(value, str):
            value = PlacedDict({"type": value})
        if not isinstance(value, (Mapping, Feed)):
            raise TypeError
        # Errors with a place keep their own words, others get "data: " in front.
        owner = f"data.{self.section}" if place_of(value) else self.section
        feed = value if isinstance(value, Feed) else Feed.from_config(value, owner)
        for key in ("augment", "sampler"):
            if getattr(feed, key) is not None and self.section != "train":
                place = place_of(value, key, of="key")
                raise ConfigError(f"{owner}: {key} is for train only", place=place, hint="remove it here")
        if feed.streams and (feed.shuffle or feed.sampler is not None):
            key = "shuffle" if feed.shuffle else "sampler"
            place = place_of(value, key, of="key")
            raise ConfigError(f"{owner}: streams keep the samples in their order", place=place, hint=f"remove {key}")
        if feed.sampler is not None and feed.shuffle is False:
            place = place_of(value, "shuffle", of="key")
            raise ConfigError(f"{owner}: a sampler draws at random", place=place, hint="remove shuffle: false")
        feed.section = self.section
        if feed.shuffle is None:
            feed.shuffle = self.section == "train" and not feed.streams
        feed.drop_last = feed.drop_last or feed.streams
        return feed


class FallbackRule:
    """The rule for the source that replaces those of train, val and test. Its splits are theirs."""

    description = "a data source such as {type: Digits}"

    @staticmethod
    def parse(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, Mapping) and "split" in value:
            raise ConfigError(
                "fallback takes the splits of train, val and test",
                place=place_of(value, "split", of="key"),
                hint="remove split",
            )
        return SourceRule.parse(value)


class DataSection(DataMapping):
    """What trains, validates and tests the net.

    Errors   ConfigError, all at once, for unknown, missing and mistyped keys of the section, its feeds and sources
    """

    noun = "data"
    parts: Mapping[str, Feed]  # the feeds that `split` makes

    train: Annotated[Feed, FeedOf("train")] = param(help="what the net learns from")
    val: Annotated[Feed | None, FeedOf("val")] = param(
        None, help="what chooses between checkpoints: a part of the training set, not the test set"
    )
    test: Annotated[Feed | None, FeedOf("test")] = param(None, help="scored once, at the end")
    fallback: Annotated[SampleSource | None, FallbackRule] = param(
        None, help="source that replaces all three where the set is neither here nor reachable; said loudly"
    )
    split: SplitSection | None = param(None, help="shares of train's source that val and test get")
    transform: Transform | None = param(None, help="scaling and normalisation, shared by train, val and test")

    @property
    def config(self) -> dict[str, Any]:
        """The section as YAML writes it; the fallback without a split, for it takes those of the others."""
        values = super().config
        if values["fallback"] is not None:
            del values["fallback"]["split"]
        return values

    def validate(self) -> None:
        if self.transform is None:
            self.transform = Transform()
        if self.train is None:
            raise ConfigError("train is required (what the net learns from)")
        augment = self.train.augment
        if self.transform.mean_file is not None and augment is not None and augment.random_resized_crop is not None:
            message = "transform: a mean image is for samples of one size, which random_resized_crop has not"
            raise ConfigError(message, place=self.transform.place, hint="give one mean per channel: mean: [...]")
        self.parts = self._divided()
        for name, feed in self.feeds().items():
            if name != "train":
                feed.source.follow(self.train.source)

    def _divided(self) -> dict[str, Feed]:
        """The feeds that the split makes besides train's, whose source becomes its share."""
        if self.split is None:
            return {}
        for name in self.split.sections[1:]:
            if getattr(self, name) is not None:
                message = f"data.{name} is there, and data.split makes a {name} of train's samples, too"
                hint = f"remove data.{name}, or data.split.{name}"
                if self.split.folds is not None and name == "val":
                    message = "data.val is there, and in a cross-validation each fold of data.train is val in turn"
                    hint = "leave it out with data.val=null"
                raise ConfigError(message, place=self.split.place or self.place, hint=hint)
        sources = self.train.source.divided(self.split)
        self.train = self.train.with_source(sources["train"], "train")
        return {name: self.train.with_source(sources[name], name) for name in self.split.sections[1:]}

    def feeds(self) -> dict[str, Feed]:
        """The feeds by section: train, and val and test where they are declared or the split makes them."""
        named = {section: self.parts.get(section) or getattr(self, section) for section in SECTIONS}
        return {section: feed for section, feed in named.items() if feed is not None}

    def feed(self, section: str) -> Feed:
        """The feed of a section; ConfigError where the file has none."""
        feeds = self.feeds()
        if section not in feeds:
            raise ConfigError(
                f"data: there is no '{section}' section", place=self.place, hint=f"sections here: {', '.join(feeds)}"
            )
        return feeds[section]

    def sample_specs(self, section: str) -> dict[str, Spec]:
        """What one sample of the section looks like when it enters the net, without a batch axis."""
        specs = self.feed(section).source.specs()
        crop = self.crop
        specs = {
            name: spec.with_shape((*spec.shape[:-2], *crop)) if crop and is_image(spec) else spec
            for name, spec in specs.items()
        }
        augment = self.train.augment
        return specs if augment is None or not augment.mixes else {**specs, SOFT: self._soft(specs)}

    def _soft(self, specs: Mapping[str, Spec]) -> Spec:
        """The probabilities of the classes, where samples are mixed."""
        augment = self.train.augment
        assert augment is not None
        if SOFT in specs:
            message = f"augment: mixup and cutmix add a blob '{SOFT}', which the data has already"
            raise ConfigError(message, place=augment.place)
        classes = augment.classes or specs[label_of(specs, augment.place)].high
        if classes is None:
            message = "augment: mixup and cutmix need the number of classes, which the labels do not say"
            raise ConfigError(message, place=augment.place, hint="for example augment: {mixup: 0.2, classes: 10}")
        return Spec((int(classes),), low=0, high=1)

    def specs(self, section: str) -> dict[str, Spec]:
        """What a full batch of the section looks like: the batch axis first. Reads at most the header of a file."""
        if self.fallback is not None:
            self.with_fallback()  # a fallback that does not fit is reported now, not when it is needed
        batch = self.feed(section).batch_size
        return {name: s.with_shape((batch, *s.shape)) for name, s in self.sample_specs(section).items()}

    @property
    def scaling(self) -> Transform:
        """The transform; where none is written, the usual one."""
        return self.transform or Transform()

    @property
    def crop(self) -> tuple[int, int] | None:
        """Height and width that images are cropped to, where the configuration says so."""
        return self.train.augment.crop if self.train.augment is not None else None

    def with_fallback(self) -> DataSection:
        """This section with the fallback in place of every source, each with the split that it replaces."""
        if self.fallback is None:
            raise ConfigError("data: there is no fallback", place=self.place)
        values = {name: getattr(self, name) for name in self.fields if name != "fallback"}
        declared = {section: getattr(self, section) for section in SECTIONS if getattr(self, section) is not None}
        for section, feed in declared.items():
            own = {name: getattr(feed, name) for name in feed.fields}
            own["source"] = self.fallback.with_split(feed.source.split)
            self._check_fallback(section, feed.source, own["source"])
            values[section] = Feed.from_config(own, place=feed.place)
        replaced = DataSection(**values)
        replaced.place = self.place
        return replaced

    def _check_fallback(self, section: str, source: Any, instead: Any) -> None:
        """ConfigError where the fallback's samples are not of the same form."""
        ours, theirs = ({n: (s.shape, s.role, s.high) for n, s in one.specs().items()} for one in (source, instead))
        if ours != theirs:
            form = "; ".join(
                f"{type(one).__name__} gives " + ", ".join(f"{n} {spec}" for n, spec in one.specs().items())
                for one in (source, instead)
            )
            raise ConfigError(
                f"data: fallback {type(instead).__name__} cannot stand in for {type(source).__name__} in {section}",
                place=self.place,
                hint=form,
            )


def is_image(spec: Spec) -> bool:
    """Whether a sample of this kind is an image (C, H, W)."""
    return spec.is_real and spec.ndim == 3


def label_of(specs: Mapping[str, Spec], place: Place | None = None) -> str:
    """The blob of the class of a sample, from the specs of samples; ConfigError where there is none, or several."""
    labels = [name for name, spec in specs.items() if not spec.is_real and not spec.shape]
    if len(labels) == 1:
        return labels[0]
    found = f"there are several: {', '.join(labels)}" if labels else "there is none"
    raise ConfigError(f"augment: mixup and cutmix need one blob of class labels, {found}", place=place)
