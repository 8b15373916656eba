"""A trained net, opened from a run's folder or from a configuration and a file of weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import snapshot
from ..arrays.spec import Spec
from ..config.document import Config
from ..data.kinds import Kind, kinds_of
from ..data.loader import Loader
from ..data.opening import open_data
from ..data.source import Source
from ..data.transform import InputTransform
from ..graph.uses import uses_of
from ..net import Net
from ..schema.errors import ConfigError
from ..training.checkpoints import TRANSFORM
from ..training.rundir import load_config, weights_of


@dataclass
class Trained:
    """A net with its weights. `transform` is that of its training data; None where the weights do not hold one."""

    config: Config
    net: Net
    weights: Path
    transform: InputTransform | None

    def _data(self) -> Any:
        if self.config.data is None:
            raise ConfigError("the configuration has no data section", hint="declare the data that the net is for")
        return self.config.data

    def open_data(self, section: str) -> Loader:
        """The loader of one data section; its inputs go through the transform that training used."""
        top = self.config.top
        opened = open_data(
            self._data(),
            sections=(section,),
            seed=top.seed,
            dtype=top.dtype,
            transform=self.transform,
            uses=uses_of(self.net.graph),
        )
        return opened.loaders[section]

    @property
    def source(self) -> Source:
        """Where the training data come from; the numbers of words and the order of columns are its."""
        return self._data().feed("train").source

    def sample_spec(self, name: str) -> Spec:
        """The Spec of one raw sample of an input (no batch axis)."""
        return self.source.specs()[name]

    def kind(self, name: str) -> Kind | None:
        """What training saw of an input; None where that is not known."""
        return None if self.transform is None else self.transform.kinds.get(name)

    def prepare(self, name: str, samples: np.ndarray, where: str = "the samples") -> np.ndarray:
        """Raw samples of an input as the net sees them.

        Errors   DataError where they are of another kind than training's: bytes, range or shape
        """
        transform = self.transform
        if transform is None:
            raise ConfigError(f"{self.weights} does not say how inputs were scaled", hint="use a checkpoint of a run")
        if name in transform.kinds:
            transform.kinds[name].check(name, samples, where)
        return transform(name, samples, self.config.top.dtype)

    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, where the training data have names."""
        return tuple(self.source.class_names)


def open_trained(target: str, overrides: Iterable[str], weights: str | None, allow_import: bool) -> Trained:
    """Build the net of a run (or of a config, with `weights`) and load its weights.

    Errors   ConfigError for something that is neither; DataError for weights that are damaged or do not fit
    """
    config, run = load_config(target, overrides, allow_import, wants_run=weights is None)
    if run is None and weights is None:
        raise ConfigError(f"{target} is a config: which weights?", hint="add --weights FILE, or give a run's folder")
    net = Net(config, keep="none")
    file = weights_of(weights or (run.path if run is not None else target))
    arrays, meta = snapshot.read_snapshot(file)
    net.load_arrays(arrays, str(file))
    return Trained(config, net, file, transform_of(arrays, meta, str(file)))


def transform_of(
    arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], source: str = "the checkpoint"
) -> InputTransform | None:
    """The input transform that a checkpoint holds, with what training saw; None where it holds none."""
    state = {k.removeprefix(TRANSFORM): v for k, v in arrays.items() if k.startswith(TRANSFORM)}
    return InputTransform.from_state(state, kinds_of(meta, source)) if state else None
