"""Model: a trained net as its users see it, with the preprocessing of its training.

from layerforge import load_model

model = load_model("runs/pets/latest")
model.predict("cat.jpg")                        # the name of a class
model.predict_proba(images, batch_size=256)     # (N, K)
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..data.kinds import Kind
from ..schema.errors import ConfigError, DataError
from ..schema.synonyms import did_you_mean
from .answers import Answers, scores_blob
from .describing import described, image_form
from .saving import save_model
from .trained import Trained, open_trained


def load_model(path: str | Path, *, backend: str | Backend | None = None, allow_import: bool = False) -> Model:
    """Open a trained model: a run (its best checkpoint), a checkpoint, a file of weights, or a folder of `Model.save`.

    Nothing of the training data is needed. The net is in phase eval and keeps nothing for backward.

    backend        "numpy" or "cupy", whichever it was trained on: the numbers are equal within rounding, and an engine
                   of the other is `auto`, with a warning; None: as the configuration says
    allow_import   run the Python files that the configuration imports

    Errors   DataError for a file that is damaged, or does not say what its net is; ConfigError for what is no model;
             BackendMissing where there is no CuPy, or no GPU, for it
    """
    return Model(open_trained(path, allow_import=allow_import, backend=backend))


class Model:
    """A trained net that predicts. Samples come as in training: files, arrays, images, frames, dicts, lists of these.

    net       the net itself; its blobs are those of the last batch
    inputs    the inputs that predictions are made from: name to the Spec of one raw sample
    classes   the names of the classes; () where they have none, and for values
    targets   the names of the values; () where they have none, and for classes
    blob      the scores that predictions are made of
    answers   what the scores come to

    Layers that are `stateful` begin each batch from zero; net.forward(phase="eval", ...) goes on from the batch before.

    Several threads may use one model: their batches take turns. A copy (copy.deepcopy, pickle) is a model of its own,
    also in another process.
    """

    def __init__(self, trained: Trained) -> None:
        self._trained = trained
        self.net = trained.net
        self.blob, kind = scores_blob(self.net.graph)
        self.answers = Answers(kind, trained.signature.class_names if kind else ())
        self.classes = self.answers.classes
        reader, inputs = trained.reader, trained.signature.inputs
        self.targets = () if kind or reader is None else reader.targets
        raw = {} if reader is None else reader.specs
        self._names = trained.inputs_of([self.blob])
        self.inputs = {n: raw[n] if n in raw else inputs[n].with_shape(inputs[n].shape[1:]) for n in self._names}
        self._kinds = trained.kinds()
        self._only = self._names[0] if len(self._names) == 1 and reader is not None else ""
        self._forward_scores = partial(self.net.forward, phase="eval", outputs=(self.blob,))
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Model {self.net.config.name}: {self._trained.weights}>"

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"trained": self._trained}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        Model.__init__(self, state["trained"])

    # Predictions ------------------------------------------------------------------------------------------------------

    def predict(self, x: Any, *, batch_size: int = 256) -> Any:
        """The class of each sample, by its name where classes have names, by its number otherwise; or the values.

        Of several independent answers (scores (N, K) of a binary loss) each is 0 or 1. Scores with more axes
        (N, K, H, W) give a class at each place (N, H, W). Values are in the units of the target.

        x   samples: a path or a list of paths; an array (N, ...); an image; a frame, a dict of columns or a list of
            dicts; a mapping with one of these for each input of the net. A single one has no axis of samples, and gets
            a single answer

        Errors   DataError for samples that are not as training's, and for scores that are NaN
        """
        one = self._plainly(x)
        if one is not None and self.answers.classifies and one.ndim == 2:
            return self.answers.of_one(one)
        scores, single = (one, True) if one is not None else self._scores(x, batch_size)
        return _one(self._answer(scores), single)

    def predict_proba(self, x: Any, *, batch_size: int = 256) -> Any:
        """The probability of every class (N, K, ...); of two classes with one score (N, 2); of independent ones each.

        Errors   ConfigError for a net whose scores are no probabilities; those of `predict`
        """
        self.answers.demand_probabilities()
        scores, single = self._scores(x, batch_size)
        return _one(self.answers.probabilities(scores), single)

    def scores(self, x: Any, *, batch_size: int = 256) -> Any:
        """What the loss reads, as the net computes it. Errors   those of `blobs`"""
        return _one(*self._scores(x, batch_size))

    def blobs(self, x: Any, names: Iterable[str], *, batch_size: int = 256) -> dict[str, Any]:
        """Activations by name. Errors   ConfigError for a blob that does not exist; those of `predict`"""
        wanted = [names] if isinstance(names, str) else list(names)
        self.demand_blobs(wanted)
        found, single = self._run(x, wanted, batch_size)
        return {name: _one(array, single) for name, array in found.items()}

    def sample(
        self, prompt: str, *, length: int = 500, temperature: float = 1.0, top_k: int | None = None, seed: int = 0
    ) -> str:
        """The prompt and what a language model writes after it: `length` tokens (inference/sampling.py).

        temperature   1: by the net's own probabilities; below 1 surer; 0: always the most probable token
        top_k         draw from so many best tokens; None: from all

        Errors   ConfigError for a net that is no language model; DataError for a prompt with unknown characters
        """
        from .sampling import continued

        kind, reader = self.answers.kind, self._trained.reader
        return continued(
            self.scores, kind, reader, prompt, length=length, temperature=temperature, top_k=top_k, seed=seed
        )

    def demand_blobs(self, names: Iterable[str]) -> None:
        """ConfigError for a blob that evaluation does not compute for each sample."""
        known = self.net.graph.phases["eval"].current
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known) or "see model.summary()"
                raise ConfigError(f"the net has no blob '{name}'", hint=hint)
            spec = known[name].spec
            if spec is not None and not spec.shape:
                hint = "score a data set: layerforge eval"
                raise ConfigError(f"blob '{name}' is one number for a whole batch, none for each sample", hint=hint)

    def save(self, folder: str | Path) -> Path:
        """Write a folder that holds everything: `load_model` opens it on any machine, and it predicts the same bits.

            net.yaml      the net with its inputs declared: `layerforge check` and Net.from_yaml read it, too
            weights.h5    parameters and statistics; how samples are read, scaled and named
            *.py          copies of the Python files that the configuration imports

        Returns   the folder
        Errors    DataError where it cannot be written; what was there before is untouched
        """
        with self._lock:
            return save_model(self._trained, Path(folder))

    def summary(self) -> str:
        """The net as a table, and what it takes and gives."""
        return f"{self.net}\n\n{described(self)}"

    # One batch after the other ----------------------------------------------------------------------------------------

    def _plainly(self, x: Any) -> np.ndarray | None:
        """The scores (1, ...) of a single sample that needs no conversion; None for anything else."""
        trained, name = self._trained, self._only
        samples = trained.reader.plain_sample(x, name) if name and trained.reader is not None else None
        if samples is None:
            return None
        ready: Any = trained.prepare(name, samples)
        with self._lock:
            self.net.reset_carried("eval")
            return self.net.backend.to_host(self._forward_scores(**{name: ready})[self.blob])

    def _scores(self, x: Any, batch_size: int) -> tuple[np.ndarray, bool]:
        """The scores of all samples, and whether there is a single one."""
        found, single = self._run(x, [self.blob], batch_size)
        return found[self.blob], single

    def _run(self, x: Any, blobs: Sequence[str], batch_size: int) -> tuple[dict[str, np.ndarray], bool]:
        """Blobs of all samples, and whether there is a single one."""
        names = self._names if blobs[0] == self.blob and len(blobs) == 1 else self._trained.inputs_of(blobs)
        reader = self._trained.demand_reader()
        if isinstance(x, Mapping) and list(x) == names[:1] == names and names[0] not in reader.columns_of(names[0]):
            x = x[names[0]]  # the only input by its name
        samples, single = reader.convert(x, names, self._kinds)
        return self.of_samples(samples, blobs, batch_size), single

    def of_samples(
        self, samples: Mapping[str, Any], blobs: Sequence[str], batch_size: int, where: str = "the samples"
    ) -> dict[str, np.ndarray]:
        """Blobs of raw samples, by input. `where` is what errors call what holds them. Errors   those of `blobs`"""
        count = _count(samples, where)
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        if count <= batch_size:
            return self._forward(samples, blobs, where)
        parts: list[dict[str, Any]] = []
        for start in range(0, count, batch_size):
            batch = {name: array[start : start + batch_size] for name, array in samples.items()}
            parts.append(self._forward(batch, blobs, where))
        return {b: np.concatenate([part[b] for part in parts]) for b in blobs}

    def _forward(self, batch: Mapping[str, Any], blobs: Sequence[str], where: str) -> dict[str, Any]:
        prepare = self._trained.prepare
        ready: dict[str, Any] = {name: prepare(name, samples, where) for name, samples in batch.items()}
        net = self.net
        with self._lock:
            net.reset_carried("eval")  # these samples go on from none
            out = net.forward(phase="eval", outputs=blobs, copy=False, **ready)
            to_host = net.backend.to_host
            return {blob: to_host(out[blob]).copy() for blob in blobs}

    def read(self, path: str | Path, names: Sequence[str]) -> dict[str, Any]:
        """The raw samples of a file, by input. Errors   DataError"""
        return self._trained.demand_reader().read(Path(path), names, self._kinds)

    def convert(self, value: Any, names: Sequence[str]) -> dict[str, Any]:
        """The raw samples of an object, by input. Errors   DataError"""
        return self._trained.demand_reader().convert(value, names, self._kinds)[0]

    def prepared(self, name: str, samples: np.ndarray) -> np.ndarray:
        """Raw samples of an input as `model.net.forward` takes them. DataError where they are of another kind."""
        return self._trained.prepare(name, samples)

    def inputs_of(self, blob: str) -> list[str]:
        """The inputs that a blob is computed from."""
        return self._trained.inputs_of([blob])

    def columns_of(self, name: str) -> tuple[str, ...]:
        """The names of the columns of an input; () where they have none."""
        return () if self._trained.reader is None else self._trained.reader.columns_of(name)

    def images_of(self, name: str) -> dict[str, Any]:
        """What becomes of an image for an input: size, channels, mean and scale; {} where it takes none."""
        return image_form(self._trained.reader, self._trained.transform, name)

    @property
    def text_suffix(self) -> str:
        """The suffix of the files that a text on standard input is read as."""
        return self._trained.demand_reader().suffix

    @property
    def weights(self) -> Path:
        """The file that parameters and statistics are from."""
        return self._trained.weights

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What training saw of the inputs, where that is known."""
        return self._kinds

    def _answer(self, scores: np.ndarray) -> np.ndarray:
        if self.answers.classifies:
            return self.answers.of(scores)
        return self.in_own_units(scores)

    def in_own_units(self, values: np.ndarray) -> np.ndarray:
        """Values that the net predicts, in the units of the target."""
        reader = self._trained.reader
        return values if reader is None else reader.in_own_units(values)


def _count(samples: Mapping[str, Any], where: str) -> int:
    """How many samples there are. DataError where there are none, or not as many of each input."""
    counts = [len(array) for array in samples.values()]
    if len(counts) > 1 and len(set(counts)) > 1:
        named = dict(zip(samples, counts, strict=True))
        raise DataError(f"{where}: the inputs have different numbers of samples: {named}")
    if not counts or not counts[0]:
        raise DataError(f"{where}: there are no samples")
    return counts[0]


def _one(array: np.ndarray, single: bool) -> Any:
    """The answer for a single sample without its axis of samples; a plain value where that is all."""
    if not single:
        return array
    return array[0].item() if array.ndim == 1 else array[0]
