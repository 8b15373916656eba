"""Caffe's layers that give data, as sources of LayerForge: what a feed of the data section says, and what it gives.

    Caffe                                     data section
    Data, data_param                          type: LMDB, path
    ImageData, image_data_param               type: ImageList, path, folder, size, resize, color
    HDF5Data, hdf5_data_param                 type: HDF5, path, folder, blobs
    transform_param: scale, mean_*            transform: scale, mean, mean_file
    transform_param: crop_size, mirror        augment: random_crop, flip (of TRAIN)

Caffe computes (x - mean) scale, so that `mean`, which is subtracted after scaling here, is mean_value scale. What is
not read here of the layers' own fields is refused by the translation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...arrays.spec import Spec
from ...config.data_section import DataSection
from ...data.mean_image import read_mean_image
from ...schema.errors import ConfigError, LayerForgeError, flatten
from ...schema.locations import Place
from ..fidelity import Report
from .conversion import Unsupported
from .inputs import LABELLED
from .message import Message, single
from .paths import below

LEVELDB = (
    "convert it where Caffe is: tools/convert_imageset --backend=lmdb, or read it with the package plyvel and write it"
    " with layerforge.data.lmdb_writing; then backend: LMDB"
)

UNREADABLE = "without new_height and new_width the size of the images is that of the first, which cannot be read"
SPEED = "it changes how fast data are read, not which"


@dataclass
class Feeding:
    """What one data layer says.

    layer      its LayerParameter
    feed       its feed in the data section, with absolute paths; None where no source of LayerForge reads its data
    transform  of the data section
    augment    of data.train
    batch      samples in a batch; 0 where that is not known
    channels   of its images, 0 where that is not known
    shape      of a sample of the first top as it is stored, None where that is not known
    specs      of the tops, as far as they are known, with the batch axis
    notes      what is to be known of it
    missing    the files that are not here, in words
    ignored    (path of a field, place, why): what changes nothing here
    """

    layer: Message
    feed: dict[str, Any] | None = None
    transform: dict[str, Any] = field(default_factory=dict)
    augment: dict[str, Any] = field(default_factory=dict)
    batch: int = 0
    channels: int = 0
    shape: tuple[int, ...] | None = None
    specs: dict[str, Spec] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    ignored: list[tuple[str, Place, str]] = field(default_factory=list)

    @property
    def tops(self) -> list[str]:
        return list(self.layer.get("top"))

    @property
    def crop(self) -> int:
        """The side of the window that the net sees, 0 for all of the image."""
        size = self.augment.get("random_crop", {}).get("size", (0,))
        return int(size[0])

    def ignore(self, message: str, *names: str, why: str) -> None:
        """List the fields of a message of the layer that are set and change nothing."""
        given = self.layer.get(message)
        for name in names:
            if given.has(name):
                self.ignored.append((f"{message}.{name}", given.place(name), why))

    def said(self, told: str) -> str:
        """A sentence about the layer."""
        return f"layer '{self.layer.get('name')}' ({self.layer.get('type')}): {told}"


Reader = Callable[[Feeding, Message, Sequence[Path], str], None]


def feedings(
    net: Message, roots: Sequence[Path], phase: str, asked: Mapping[str, Sequence[int]] | None = None
) -> tuple[list[Feeding], list[LayerForgeError]]:
    """The data layers of a net that was filtered for its phase, and what is wrong with them.

    roots   folders that their files are below
    phase   TRAIN or TEST
    asked   shapes that the user says: a layer of which all are said needs no data, and what is wrong with its data is
            a note
    """
    found: list[Feeding] = []
    errors: list[LayerForgeError] = []
    for layer in net.get("layer"):
        kind = layer.get("type")
        if kind not in READERS:
            continue
        made = Feeding(layer)
        found.append(made)
        try:
            name, read = READERS[kind]
            message = layer.get(name)
            read(made, message, roots, phase)
        except LayerForgeError as error:
            layer.mark_read()  # what follows is not judged
            if asked and made.tops and all(top in asked for top in made.tops):
                made.feed, made.transform, made.augment = None, {}, {}
                made.notes += [f"its data cannot be read: {one.message}" for one in flatten(error)]
            else:
                errors += flatten(error)
    sourced = [one for one in found if one.layer.get("type") in SOURCED]
    for extra in sourced[1:]:
        told = extra.said(f"'{sourced[0].layer.get('name')}' gives data in the same phase")
        hint = "a net has one source here: write all blobs into one HDF5 file, and one HDF5Data layer"
        errors.append(Unsupported(told, place=extra.layer.place("name"), hint=hint))
    return found, errors


def shapes_of(found: Sequence[Feeding], asked: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    """The shapes of the tops, as far as they are known; those that are asked for count.

    A batch of another size than the definition's has as many labels.
    """
    shapes: dict[str, Sequence[int]] = {}
    for one in found:
        tops = one.tops
        shapes |= {name: spec.shape for name, spec in one.specs.items()}
        given = asked.get(tops[0]) if tops else None
        if given is not None and len(given) and one.layer.get("type") in LABELLED:
            shapes |= dict.fromkeys(tops[1:2], (given[0],))
    return {**shapes, **asked}


def tell(report: Report, found: Sequence[Feeding]) -> None:
    """Say in the report of a model what its data layers do."""
    list_read(report, found)
    for one in found:
        report.entry(one.layer.get("name")).notes += one.notes
        if one.transform:
            report.preprocessing |= {f"{one.tops[0]}: {key}": value for key, value in one.transform.items()}
        report.preprocessing |= {f"{one.tops[0]}: {key}": value for key, value in one.augment.items()}


def list_read(report: Report, found: Sequence[Feeding]) -> None:
    """List in a report the files of data layers that are not here, and their fields that change nothing, once each."""
    for one in found:
        report.notes += [told for told in map(one.said, one.missing) if told not in report.notes]
        who = f"layer {one.layer.get('name')}: "
        fields = [(f"{who}{path}", str(place), why) for path, place, why in one.ignored]
        report.ignored += [entry for entry in fields if entry not in report.ignored]


# Types ----------------------------------------------------------------------------------------------------------------


def _data(made: Feeding, message: Message, roots: Sequence[Path], phase: str) -> None:
    if message.get("backend") != "LMDB":
        place = message.place("backend") if message.has("backend") else message.place()
        told = made.said("LevelDB, which is Caffe's default, is not read")
        raise Unsupported(told, place=place, hint=LEVELDB)
    _tops(made, (1, 2))
    made.feed = {"type": "LMDB", "path": _path(made, message, "source", roots), "blob": made.tops[0]}
    made.feed["label"] = made.tops[1] if len(made.tops) > 1 else None
    made.ignore("data_param", "prefetch", "threads", "parser_threads", "cache", why=SPEED)
    _rand_skip(made, message)
    made.feed["shuffle"] = message.get("shuffle")
    made.batch = _batch(made, message)
    transform = made.layer.get("transform_param")
    colour = bool(transform.get("force_color") or message.get("force_encoded_color"))
    gray = bool(transform.get("force_gray"))
    if transform.get("force_color") and gray:
        told = made.said("force_color and force_gray are both set")
        raise ConfigError(told, place=transform.place("force_gray"), hint="remove one of them")
    if colour or gray:
        made.feed["color"] = "bgr" if colour else "gray"
        made.channels = 3 if colour else 1
    _transform(made, roots, phase)
    _measure(made)


def _image_data(made: Feeding, message: Message, roots: Sequence[Path], phase: str) -> None:
    _tops(made, (2, 2))
    if made.tops[1] != "label":
        told = made.said(f"the blob of classes is called '{made.tops[1]}'")
        raise Unsupported(told, place=made.layer.place("top", 1), hint="call it label")
    size = [message.get("new_height"), message.get("new_width")]
    if bool(size[0]) != bool(size[1]):
        told = made.said("new_height and new_width go together")
        raise ConfigError(told, place=message.place("new_height" if size[0] else "new_width"))
    made.channels = 3 if message.get("is_color") else 1
    root = message.get("root_folder")
    made.feed = {
        "type": "ImageList",
        "path": _path(made, message, "source", roots),
        "folder": str(below(root, roots, message.place("root_folder")) if root else roots[-1].resolve()),
        "delimiter": " ",
        "label": 1,
        "blob": made.tops[0],
        "color": "bgr" if made.channels == 3 else "gray",
        "shuffle": message.get("shuffle"),
    }
    _rand_skip(made, message)
    made.batch = _batch(made, message)
    _transform(made, roots, phase)
    if size[0]:
        made.feed |= {"size": size, "resize": size, "antialias": False}
    else:
        first = _first_image(made.feed["path"], made.feed["folder"])
        if first is None:
            made.feed = None
            made.notes.append(UNREADABLE)
            return
        made.feed |= {"size": list(first)}
        made.notes.append(f"all images have the size of the first, {first[0]} x {first[1]}: others are scaled to it")
    made.shape = (made.channels, *made.feed["size"])
    _measure(made)


def _hdf5_data(made: Feeding, message: Message, roots: Sequence[Path], phase: str) -> None:
    if made.layer.has("transform_param"):
        told = made.said("HDF5Data takes no transform_param")
        raise ConfigError(told, place=made.layer.place("transform_param"), hint="remove it, as Caffe demands")
    path = _path(made, message, "source", roots)
    made.feed = {"type": "HDF5", "path": path, "folder": str(roots[-1].resolve())}
    made.feed["blobs"] = {top: top for top in made.tops}
    made.feed["shuffle"] = message.get("shuffle")
    made.batch = _batch(made, message)
    _measure(made)


def _memory_data(made: Feeding, message: Message, roots: Sequence[Path], phase: str) -> None:
    _tops(made, (2, 2))
    sizes = [message.get(name) for name in ("batch_size", "channels", "height", "width")]
    if not all(sizes):
        told = made.said("batch_size, channels, height and width are its shape, and must be above 0")
        raise ConfigError(told, place=message.place())
    made.batch, made.channels = sizes[0], sizes[1]
    made.specs = {made.tops[0]: Spec(tuple(sizes)), made.tops[1]: Spec((sizes[0],))}
    made.notes.append(
        "its batches are given in Python: net.forward, or a data section of type Arrays; as in Caffe they are given as"
        " the net sees them"
    )
    _transform(made, roots, phase)


READERS: dict[str, tuple[str, Reader]] = {
    "Data": ("data_param", _data),
    "ImageData": ("image_data_param", _image_data),
    "HDF5Data": ("hdf5_data_param", _hdf5_data),
    "MemoryData": ("memory_data_param", _memory_data),
}
SOURCED = ("Data", "ImageData", "HDF5Data", "MemoryData")


# Fields ---------------------------------------------------------------------------------------------------------------


def _tops(made: Feeding, allowed: tuple[int, int]) -> None:
    if not allowed[0] <= len(made.tops) <= allowed[1]:
        told = made.said(f"takes {allowed[0]} to {allowed[1]} top(s), it has {len(made.tops)}")
        raise ConfigError(told, place=made.layer.place("top"))


def _path(made: Feeding, message: Message, name: str, roots: Sequence[Path]) -> str:
    if not message.get(name):
        raise ConfigError(made.said(f"{name} is missing"), place=message.place())
    return str(below(message.get(name), roots, message.place(name)))


def _batch(made: Feeding, message: Message) -> int:
    size: int = message.get("batch_size")
    if not size:
        told = made.said("batch_size must be above 0")
        raise ConfigError(told, place=message.place("batch_size") if message.has("batch_size") else message.place())
    assert made.feed is not None
    made.feed["batch_size"] = size
    return size


def _rand_skip(made: Feeding, message: Message) -> None:
    if message.get("rand_skip"):
        made.notes.append("rand_skip is not done: an epoch begins at its beginning")


def _transform(made: Feeding, roots: Sequence[Path], phase: str) -> None:
    """The transform_param of a layer whose samples are images."""
    p = made.layer.get("transform_param")
    scale = single(p.get("scale"))
    made.transform = {"scale": scale}
    values = [single(value * p.get("scale")) for value in p.get("mean_value")]
    if values and p.has("mean_file"):
        raise ConfigError(made.said("mean_file and mean_value are both given"), place=p.place("mean_file"))
    if scale == 0:
        raise ConfigError(made.said("scale is 0"), place=p.place("scale"))
    if values:
        made.transform["mean"] = values[0] if len(values) == 1 else values
        made.channels = made.channels or (len(values) if len(values) > 1 else 0)
    if p.get("mean_file"):
        made.transform["mean_file"] = str(below(p.get("mean_file"), roots, p.place("mean_file")))
        if Path(made.transform["mean_file"]).exists():
            made.shape = read_mean_image(made.transform["mean_file"]).shape
        else:
            made.missing.append(f"its mean image is not here: {made.transform['mean_file']}")
    if size := p.get("crop_size"):
        made.augment["random_crop"] = {"size": [size, size]}
    if p.get("mirror"):
        if phase == "TRAIN":
            made.augment["flip"] = "horizontal"
        else:
            made.notes.append("mirror: Caffe mirrors images at random in the TEST phase, too; here they stay")
    if made.layer.get("type") != "Data":
        kind = f"a layer of type {made.layer.get('type')} does not read it"
        made.ignore("transform_param", "force_color", "force_gray", why=kind)


def _first_image(path: str, folder: str) -> tuple[int, int] | None:
    """Height and width of the first image of a list; None where it cannot be read."""
    from ...data.image_form import pillow

    try:
        with open(path, encoding="utf-8-sig") as file:
            name = file.readline().strip().rsplit(" ", 1)[0]
        with pillow().open(Path(folder, name)) as image:
            return image.height, image.width
    except (OSError, UnicodeDecodeError, ValueError):
        return None


def _measure(made: Feeding) -> None:
    """The specs of the tops: from the data where they are here, otherwise from what the definition says."""
    assert made.feed is not None
    data, label = made.tops[0], made.tops[1:2]
    if Path(made.feed["path"]).exists():
        section = section_of(made, None)
        stored = section.train.source.specs()[data].shape
        made.shape = stored if len(stored) == 3 else None
        specs = section.sample_specs("train")
        made.specs = {name: spec.with_shape((made.batch, *spec.shape)) for name, spec in specs.items()}
        return
    made.missing.append(f"its data are not here: {made.feed['path']}")
    if made.feed["type"] == "HDF5":
        return
    if made.shape is None and made.crop and made.channels:
        made.shape = (made.channels, made.crop, made.crop)
    if made.shape is not None:
        sides = (made.crop, made.crop) if made.crop else made.shape[1:]
        made.specs = {data: Spec((made.batch, made.shape[0], *sides))}
        made.specs |= {name: Spec((made.batch,), role="index") for name in label}


def section_of(train: Feeding, val: Feeding | None) -> DataSection:
    """The data section of two layers. Errors: those of the section and its sources."""
    return DataSection.from_config(mapping_of(train, val, lambda path: path))


def mapping_of(train: Feeding, val: Feeding | None, written: Callable[[str], str]) -> dict[str, Any]:
    """The data section as a mapping, with paths as `written` makes them."""
    section: dict[str, Any] = {}
    if train.transform:
        section["transform"] = _paths(train.transform | {"blobs": [train.tops[0]]}, written)
    section["train"] = _paths(train.feed or {}, written) | ({"augment": train.augment} if train.augment else {})
    if val is not None:
        section["val"] = _paths(val.feed or {}, written)
    return section


def _paths(values: Mapping[str, Any], written: Callable[[str], str]) -> dict[str, Any]:
    return {key: written(v) if key in ("path", "folder", "mean_file") else v for key, v in values.items()}
