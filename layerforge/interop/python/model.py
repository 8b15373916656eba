"""A trained net as one Python file that needs NumPy alone, and a file of its arrays.

from layerforge import load_model
from layerforge.interop import python

python.save_model(load_model("runs/mnist_mlp/latest"), "mlp")      # mlp/net.py, mlp/weights.npz
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ... import snapshot
from ...contract.layer import Layer
from ...inference.answers import scores_blob
from ...inference.model import Model
from ...net import Net
from ...schema.errors import ConfigError
from ...schema.synonyms import did_you_mean
from ...schema.user_modules import level_of_user
from ..folder import demand_new
from ..predicted import predicted
from .checking import demand_same
from .checking_use import demand_same_use
from .net_text import NetText, Part, in_words, settle_defaults
from .reach import Reach
from .sources import Unwritable
from .use_text import Use, use_of
from .writing import Writer

FILE, ARRAYS = "net.py", "weights.npz"


@dataclass
class Written:
    """A net as text and arrays.

    source     the text of the Python file
    arrays     its parameters, statistics and constants by name, such as "fc1.weight"
    inputs     the inputs that its forward takes, in order
    blobs      the blobs that it returns
    apart      what the net predicts of other inputs, which is left out
    why_prepared   why it takes no raw samples, where it is of a trained model that does; "" otherwise
    unchecked  why it was not compared with the net, "" where it was
    """

    source: str
    arrays: dict[str, np.ndarray]
    inputs: list[str]
    blobs: list[str]
    apart: list[str] = field(default_factory=list)
    why_prepared: str = ""
    unchecked: str = ""

    def npz(self) -> bytes:
        """The arrays as the content of a .npz file."""
        file = io.BytesIO()
        arrays: dict[str, Any] = dict(self.arrays)
        np.savez(file, **arrays)
        return file.getvalue()


def save_model(model: Model | Net, folder: str | Path, *, blobs: Sequence[str] = ()) -> Path:
    """Write net.py and weights.npz: a net in eval that needs NumPy alone, made of its layers' own source.

        from net import Net            # in the folder
        net = Net()
        net.predict(images)            # of a Model: with the preprocessing and the classes of its training
        net.forward(image)             # the scores, for inputs as the net takes them

    model    a `Model`, as `load_model` gives it, or a `Net`
    folder   a new or an empty one
    blobs    the blobs that forward returns; by default all that the net predicts from the inputs of the scores

    A net that takes no random inputs cannot be compared with what is written, which is warned of.

    Returns   the folder
    Errors    ConfigError for a folder with something in it, for blobs that eval has not, and for layers that cannot be
              written: with sparse bottoms, of packages other than NumPy, without a source; it names all of them.
              DataError where the folder cannot be written
    """
    folder = Path(folder)
    demand_new(folder)
    return keep(write_model(model, blobs), folder)


def keep(written: Written, folder: Path) -> Path:
    """Write the two files: a folder beside the place, which takes it when both are whole.

    An empty folder that is there already stays the same one, and gets them one after the other, net.py at last.

    Errors   DataError where the folder cannot be written
    """
    files = {ARRAYS: written.npz(), FILE: written.source.encode()}
    place = folder.resolve()
    with snapshot.writing(folder, "choose another place"):
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
        beside.mkdir()
    try:
        for name, content in files.items():
            snapshot.atomic_write(beside / name, content)
        with snapshot.writing(folder, "choose another place"):
            if place.exists():
                for name in files:
                    os.replace(beside / name, place / name)
            else:
                os.rename(beside, place)
            snapshot.sync_folder(place.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def write_model(model: Model | Net, blobs: Sequence[str] = ()) -> Written:
    """A net as text and arrays. Errors   those of `save_model`, but for the folder's"""
    net = model if isinstance(model, Net) else model.net
    names, apart = (list(blobs), []) if blobs else _predicted(net)
    part = _part(net, names)
    reach = Reach()
    with in_eval(part.layers):
        reach.add(part.layers)
        _refuse(net, part, reach)
        use = use_of(model, part, names) if isinstance(model, Model) else Use()
        use.apart = apart
        try:
            settle_defaults(reach, part.layers)
            writer = Writer(reach, net.dtype, net.seed)
            text = NetText(part, reach, net.graph, net.dtype)
            source = _file(net, writer, text, use)
        except Unwritable as problem:
            raise ConfigError(f"the net cannot be written as Python: {problem}", hint=HINT) from None
    arrays = {**_arrays(net, part), **text.arrays, **use.arrays}
    unchecked = demand_same(net, source, arrays, part.input_names(), names)
    if unchecked:
        told = f"what is written was not compared with the net, which takes no random inputs: {unchecked}"
        warnings.warn(f"{told}; {BOUNDS}", stacklevel=level_of_user())
    if isinstance(model, Model) and use.single:
        demand_same_use(model, source, arrays, part.input_names(), use)
    return Written(source, arrays, part.input_names(), names, apart, use.why, unchecked)


BOUNDS = "low, high or draw of the Specs in a layer's examples say what it takes"
HINT = "`layerforge predict` needs no such file; or name a blob before these layers with --blob"


