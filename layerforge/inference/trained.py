"""A trained net, opened from a run, a checkpoint, a file of weights or a folder, without the data that it learned from.

layerforge train ...    runs/<name>/<time>/checkpoints/best.h5    configuration, signature, transform, weights
model.save(folder)      <folder>/net.yaml, <folder>/weights.h5    the same, in two files
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.backend import Backend, get_backend
from ..config.document import Config
from ..config.other_backend import moved
from ..config.text_file import read_text
from ..config.yaml_dump import dump_yaml
from ..config.yaml_file import parse_yaml
from ..data.array_reader import ArrayReader
from ..data.kinds import Kind, kinds_of
from ..data.learned import Learned
from ..data.loader import Loader
from ..data.opening import open_data
from ..data.reader import Reader
from ..data.readers import reader_of
from ..data.transform import InputTransform
from ..graph.signature import Signature, signature_of
from ..graph.uses import uses_of
from ..net import Net
from ..run.weights_file import read_weights
from ..schema import user_modules
from ..schema.errors import ConfigError, DataError
from ..schema.locations import PlacedDict
from ..training.checkpoints import TRANSFORM
from ..training.preparation import signature_for
from ..training.rundir import find_run, load_config, weights_of

YAML = (".yaml", ".yml")
HOLDING = (".h5", ".safetensors", ".pt", ".pth")  # of files that hold weights, and may hold their net
NET, WEIGHTS = "net.yaml", "weights.h5"  # the files of a folder that holds a model
FIDELITY = "fidelity.json"  # of one that was imported


@dataclass
class Trained:
    """A net with its weights.

    config      the configuration that was given, with its overrides; None where the file's own is meant
    tree        the configuration that the net was built from, its section of data included where it has one
    run         the run that they are of; None for a file by itself
    weights     the file that they are from
    signature   what the net takes and gives
    reader      how samples come from files and objects; None where the file does not say so
    transform   that of its training data; None where the file does not hold one
    allow_import   whether the run's own configuration may run Python files
    """

    config: Config | None
    tree: PlacedDict
    run: str | None
    net: Net
    weights: Path
    signature: Signature
    reader: Reader | None
    transform: InputTransform | None
    allow_import: bool = False

    @property
    def knows_preprocessing(self) -> bool:
        """Whether it is known what becomes of samples; of many imports only what the net itself takes is."""
        if self.transform is None or self.reader is None:
            return False
        if self.tree.get("data") is not None or self.transform.kinds or not isinstance(self.reader, ArrayReader):
            return True
        constants = self.transform.affine.values()
        changes = any(np.any(factor != 1) or np.any(offset != 0) for factor, offset in constants)
        return changes or not any(spec.is_real for spec in self.reader.specs.values())

    def __getstate__(self) -> dict[str, Any]:
        """Without the configuration of the data: what a copy predicts with."""
        return {**vars(self), "config": None}

    def inputs_of(self, blobs: Iterable[str]) -> list[str]:
        """The inputs that some blobs are computed from."""
        phase, names = self.net.graph.phases["eval"], set(blobs)
        wanted = {blob.index for blob in phase.blobs if blob.name in names}
        for step in reversed(phase.steps):
            if wanted & set(step.tops):
                wanted |= set(step.bottoms)
        return [b.name for b in phase.blobs if b.index in wanted and b.producer is None]

    def kinds(self) -> dict[str, Kind]:
        """What training saw of the inputs, as far as that is known."""
        return {} if self.transform is None else self.transform.kinds

    def demand_reader(self) -> Reader:
        """How samples are read. DataError where the file does not say so."""
        if self.reader is None:
            hint = "use a checkpoint of a run, or model.net.forward with prepared arrays"
            raise DataError(f"{self.weights} does not say how inputs are read", hint=hint)
        return self.reader

    def prepare(self, name: str, samples: np.ndarray, where: str = "the samples") -> np.ndarray:
        """Raw samples of an input as the net sees them.

        Errors   DataError where they are of another kind than training's: bytes, range or shape
        """
        transform = self.transform
        if transform is None:
            hint = "use a checkpoint of a run, or model.net.forward with prepared arrays"
            raise DataError(f"{self.weights} does not say how inputs were scaled", hint=hint)
        kind = transform.kinds.get(name)
        if kind is not None:
            kind.check(name, samples, where)
        return transform(name, samples, self.net.dtype)

    def _config_of_data(self) -> Config:
        """The configuration as it was given, or that of the run, or that of the checkpoint."""
        if self.config is not None:
            return self.config
        if self.run is not None:
            return load_config(self.run, (), self.allow_import)[0]  # what it imports need not be what the file does
        return Config.from_dict(self.tree, (), user_modules.import_all)

    def open_data(self, section: str) -> Loader:
        """The loader of one data section; its inputs go through the transform of training.

        Where the file has a signature, classes, words and columns are those that it says: no file of train is read.
        """
        config = self._config_of_data()
        config.raise_errors()
        if config.data is None:
            raise ConfigError("the configuration has no data section", hint="declare the data that the net is for")
        top, learned = config.top, None
        if self.reader is not None and self.signature.reader is not None:
            learned = Learned(config.data.train.source, self.signature.class_names, self.reader)
        opened = open_data(
            config.data,
            sections=(section,),
            seed=top.seed,
            dtype=top.dtype,
            transform=self.transform,
            uses=uses_of(self.net.graph),
            learned=learned,
        )
        return opened.loaders[section]


def open_trained(
    target: str | Path,
    overrides: Iterable[str] = (),
    weights: str | Path | None = None,
    allow_import: bool = False,
    backend: str | Backend | None = None,
) -> Trained:
    """The trained net of a run (its best checkpoint), a checkpoint, a file of weights, or a folder of `Model.save`.

    overrides   texts such as "data.val.path=new.csv", for a run or a configuration
    weights     a file of weights or a run whose weights are taken, also for a configuration that is no run; `target`
                says what the net is, and weights that do not fit it are refused
    backend     where the net is to compute, whatever its configuration says: engines of another backend are `auto`,
                with a warning

    Errors   DataError for a file that is damaged, or does not say what its net is; ConfigError for what is nothing of
             these, and for one that would run Python files without `allow_import`; BackendMissing
    """
    folder, config = Path(target), None
    if "\0" in str(target):
        raise DataError(f"{str(target)!r} is no path: it has a NUL in it", hint="check the path")
    run, overrides = find_run(folder), tuple(overrides)
    whole = run is None and (folder / NET).is_file()
    by_itself = run is None and not whole and folder.is_file() and folder.suffix not in YAML
    if by_itself and weights is not None:
        by_itself = folder.suffix in HOLDING  # a configuration may be called as it likes
    if run is None and not whole and not by_itself:
        config, _ = load_config(str(target), overrides, allow_import, wants_run=weights is None)
        if weights is None:
            hint = "add --weights FILE, or give a run's folder"
            raise ConfigError(f"{target} is a config: which weights?", hint=hint)
    elif run is not None and (overrides or weights is not None):
        config, _ = load_config(str(target), overrides, allow_import)
    if whole and weights is None and not (folder / WEIGHTS).exists():
        raise _without_weights(folder)
    file = weights_of(weights or (folder / WEIGHTS if whole else run.path if run is not None else folder))
    given = read_weights(file)
    meta = given.meta
    if whole:
        name, text = str(folder / NET), read_text(folder / NET)
    elif config is not None:
        name, text = f"{folder if weights is not None else file} (config)", dump_yaml(config.resolved())
    else:
        own_file = folder if by_itself else file
        name, text = f"{own_file} (config)", _net_of(own_file, meta if weights is None else read_weights(own_file).meta)
    tree, signature = parse_yaml(text, name), signature_of(meta, str(file))
    if config is None:
        _refuse_imports(tree, name, allow_import)
    if config is None and overrides:
        config = Config.from_dict(tree, overrides, user_modules.import_all)
        tree = parse_yaml(dump_yaml(config.resolved()), name)
    if backend is not None:
        backend = get_backend(backend)
        tree = moved(tree, backend.name)
    own = _config(tree, name, signature)
    with _needing_data(file, signature):
        net = Net(own, keep="none", backend=backend)
    net.load_arrays(given.whole(net), str(file))
    transform = transform_of(given.arrays, meta, str(file))
    if signature is not None and signature.reader is not None:
        reader: Reader | None = reader_of(signature.reader, str(file))
    elif tree.get("data") is None:
        signature = signature or Signature.of(net.graph)
        reader, transform = _as_declared(net, transform)
    else:  # of weights alone, and of earlier versions
        with_data = config or (own if signature is None else Config.from_dict(tree, (), user_modules.import_all))
        with _needing_data(file, signature):
            signature, reader = _from_data(net, with_data, signature)
    place = None if run is None else str(run.path)
    return Trained(config, tree, place, net, file, signature, reader, transform, allow_import)


def _net_of(file: Path, meta: Mapping[str, Any]) -> str:
    """The configuration that a file of weights holds. Errors: DataError where it holds none"""
    text = meta.get("config")
    if not isinstance(text, str):
        hint = "give its configuration, too: in Python Net.from_yaml(...) and net.load(...), otherwise --weights"
        raise DataError(f"{file} holds weights only, and does not say what their net is", hint=hint)
    return text


def _without_weights(folder: Path) -> DataError:
    """The error for a folder with a net alone."""
    if (folder / FIDELITY).is_file():
        told, hint = "the import had no weights", "import it again with its weights, or add --weights FILE"
    else:
        told, hint = f"there is no {WEIGHTS} beside {NET}", "add --weights FILE"
    return DataError(f"{folder} holds a net without weights: {told}", hint=hint)


@contextmanager
def _needing_data(file: Path, signature: Signature | None) -> Iterator[None]:
    """Say of data that are missing why they are needed: an earlier version wrote no signature."""
    try:
        yield
    except DataError as error:
        if signature is None:
            why = f"{file} is of an earlier version, which left shapes and names with the data"
            error.hint = f"{error.hint}; {why}" if error.hint else why
        raise


def _as_declared(net: Net, transform: InputTransform | None) -> tuple[Reader, InputTransform]:
    """Of a net whose inputs are declared, without data: samples are what the net takes, and stay as they are."""
    raw = {name: spec.with_shape(spec.shape[1:]) for name, spec in net.graph.inputs.items()}
    same = {name: (np.asarray(1.0), np.asarray(0.0)) for name, spec in raw.items() if spec.is_real}
    return ArrayReader(raw), transform or InputTransform(same)


def _from_data(net: Net, config: Config, signature: Signature | None) -> tuple[Signature, Reader | None]:
    """How samples are read is with the data, where these are here; a signature serves without."""
    if config.data is None:
        return signature or Signature.of(net.graph), None
    try:
        source = config.data.train.source
        found, reader = signature_for(net, source), source.reader()
    except (DataError, ConfigError):
        if signature is None:
            raise
        return signature, None
    return (found if signature is None else replace(signature, class_names=found.class_names)), reader


def _refuse_imports(tree: Mapping[str, Any], name: str, allow_import: bool) -> None:
    """ConfigError where a configuration, which may be somebody else's, would run Python files without leave."""
    imports = tree.get("import")
    if imports and not allow_import:
        listed = ", ".join(map(str, imports)) if isinstance(imports, list) else str(imports)
        hint = "if you trust them, run them with --allow-import; in Python: allow_import=True"
        raise ConfigError(f"{name} imports Python files: {listed}", hint=hint)


def _config(tree: PlacedDict, name: str, signature: Signature | None) -> Config:
    if signature is not None:
        return Config.of_inputs(tree, name, signature.inputs, user_modules.import_all)
    return Config.from_dict(tree, (), user_modules.import_all)


def transform_of(
    arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], source: str = "the checkpoint"
) -> InputTransform | None:
    """The input transform that a checkpoint holds, with what training saw; None where it holds none."""
    state = {k.removeprefix(TRANSFORM): v for k, v in arrays.items() if k.startswith(TRANSFORM)}
    whole = state or "kinds" in meta or meta.get("kind") == "checkpoint"  # indices have no constants
    return InputTransform.from_state(state, kinds_of(meta, source)) if whole else None
