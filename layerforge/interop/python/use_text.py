"""How a written net is used: from raw samples to answers, as far as its training says it, and as a program."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...data.transform import InputTransform
from ...graph.uses import TARGET, uses_of
from ...inference.model import Model
from ...net import Net
from .net_text import IN_FILE, NetText, Part, in_words, shape_of
from .raw import Table, form_of, tables_of, why_prepared
from .use_functions import CROPPED, ENCODED, LOADED, MAIN, NUMBERS, SCALED
from .writing import filled, literal


@dataclass
class Use:
    """What is known of a net's use, beside the net.

    kind       what the scores say (`Answers.kind`); "" for values
    classes    the names of the classes
    transform  of the training data; None where it is not known
    specs      of raw samples, by input
    forms      what raw samples are in words, by input
    tables     what becomes of columns, by the inputs that are made of a table and differ from it
    own_units  mean and std of the values that it predicts, where training scaled them
    single     whether the file takes raw samples: it has `prepare`, `scores` and `predict` then
    scored     the blob that these are about
    several    whether it says yes or no to several labels that do not depend on each other
    apart      what the net predicts of other inputs, and the file does not
    why        why it takes none, where it is of a trained model
    arrays     constants of the preprocessing, by their names in weights.npz
    ready      how forward's inputs come to be, for its docstring
    """

    kind: str = ""
    classes: tuple[str, ...] = ()
    transform: InputTransform | None = None
    specs: dict[str, Spec] = field(default_factory=dict)
    own_units: tuple[list[float], list[float]] | None = None
    forms: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    single: bool = False
    scored: str = ""
    several: bool = False
    apart: list[str] = field(default_factory=list)
    why: str = ""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def ready(self) -> str:
        return ", of inputs as `prepare` makes them" if self.prepares else ""

    @property
    def prepares(self) -> bool:
        """Whether raw samples differ from what the net sees."""
        return self.single and (self.transform is not None or bool(self.tables))

    def head(self, net: Net, text: NetText) -> list[str]:
        """The docstring of the file."""
        names = text.inputs()
        call = f"net.predict({', '.join(names)})" if self.single else f"net.forward({', '.join(names)})"
        lines = [f'"""{in_words(net.config.name)}: a net of LayerForge, with NumPy alone.', ""]
        lines += ["    import numpy as np", "    from net import Net", "", "    net = Net()"]
        lines += [f'    {variable} = np.load("{variable}.npy")' for variable in names]
        told = self.told(text)
        lines += [f"    {call}", "", *([*told, ""] if told else [])]
        if self.why:
            lines += [f"It takes no raw samples, and has no `predict`: {in_words(self.why, ' ')}.", ""]
        if self.apart:
            listed = ", ".join(map(in_words, self.apart))
            lines += [f"Of other inputs the net computes {listed} as well, which can be had by --blob.", ""]
        return [*lines, "Its arrays are in weights.npz beside this file.", '"""']

    def told(self, text: NetText) -> list[str]:
        """Of each input its shape, and what it is."""
        lines = []
        for name, variable, index in zip(text.part.input_names(), text.inputs(), text.part.inputs, strict=True):
            shape = shape_of(_batched(self.specs[name])) if self.single else text.shape(index)
            form = in_words(self.forms.get(name, "as the net takes it"), " ")
            lines += textwrap.wrap(f"{variable} {shape}: {form}", 100, subsequent_indent="    ")
        return lines

    def constants(self) -> list[str]:
        """The constants of the file."""
        lines = ["HERE = Path(__file__).parent"]
        if self.classes:
            lines += filled("CLASSES = [", map(literal, self.classes), "]")
        return lines

    def held(self, text: NetText) -> list[str]:
        """What Net keeps of weights.npz for the preprocessing."""
        return [f"        self.{text.attribute(*_preparation(key))} = weights[{literal(key)}]" for key in self.arrays]

    # Methods ----------------------------------------------------------------------------------------------------------

    def methods(self, text: NetText) -> list[str]:
        """prepare, scores and predict."""
        if not self.single:
            return []
        names, pairs = text.inputs(), list(zip(text.part.input_names(), text.inputs(), strict=True))
        given, asked = ", ".join(["self", *names]), ", ".join(names)
        lines: list[str] = []
        ready = asked
        said = [f"        {line}" for line in self.told(text)]
        if self.prepares:
            lines += ["", f"    def prepare({given}):", '        """From raw samples to what the net sees.', ""]
            lines += [*said, '        """']
            for name, variable in pairs:
                lines += self._prepared(name, variable, text)
            lines.append(f"        return {asked}")
            ready = f"self.prepare({asked})" if len(names) == 1 else f"*self.prepare({asked})"
        what = in_words(self.scored)
        lines += ["", f"    def scores({given}):"]
        if self.prepares or not said:
            lines += [f'        """{what} for raw samples, as `prepare` takes them."""']
        else:
            lines += [f'        """{what} for raw samples.', "", *said, '        """']
        if any(layer.carries for layer in text.part.layers):
            lines.append("        self.forget()")
        lines.append(f"        return self.forward({ready}){self._place(text)}")
        lines += ["", f"    def predict({given}):", f'        """{self._answer()} for raw samples."""']
        return [*lines, f"        scores = self.scores({asked})", *self._from_scores()]

    def _place(self, text: NetText) -> str:
        """Which of several tops of forward the scores are."""
        blobs = [text.part.phase.blobs[i].name for i in text.part.blobs]
        return f"[{blobs.index(self.scored)}]" if len(blobs) > 1 else ""

    def _prepared(self, name: str, variable: str, text: NetText) -> list[str]:
        """The lines of `prepare` for an input."""
        transform, lines = self.transform, list[str]()
        if name in self.tables:
            told = [variable, literal(in_words(name)), *self._columns(name, text)]
            lines += filled(f"{variable} = encoded(", told, indent="        ")
        if transform is None or name not in transform.affine:
            return lines  # forward takes integers as they are
        kind = transform.kinds.get(name)
        if name not in self.tables:
            lines.append(f"        {variable} = numbers({variable}, {literal(in_words(name))})")
        if kind is not None and name not in self.tables:
            differs = "!=" if kind.is_bytes else "=="
            lines.append(f"        if {variable}.dtype {differs} np.uint8 or {variable}.shape[1:] != {kind.shape}:")
            got = f"{{{variable}.dtype}} {{{variable}.shape}}"
            told = [f'f"{in_words(name)}: training saw {kind}, {_of(kind.shape)}; got {got}"']
            lines += filled("raise ValueError(", told, indent="            ")
        pair = transform.affine[name]
        both = zip(WORDS, pair, strict=True)
        factor, offset = (self._constant(f"prepare/{name}/{word}", array, text) for word, array in both)
        scaled = filled(f"{variable} = scaled(", [variable, factor, offset, f'"{text.dtype}"'], indent="        ")
        scaled = [] if np.all(pair[0] == 1) and np.all(pair[1] == 0) else scaled
        crop = transform.crop if len(self.specs[name].shape) == 3 else None
        cut = [] if crop is None else [f"        {variable} = cropped({variable}, {crop[0]}, {crop[1]})"]
        return [*lines, *scaled, *cut] if name in transform.placed else [*lines, *cut, *scaled]

    def _columns(self, name: str, text: NetText) -> list[str]:
        """What `encoded` is told of the columns of an input."""
        parts = vars(self.tables[name])
        made = {
            word: self._constant(f"prepare/{name}/column_{word}", np.array(v), text) for word, v in parts.items() if v
        }
        return [f"{word}={value}" for word, value in made.items()]

    def _constant(self, key: str, array: np.ndarray, text: NetText) -> str:
        """Numbers of the preprocessing: in the file where they are few."""
        if key in self.arrays:
            return f"self.{text.attribute(*_preparation(key))}"
        return literal(np.asarray(array).tolist()).replace(literal(1 / 255), "1 / 255")

    def keep_large(self, names: Sequence[str]) -> None:
        """Put into weights.npz what is too much for the file."""
        found: dict[str, Any] = {}
        for name in names:
            pair = () if self.transform is None else self.transform.affine.get(name, ())
            found |= {f"prepare/{name}/{word}": array for word, array in zip(WORDS, pair, strict=False)}
            found |= {f"prepare/{name}/column_{word}": v for word, v in vars(self.tables.get(name, NO_TABLE)).items()}
        self.arrays = {key: np.asarray(array) for key, array in found.items() if np.size(array) > IN_FILE}

    def _answer(self) -> str:
        if not self.kind:
            return "The values, in the units of the target," if self.own_units else "The values"
        if self.several:
            return "0 or 1 for each of several labels, which do not depend on each other,"
        return "The class by its name" if self.classes else "The class by its number"

    def _from_scores(self) -> list[str]:
        """The lines that make answers of scores."""
        if not self.kind:
            if self.own_units is None:
                return ["        return scores"]
            mean, std = map(literal, self.own_units)
            return [f"        return scores.astype(np.float64) * {std} + {mean}"]
        checked = ["        if np.isnan(scores).any():"]
        checked.append('            raise ValueError("scores that are not a number (NaN): no class is the right one")')
        if self.kind.startswith("binary"):
            threshold = "0" if self.kind == "binary_logits" else "0.5"
            lines = [f"        found = (scores > {threshold}).astype(np.int64)"]
            lines.append("        found = found.reshape(-1) if found.ndim == 1 or found.shape[1:] == (1,) else found")
            fits = "found.ndim == 1" if len(self.classes) == 2 else ""
        else:
            lines, fits = ["        found = scores.argmax(axis=1)"], f"scores.shape[1] == {len(self.classes)}"
        if not self.classes or not fits:
            return [*checked, *lines, "        return found"]
        return [*checked, *lines, f"        return np.array(CLASSES)[found] if {fits} else found"]

    # Functions --------------------------------------------------------------------------------------------------------

    def functions(self, text: NetText) -> list[list[str]]:
        """What stands behind Net."""
        found: list[list[str]] = []
        if not self.single:
            return found
        names = text.part.input_names()
        called = "\n".join(self.methods(text))
        found += [helper.split("\n") for name, helper in HELPERS.items() if f" {name}(" in called]
        if not names:
            return found
        files = "raw samples, .npy" if len(names) == 1 else f"raw samples, .npz with {', '.join(map(in_words, names))}"
        return [*found, LOADED.split("\n"), MAIN.format(files=files, names=literal(names)).split("\n")]


