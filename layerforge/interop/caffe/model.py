"""A Caffe model that was opened: its configuration, its weights, and the account of how exact it is.

model = load_model("net.prototxt", "w.caffemodel", phase="test")
net = model.net(keep="all")
net.forward(phase="eval", backward=True, data=x)
model.blob(net, "conv1").data       # by Caffe's name
model.param(net, "conv1", 0).grad   # in Caffe's layout
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...net import Net
from ...schema.errors import ConfigError, DataError, LayerForgeError, raise_all
from ...schema.synonyms import did_you_mean
from ..emitting import path_of
from ..fidelity import Report
from . import rules
from .conversion import BlobMap
from .feeding import Feeding, feedings, shapes_of, tell
from .message import Message
from .names import Version, split_names
from .reading import SUFFIXES, Weights, demand_match, read_definition, read_weights, taken_out
from .translation import Translation, is_fed, translate
from .views import CaffeBlob, CaffeParam, ImportedNet

SPELLINGS = {"train": "TRAIN", "test": "TEST", "eval": "TEST"}  # of phases


class Misfit(DataError):
    """Blobs of another number or shape than those of a layer: of another net, but whole."""


class Model:
    """A net of Caffe as a configuration of LayerForge, with its weights.

    definition   the NetParameter, brought up to date, of one phase
    whole        the same with the layers of all phases
    name         of the net
    phase        TRAIN or TEST
    config       the mapping for Net.from_config
    arrays       weights and statistics by the names of `net.arrays()`, as far as they were given
    report       how exact each layer is, what was ignored, what things are called
    feedings     its layers that read data
    taken        the files of weights that were taken
    asked        how it was opened: `level` and `stages`, as load_model takes them
    """

    def __init__(self, translation: Translation, whole: Message, roots: Sequence[Path] = ()) -> None:
        """Use `load_model`."""
        self.translation = translation
        self.roots = roots
        self.feedings: list[Feeding] = []
        self.taken: list[Weights] = []
        self.asked: dict[str, Any] = {"level": 0, "stages": []}
        self.definition: Message = translation.net
        self.whole = whole
        self.name: str = whole.peek("name") or Path(translation.report.source).stem
        self.phase = translation.phase
        self.report: Report = translation.report
        self.arrays: dict[str, np.ndarray] = {}
        self.blob_maps: dict[str, list[BlobMap]] = {}
        for site in translation.sites:
            if site.blobs:
                self.blob_maps.setdefault(site.name, site.blobs)
        self._shapes = {
            path_of(space, made.name, name): decl.shape
            for site in translation.sites
            for made in site.made
            for space, decls in (("params", made.layer.param_decls), ("state", made.layer.state_decls))
            for name, decl in decls.items()
        }
        self._owners = {
            path_of("params", made.name, name): path_of("params", *owner.rsplit(".", 1))
            for site in translation.sites
            for made in site.made
            for name, owner in made.item.get("share", {}).items()
        }

    @property
    def config(self) -> dict[str, Any]:
        """The mapping for Net.from_config."""
        return self._config(self.translation)

    def _config(self, translation: Translation) -> dict[str, Any]:
        inputs = {"inputs": dict(translation.inputs)} if translation.inputs else {}
        return {"name": self.name, **inputs, "net": [dict(layer) for layer in translation.layers]}

    @cached_property
    def _with_splits(self) -> Translation:
        """The same with a name for each copy of a blob, as Caffe has them."""
        shapes, roots = self.translation.shapes, self.roots
        made = translate(self.definition, self.phase, self.report.source, shapes=shapes, roots=roots, splits=True)
        raise_all(made.errors)
        return made

    def shapes_for(self, inputs: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
        """The shapes of blobs, by their names here, for inputs of other shapes than the definition's.

        Errors   those of `load_model`, where a layer does not take them
        """
        if all(tuple(self.translation.inputs[name]["shape"]) == tuple(shape) for name, shape in inputs.items()):
            made = self.translation
        else:
            made = translate(self.definition, self.phase, self.report.source, shapes=inputs, roots=self.roots)
            raise_all(made.errors)
        return {name: stream.shape for site in made.sites for name, stream in site.streams.items()}

    # Nets ---------------------------------------------------------------------------------------------------------

    def net(self, *, keep: str | Iterable[str] = "all", engine: str | None = None, backend: str | None = None) -> Net:
        """A net with the weights that are here; what has none starts from its filler.

        keep     "all" blobs, also the copies that Caffe makes for several readers; a list of names; or "none"
        engine   auto, reference or onednn, as in a configuration
        """
        translation = self._with_splits if keep == "all" else self.translation
        config = self._config(translation) | ({"engine": engine} if engine else {})
        net = ImportedNet.from_config(config, keep=keep, backend=backend)
        net.imported = self
        self.fill(net)
        return net

    def fill(self, net: Net) -> None:
        """Put the weights that are here into a net of this configuration."""
        net.load_arrays(net.arrays() | self.arrays, self.report.source)

    # Blobs of layers ----------------------------------------------------------------------------------------------

    def blobs_of(self, layer: str) -> list[BlobMap]:
        """Where the blobs of a layer lie. Errors: ConfigError for a layer that has none."""
        if layer not in self.blob_maps:
            known = list(self.blob_maps)
            hint = did_you_mean(layer, known) or f"layers with blobs: {', '.join(known) or 'none'}"
            raise ConfigError(f"there is no layer '{layer}' with blobs", hint=hint)
        return self.blob_maps[layer]

    def holds(self, place: BlobMap, arrays: Mapping[str, np.ndarray]) -> bool:
        """Whether the arrays of a net have a blob, in its shape."""
        path = self._owners.get(place.path, place.path)
        return path in arrays and arrays[path].shape == tuple(self._shapes[path])

    def foreign(self, name: str) -> str:
        """Caffe's name of an input; any other name stays what it is."""
        for blob, versions in self.translation.names.versions.items():
            if versions[0].name == name:
                return str(blob)
        return name

    def owned(self) -> list[BlobMap]:
        """The blobs of all layers in Caffe's order, those of shared parameters once, at their owner."""
        maps = (place for site in self.translation.sites for place in site.blobs)
        return [place for place in maps if place.path not in self._owners]

    def set_blobs(self, layer: str, blobs: Sequence[Any]) -> None:
        """Take a layer's blobs, in Caffe's order and layout; `net()` builds nets with them.

        A blob that another layer owns may be None, or missing at the end.
        Errors   DataError where their number or a shape does not fit; Caffe's old shapes of four axes do
        """
        maps = self.blobs_of(layer)
        shared = [place.path in self._owners for place in maps]
        blobs = [*blobs, *[None] * (len(maps) - len(blobs))] if all(shared[len(blobs) :]) else blobs
        blobs = _without_nvidias(blobs, len(maps))
        if len(blobs) != len(maps):
            raise Misfit(f"layer '{layer}' has {len(maps)} blob(s), {len(blobs)} are given")
        for number, (place, blob) in enumerate(zip(maps, blobs, strict=True)):
            if blob is None and shared[number]:
                continue
            if blob is None:
                raise DataError(f"blob {number} of layer '{layer}' is missing")
            array = np.asarray(blob)
            if not place.fits(array.shape):
                told = f"blob {number} of layer '{layer}' has shape {place.shape}, {array.shape} is given"
                raise Misfit(told)
            path = self._owners.get(place.path, place.path)
            shape = self._shapes[path]
            if path not in self.arrays or place.columns is None:
                self.arrays[path] = np.zeros(shape, dtype=np.float32)
            place.put(np.asarray(array, dtype=np.float32), self.arrays[path])

    def get_blobs(self, layer: str, arrays: Mapping[str, np.ndarray] | None = None) -> list[np.ndarray]:
        """A layer's blobs in Caffe's order and layout: from the arrays of a net, or as they were loaded.

        Errors   DataError where there is none
        """
        arrays = self.arrays if arrays is None else arrays
        found = []
        for number, place in enumerate(self.blobs_of(layer)):
            path = self._owners.get(place.path, place.path)
            if path not in arrays:
                raise DataError(f"blob {number} of layer '{layer}' was not loaded", hint="load a file of weights")
            found.append(np.array(place.get(arrays[path]), dtype=np.float32))
        return found

    def take(self, *files: Weights) -> None:
        """Take the weights of files, by the names of the layers; where several have a layer the last one counts.

        Errors   ConfigError with all layers whose blobs have other numbers or shapes: the weights are another net's
        """
        unfit: list[LayerForgeError] = []
        for file in files:
            for layer, blobs in file.layers.items():
                if layer in self.blob_maps and blobs:
                    try:
                        self.set_blobs(layer, blobs)
                    except Misfit as error:
                        hint = "give the layer another name in the definition to begin it anew"
                        unfit.append(ConfigError(f"{file.source}: {error.message}", hint=hint))
                elif blobs:
                    self.report.notes.append(f"the weights of layer '{layer}' in {file.source} belong to no layer here")
        raise_all(unfit)
        self.taken += files
        if not files:
            return
        sources = " and ".join(file.source for file in files)
        for layer, places in self.blob_maps.items():
            given = any(file.layers.get(layer) for file in files)
            if not given and any(place.path not in self._owners for place in places):
                self.report.notes.append(f"{sources} has no weights for layer '{layer}': it starts from fillers")

    # Looking at a net ---------------------------------------------------------------------------------------------

    def blob(self, net: Net, name: str) -> CaffeBlob:
        """A blob by Caffe's name, of the last pass of a net: .data and .grad.

        Of a blob that layers overwrite in place .data is what the last of them wrote, and .grad the gradient of what
        the first of them read: what Caffe's one pair of arrays holds after a backward. The copies that Caffe makes for
        several readers (`x_x_0_split_1`) are there where the net keeps all blobs.
        """
        versions = self.translation.names.versions.get(name)
        if versions is not None:
            return CaffeBlob(net, name, versions[-1].name, versions[0].name)
        for copies in self._copies().values():
            if name in copies:
                return CaffeBlob(net, name, name, name)
        known = [*self.translation.names.versions, *(n for copies in self._copies().values() for n in copies)]
        hint = did_you_mean(name, known) or f"there are: {', '.join(known)}"
        raise ConfigError(f"there is no blob '{name}'", hint=hint)

    def _copies(self) -> dict[str, list[str]]:
        """The copies of each blob that has several readers."""
        return {
            version.name: split_names(version, self.translation.sites[version.maker].name)
            for versions in self.translation.names.versions.values()
            for version in versions
        }

    def last_version(self, blob: str) -> str:
        """What the last version of a blob is called here; any other name stays what it is."""
        versions: list[Version] = self.translation.names.versions.get(blob, [])
        return versions[-1].name if versions else blob

    def first_version(self, blob: str) -> str:
        """What the first version of a blob is called here: the name of an input, where it is one."""
        versions: list[Version] = self.translation.names.versions.get(blob, [])
        return versions[0].name if versions else blob

    def param(self, net: Net, layer: str, index: int) -> CaffeParam:
        """A layer's blob by its number, of a net: .data and .grad in Caffe's layout."""
        maps = self.blobs_of(layer)
        if not 0 <= index < len(maps):
            raise ConfigError(f"layer '{layer}' has {len(maps)} blob(s): 0 to {len(maps) - 1}")
        return CaffeParam(net, maps[index])