def _predicted(net: Net) -> tuple[list[str], list[str]]:
    """The blobs that forward returns where nobody names others, and what the net predicts of other inputs.

    All predictions, and the scores if they are none: those that are computed from the inputs that the scores are of.
    """
    scores = scores_blob(net.graph)[0]
    found = list(predicted(net))
    found = found if scores in found else [scores, *found]
    inputs = set(_part(net, [scores]).inputs)
    apart = [name for name in found if not set(_part(net, [name]).inputs) <= inputs]
    return [name for name in found if name not in apart], apart


def _part(net: Net, names: Sequence[str]) -> Part:
    """The part of the net that some blobs need."""
    phase = net.graph.phases["eval"]
    for name in names:
        if name not in phase.current:
            hint = did_you_mean(name, phase.current) or f"there are: {', '.join(phase.current)}"
            raise ConfigError(f"eval has no blob '{name}'", hint=hint)
    return Part.of(phase, names)


@contextmanager
def in_eval(layers: Sequence[Layer]) -> Iterator[None]:
    """While this lasts the layers believe that they are in eval, and nobody differentiates."""
    runs = {id(layer.run): layer.run for layer in layers}
    before = [(run, run.phase, run.keep) for run in runs.values()]
    try:
        for run in runs.values():
            run.phase, run.keep = "eval", False
        yield
    finally:
        for run, phase, keeping in before:
            run.phase, run.keep = phase, keeping


def _refuse(net: Net, part: Part, reach: Reach) -> None:
    """ConfigError that names all layers that cannot be written."""
    problems = dict(reach.problems)
    for step in part.steps:
        specs = [part.phase.blobs[i].spec for i in step.bottoms]
        if any(spec is not None and spec.sparse for spec in specs):
            problems[step.node.name] = "a bottom of it is sparse"
    if problems:
        types = {layer.name: layer.type_name for layer in part.layers}
        lines = [f"    {name} ({types[name]}): {why}" for name, why in problems.items()]
        count = "one layer" if len(lines) == 1 else f"{len(lines)} layers"
        message = f"{count} of {net.config.name} cannot be written as Python:\n" + "\n".join(lines)
        raise ConfigError(message, hint=HINT)


def _arrays(net: Net, part: Part) -> dict[str, np.ndarray]:
    """Parameters and statistics by the name of their layer and their own."""
    found: dict[str, np.ndarray] = {}
    shared = net.graph.shared
    for layer in part.layers:
        for name, array in [*layer.params.items(), *layer.state.items()]:
            owner, word = shared.get((layer.name, name), (layer.name, name))
            found[f"{owner}.{word}"] = net.backend.to_host(array)
    return found


def _file(net: Net, writer: Writer, text: NetText, use: Use) -> str:
    """The text of the file."""
    layers = text.layers({type(layer): writer.called(writer.reach.items[type(layer)]) for layer in text.part.layers})
    needed = ["import sys"] if use.single else []
    imports = sorted({*needed, "from pathlib import Path", "import numpy as np", *writer.imports()}, key=_rank)
    first_numpy = next(i for i, line in enumerate(imports) if _rank(line)[0])
    imports.insert(first_numpy, "")
    parts: list[list[str]] = [_rule("What all layers share"), *writer.base()]
    parts += [_rule("The layers, and what they compute with"), *writer.parts()]
    parts += [_rule("The net"), _net_class(net, text, use, layers), *use.functions(text)]
    head = use.head(net, text)
    lines = [*head, "", *imports, "", *use.constants()]
    for part in parts:
        lines += ["", "", *part]
    return "\n".join(lines) + "\n"


def _rule(title: str) -> list[str]:
    start = f"# {title} "
    return [start + "-" * (120 - len(start))]


def _rank(statement: str) -> tuple[bool, bool, str]:
    """Python's library before NumPy; `import` before `from`."""
    return "numpy" in statement, statement.startswith("from"), statement


def _net_class(net: Net, text: NetText, use: Use, layers: list[str]) -> list[str]:
    inputs = ", ".join(["self", *text.inputs()])
    takes = f" of {text.said(text.part.inputs)}" if text.part.inputs else ""
    title = f"{in_words(net.config.name)}: {text.said(text.part.blobs)}{takes}"
    lines = ["class Net:", f'    """{_short(title)}."""', "", "    def __init__(self, weights=None):"]
    lines += ['        """weights   arrays by name, or the path of their file; by default that beside this one"""']
    lines += ["        if weights is None or isinstance(weights, (str, Path)):"]
    lines += [f'            weights = dict(np.load(weights or HERE / "{ARRAYS}"))']
    lines += [*use.held(text), *layers, "", f"    def forward({inputs}):"]
    lines += [f'        """{_short(text.said(text.part.blobs))}{use.ready}."""', *text.forward()]
    if any(layer.carries for layer in text.part.layers):
        lines += ["", *_forget(text)]
    return [*lines, *use.methods(text)]


def _forget(text: NetText) -> list[str]:
    """Of a net that goes on from call to call."""
    lines = [
        "    def forget(self):",
        '        """Let the next call begin from zero: it does not go on from the last."""',
    ]
    return lines + [f"        self.{text.attribute(n.name)}.carried.clear()" for n in text.part.layers if n.carries]


def _short(text: str) -> str:
    return text if len(text) <= 90 else f"{text[:87].rsplit(',', 1)[0]} ..."


__all__: list[Any] = ["Written", "save_model", "write_model"]