def _of(shape: tuple[int, ...]) -> str:
    """The shape of a batch in words."""
    return f"(N, {', '.join(map(str, shape))})" if shape else "(N,)"


WORDS = ("factor", "offset")


NO_TABLE = Table((), (), (), ())
HELPERS = {"numbers": NUMBERS, "encoded": ENCODED, "scaled": SCALED, "cropped": CROPPED}


def _preparation(key: str) -> tuple[str, str]:
    """A key of weights.npz, which no layer is called like, and the attribute that is wanted for it."""
    return f"{key} of weights.npz", key.replace("/", "_")


def _batched(spec: Spec) -> Spec:
    return spec.with_shape((1, *spec.shape))


def use_of(model: Model, part: Part, names: Sequence[str]) -> Use:
    """The use of a trained model."""
    trained: Any = model._trained
    inputs = part.input_names()
    why = why_prepared(trained, inputs)
    uses = uses_of(model.net.graph)
    if model.blob not in names or any(uses.get(name) == TARGET for name in inputs):
        return Use()
    if why:
        return Use(why=why)
    raw = trained.reader.specs
    use = Use(single=True, scored=model.blob, transform=_that_does(trained.transform, inputs))
    use.specs = {name: raw[name] for name in inputs}
    use.forms = {name: form_of(trained, name, raw[name]) for name in inputs}
    use.tables = tables_of(trained, inputs)
    use.specs |= {name: raw[name].with_shape((len(table.mean),)) for name, table in use.tables.items()}
    use.kind, use.classes = model.answers.kind, model.classes
    spec = part.phase.current[model.blob].spec
    shape = (1,) if spec is None else tuple(spec.shape[1:])
    use.several = use.kind.startswith("binary") and shape not in ((), (1,))
    targets = getattr(getattr(trained.reader, "columns", None), "targets", ())
    scaled = not use.kind and any(not column.is_plain for column in targets)
    if scaled and (shape == (len(targets),) or (shape == () and len(targets) == 1)):  # as Columns.in_own_units
        use.own_units = ([float(c.mean) for c in targets], [float(c.std) for c in targets])
    use.keep_large(inputs)
    return use


def _that_does(transform: InputTransform | None, names: Sequence[str]) -> InputTransform | None:
    """A transform that changes one of some inputs; None for any other."""
    if transform is None:
        return None
    pairs = [transform.affine[name] for name in names if name in transform.affine]
    same = all(np.all(factor == 1) and np.all(offset == 0) for factor, offset in pairs)
    return None if same and transform.crop is None and not transform.kinds else transform
