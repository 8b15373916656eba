"""A trained net, opened from a run, a checkpoint, a file of weights or a folder, without the data that it learned from.

    layerforge train ...        runs/<name>/<time>/checkpoints/best.h5      configuration, signature, transform, weights
    model.save(folder)          <folder>/net.yaml, <folder>/weights.h5      the same, in two files
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import snapshot
from ..arrays.backend import Backend
from ..config.document import Config
from ..config.text_file import read_text
from ..config.yaml_dump import dump_yaml
from ..config.yaml_file import parse_yaml
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
from ..schema import user_modules
from ..schema.errors import ConfigError, DataError
from ..training.checkpoints import TRANSFORM
from ..training.preparation import described
from ..training.rundir import find_run, load_config, weights_of

YAML = (".yaml", ".yml")
NET, WEIGHTS = "net.yaml", "weights.h5"  # the files of a folder that holds a model


@dataclass
class Trained:
    """A net with its weights.

    configured  reads the configuration of its data; None where there is none
    weights     the file that they are from
    signature   what the net takes and gives
    reader      how samples come from files and objects; None where the file does not say so
    transform   that of its training data; None where the file does not hold one
    """

    configured: Callable[[], Config] | None
    net: Net
    weights: Path
    signature: Signature
    reader: Reader | None
    transform: InputTransform | None

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

    def prepare(self, name: str, samples: np.ndarray, where: str = "the samples") -> np.ndarray:
        """Raw samples of an input as the net sees them.

        Errors   DataError where they are of another kind than training's: bytes, range or shape
        """
        transform = self.transform
        if transform is None:
            raise ConfigError(f"{self.weights} does not say how inputs were scaled", hint="use a checkpoint of a run")
        if name in transform.kinds:
            transform.kinds[name].check(name, samples, where)
        return transform(name, samples, self.net.dtype)

    def open_data(self, section: str) -> Loader:
        """The loader of one data section; its inputs go through the transform of training.

        Where the file has a signature, classes, words and columns are those that it says: no file of train is read.
        """
        config = None if self.configured is None else self.configured()
        if config is None or config.data is None:
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
    weights     a snapshot or a run whose weights are taken, also for a configuration that is no run

    Errors   DataError for a file that is damaged, or does not say what its net is; ConfigError for what is nothing of
             these, and for one that would run Python files without `allow_import`
    """
    folder, config = Path(target), None
    run, overrides = find_run(folder), tuple(overrides)
    whole = run is None and (folder / NET).is_file()
    if run is None and not whole and (weights is not None or folder.suffix in YAML or not folder.is_file()):
        config, _ = load_config(str(target), overrides, allow_import, wants_run=weights is None)
        if weights is None:
            hint = "add --weights FILE, or give a run's folder"
            raise ConfigError(f"{target} is a config: which weights?", hint=hint)
    elif run is not None and overrides:
        config, _ = load_config(str(target), overrides, allow_import)
    file = weights_of(weights or (folder / WEIGHTS if whole else run.path if run is not None else folder))
    arrays, meta = snapshot.read_snapshot(file)
    text = read_text(folder / NET) if whole else meta.get("config") if config is None else dump_yaml(config.resolved())
    if not isinstance(text, str):
        hint = "give its configuration, too: in Python Net.from_yaml(...) and net.load(...), otherwise --weights"
        raise DataError(f"{file} holds weights only, and does not say what their net is", hint=hint)
    found = _trained(config, text, file, arrays, meta, backend, allow_import or config is not None)
    if run is not None and config is None:
        found.configured = lambda: load_config(str(run.path), (), allow_import)[0]
    return found


def _trained(
    config: Config | None,
    text: str,
    file: Path,
    arrays: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
    backend: str | Backend | None,
    allow_import: bool,
) -> Trained:
    signature = signature_of(meta, str(file))
    own = _config(text, f"{file} (config)", signature, allow_import)
    net = Net(own, keep="none", backend=backend)
    net.load_arrays(arrays, str(file))
    if signature is None or signature.reader is None:  # weights only, or of an earlier version: it is with the data
        data = (config or own).data
        source = data.train.source if data is not None else None
        signature = Signature.of(net.graph) if source is None else described(net, source)
    reader = None if signature.reader is None else reader_of(signature.reader, str(file))
    configured = None if config is None else lambda: config
    return Trained(configured, net, file, signature, reader, transform_of(arrays, meta, str(file)))


def _config(text: str, name: str, signature: Signature | None, allow_import: bool) -> Config:
    imports = parse_yaml(text, name).get("import")
    if imports and not allow_import:
        listed = ", ".join(map(str, imports))
        hint = "if you trust them, run them with --allow-import; in Python: allow_import=True"
        raise ConfigError(f"{name} imports Python files: {listed}", hint=hint)
    if signature is not None:
        return Config.of_inputs(text, name, signature.inputs, user_modules.import_all)
    return Config.from_dict(parse_yaml(text, name), (), user_modules.import_all)


def transform_of(
    arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], source: str = "the checkpoint"
) -> InputTransform | None:
    """The input transform that a checkpoint holds, with what training saw; None where it holds none."""
    state = {k.removeprefix(TRANSFORM): v for k, v in arrays.items() if k.startswith(TRANSFORM)}
    whole = state or "kinds" in meta or meta.get("kind") == "checkpoint"  # indices have no constants
    return InputTransform.from_state(state, kinds_of(meta, source)) if whole else None
