"""Model: a trained net as its users see it, with the preprocessing of its training.

    from layerforge import load_model

    model = load_model("runs/pets/latest")
    model.predict("cat.jpg")                        # the name of a class
    model.predict_proba(images, batch_size=256)     # (N, K)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..arrays.functional import sigmoid, softmax
from ..data.reader import Reader
from ..data.table_reader import TableReader
from ..net import Net
from ..schema.errors import ConfigError, DataError
from ..schema.synonyms import did_you_mean
from .trained import Trained, open_trained

PROBABILITIES: dict[str, Callable[[Any], Any]] = {
    "logits": lambda s: softmax(np, s, 1),
    "log_probabilities": np.exp,
    "probabilities": lambda s: s,
    "binary_logits": lambda s: sigmoid(np, s),
    "binary_probabilities": lambda s: s,
}


def load_model(path: str | Path, *, backend: str | Backend | None = None, allow_import: bool = False) -> Model:
    """Open a trained model: a run (its best checkpoint), a checkpoint, a file of weights, or a folder of `Model.save`.

    Nothing of the training data is needed. The net is in phase eval and keeps nothing for backward.

    backend        "numpy" or "cupy"; None: as the configuration says
    allow_import   run the Python files that the configuration imports

    Errors   DataError for a file that is damaged, or does not say what its net is; ConfigError for what is no model
    """
    return Model(open_trained(path, allow_import=allow_import, backend=backend))


def scores_blob(net: Net) -> tuple[str, str]:
    """The blob that the first loss reads, and what it says (`Layer.scores`); the last top where there is no loss."""
    steps = net.graph.phases["eval"].steps
    for step in steps:
        if step.node.layer.loss:
            return step.node.bottoms[0], getattr(step.node.layer, "scores", "")
    return steps[-1].node.tops[0], ""


class Model:
    """A trained net that predicts. Samples come as in training: files, arrays, images, frames, dicts, lists of these.

    net       the net itself; its blobs are those of the last batch
    inputs    the inputs that predictions are made from: name to the Spec of one raw sample
    classes   the names of the classes; () where they have none, and for values
    blob      the scores that predictions are made of

    Several threads may use one model: their batches take turns.
    """

    def __init__(self, trained: Trained) -> None:
        self._trained = trained
        self._lock = threading.Lock()
        self.net = trained.net
        self.classes = trained.signature.class_names
        self.blob, self._kind = scores_blob(self.net)
        reader, inputs, names = trained.reader, trained.signature.inputs, trained.inputs_of([self.blob])
        raw = {} if reader is None else reader.specs
        self.inputs = {n: raw[n] if n in raw else inputs[n].with_shape(inputs[n].shape[1:]) for n in names}

    def __repr__(self) -> str:
        return f"<Model {self.net.config.name}: {self._trained.weights}>"

    def predict(self, x: Any, *, batch_size: int = 256) -> Any:
        """The class of each sample, by its name where classes have names, by its number otherwise; or the values.

        Of several independent answers (scores (N, K) of a binary loss) each is 0 or 1.

        x   samples: a path or a list of paths; an array (N, ...); an image; a frame, a dict of columns or a list of
            dicts; a mapping with one of these for each input of the net. A single one has no axis of samples, and gets
            a single answer

        Errors   DataError for samples that are not as training's
        """
        scores, single = self._run(x, [self.blob], batch_size)
        return _one(self._answers(scores[self.blob]), single)

    def predict_proba(self, x: Any, *, batch_size: int = 256) -> Any:
        """The probability of every class (N, K); of two classes with one score (N, 2); of independent answers each.

        Errors   ConfigError for a net whose scores are no probabilities; those of `predict`
        """
        if not self.gives_probabilities:
            what = "margins" if self._kind else "values"
            raise ConfigError(f"the net gives {what}, no probabilities", hint="model.predict or model.scores")
        scores, single = self._run(x, [self.blob], batch_size)
        return _one(self.probabilities(scores[self.blob]), single)

    def scores(self, x: Any, *, batch_size: int = 256) -> Any:
        """What the loss reads, as the net computes it. Errors   those of `predict`"""
        scores, single = self._run(x, [self.blob], batch_size)
        return _one(scores[self.blob], single)

    def blobs(self, x: Any, names: Iterable[str], *, batch_size: int = 256) -> dict[str, Any]:
        """Activations by name. Errors   ConfigError for a blob that does not exist; those of `predict`"""
        wanted = [names] if isinstance(names, str) else list(names)
        known = [blob.name for blob in self.net.graph.phases["eval"].blobs]
        for name in wanted:
            if name not in known:
                hint = did_you_mean(name, known) or "see model.summary()"
                raise ConfigError(f"the net has no blob '{name}'", hint=hint)
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

        reader = self._trained.reader
        return continued(
            self.scores, self._kind, reader, prompt, length=length, temperature=temperature, top_k=top_k, seed=seed
        )

    def summary(self) -> str:
        """The net as a table, and what it takes and gives."""
        inputs = ", ".join(f"{name} {spec}" for name, spec in self.inputs.items())
        classes = f"\nclasses  {len(self.classes)}: {', '.join(self.classes[:10])}" if self.classes else ""
        return f"{self.net}\n\ninputs   {inputs}\nscores   {self.blob}{classes}"

    # One batch after the other ----------------------------------------------------------------------------------------

    def _run(self, x: Any, blobs: Sequence[str], batch_size: int) -> tuple[dict[str, np.ndarray], bool]:
        """Blobs of all samples, and whether there is a single one."""
        samples, single = self._read(x, self._trained.inputs_of(blobs))
        return self._batches(samples, blobs, batch_size), single

    def _batches(
        self, samples: Mapping[str, Any], blobs: Sequence[str], batch_size: int, where: str = "the samples"
    ) -> dict[str, np.ndarray]:
        count = len(next(iter(samples.values())))
        parts: list[dict[str, Any]] = []
        for start in range(0, count, batch_size):
            batch = {name: array[start : start + batch_size] for name, array in samples.items()}
            parts.append(self._forward(batch, blobs, where))
        return parts[0] if len(parts) == 1 else {b: np.concatenate([part[b] for part in parts]) for b in blobs}

    def of_file(self, file: str, name: str, blob: str, batch_size: int) -> np.ndarray:
        """A blob for every sample of a file, which is for one input. Errors   those of `blobs`"""
        reader = self._reader()
        names = self._trained.inputs_of([blob]) if isinstance(reader, TableReader) or reader.reads_all else [name]
        samples = reader.read(Path(file), names, self._trained.kinds())
        return self._batches(samples, [blob], batch_size, file)[blob]

    def _reader(self) -> Reader:
        reader = self._trained.reader
        if reader is None:
            hint = "use a checkpoint of a run"
            raise DataError(f"{self._trained.weights} does not say how inputs are read", hint=hint)
        return reader

    def _read(self, x: Any, names: Sequence[str]) -> tuple[dict[str, Any], bool]:
        samples, single = self._reader().convert(x, names, self._trained.kinds())
        counts = {name: len(array) for name, array in samples.items()}
        if len(set(counts.values())) > 1:
            raise DataError(f"the inputs have different numbers of samples: {counts}")
        return samples, single

    def _forward(self, batch: Mapping[str, Any], blobs: Sequence[str], where: str) -> dict[str, Any]:
        ready: dict[str, Any] = {name: self._trained.prepare(name, samples, where) for name, samples in batch.items()}
        with self._lock:
            out = self.net.forward(phase="eval", outputs=blobs, **ready)
            return {blob: np.array(self.net.backend.to_host(out[blob])) for blob in blobs}

    def in_own_units(self, values: np.ndarray) -> np.ndarray:
        """Values that the net predicts, in the units of the target."""
        reader = self._trained.reader
        return values if reader is None else reader.in_own_units(values)

    # Answers ----------------------------------------------------------------------------------------------------------

    def _is_one_score(self, scores: np.ndarray) -> bool:
        return self._kind.startswith("binary") and (scores.ndim == 1 or scores.shape[1:] == (1,))

    @property
    def gives_probabilities(self) -> bool:
        """Whether the scores are, or come to, probabilities."""
        return self._kind in PROBABILITIES

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """The probabilities that scores come to."""
        p = PROBABILITIES[self._kind](scores)
        if self._is_one_score(scores):
            p = p.reshape(-1)
            return np.stack([1 - p, p], axis=1)
        return p

    def _answers(self, scores: np.ndarray) -> np.ndarray:
        if not self._kind:
            return self.in_own_units(scores)
        if self._kind.startswith("binary") and not self._is_one_score(scores):
            return (PROBABILITIES[self._kind](scores) > 0.5).astype(np.int64)
        ranked = scores if self._kind == "margins" else self.probabilities(scores)
        numbers = ranked.argmax(axis=1)
        return np.array(self.classes)[numbers] if len(self.classes) == ranked.shape[1] else numbers


def _one(array: np.ndarray, single: bool) -> Any:
    """The answer for a single sample without its axis of samples; a plain value where that is all."""
    if not single:
        return array
    return array[0].item() if array.ndim == 1 else array[0]