def load_model(
    definition: str | Path,
    weights: str | Path | Sequence[str | Path] | None = None,
    *,
    phase: str | None = None,
    level: int = 0,
    stages: Iterable[str] = (),
    inputs: Mapping[str, Sequence[int]] | None = None,
    data_root: str | Path | Sequence[str | Path] | None = None,
) -> Model:
    """Open a net of Caffe.

    definition   a prototxt, or a caffemodel with the definition inside
    weights      a .caffemodel or .caffemodel.h5, or several, of which the later count; None: those inside of the
                 definition, set_blobs, or start values
    phase        train or test: which layers are there, and how they behave; None: test, but train for a caffemodel
                 with nothing that feeds a TEST net, as a snapshot of a training is
    level, stages   what the rules of layers ask for; stages beside those of the net's own `state`
    inputs       shapes of inputs by name, in the place of those of the definition
    data_root    a folder that files which the definition names may be in, beside its own, or several

    Errors   ConfigError (exit 2) for everything that is invalid or not supported, all at once with file, line and
             column, and for weights of another net; DataError (exit 3) for a damaged file
    """
    asked = "test" if phase is None else str(phase).lower()
    if asked not in SPELLINGS:
        raise ConfigError(f"phase must be train or test, got '{phase}'")
    wanted, stages = SPELLINGS[asked], tuple(stages)
    problems: list[LayerForgeError] = []
    whole = read_definition(definition, problems)
    inside = taken_out(whole, str(definition))
    net = rules.selected(whole, wanted, level, stages)
    stored = phase is None and Path(definition).suffix in SUFFIXES and not is_fed(net)
    if stored and is_fed(train := rules.selected(whole, "TRAIN", level, stages)):
        wanted, net = "TRAIN", train
    more_roots = [data_root] if isinstance(data_root, str | Path) else data_root or ()
    roots = [Path(definition).parent, *map(Path, more_roots)]
    fed, wrong = feedings(net, roots, wanted, inputs)
    raise_all(error for error in wrong if isinstance(error, DataError))  # shapes are not known either then
    translation = translate(net, wanted, str(definition), shapes=shapes_of(fed, inputs or {}), roots=roots)
    raise_all(problems + wrong + translation.errors)
    tell(translation.report, fed)
    model = Model(translation, whole, roots)
    model.feedings = fed
    model.asked = {"level": level, "stages": list(stages)}
    if stored and wanted == "TRAIN":
        model.report.notes.append(f"the net inside of {definition} is that of TRAIN: it has no data for TEST")
    files = [weights] if isinstance(weights, str | Path) else weights or ()
    given = [read_weights(file) for file in files] or ([inside] if inside.layers else [])
    for one in given:
        demand_match(one, str(definition), whole, model.blob_maps)
    if given:
        model.take(*given)
    return model


def _without_nvidias(blobs: Sequence[Any], count: int) -> Sequence[Any]:
    """Without the weight and the bias that NVIDIA's BatchNorm stores though it learns none: all 1, and all 0."""
    if count != 3 or len(blobs) != 5 or any(blob is None for blob in blobs):
        return blobs
    return blobs[:3] if np.all(np.asarray(blobs[3]) == 1) and np.all(np.asarray(blobs[4]) == 0) else blobs
