"""How a written net is used: from raw samples to answers, as far as its training says it, and as a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...data.transform import InputTransform
from ...inference.model import Model
from ...net import Net
from .net_text import IN_FILE, NetText, Part, in_words, shape_of
from .writing import filled, literal

SCALED = '''\
def scaled(x, factor, offset, dtype):
    """x factor + offset, as in training; wide numbers may be far from 0, and are scaled in float64."""
    working = "float64" if x.dtype.itemsize > 4 else dtype
    y = np.multiply(x, np.asarray(factor, working), dtype=working, casting="same_kind")
    return (y + np.asarray(offset, working)).astype(dtype)'''

CROPPED = '''\
def cropped(images, height, width):
    """The middle of images (..., H, W)."""
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width]'''

MAIN = """\
def main(arguments):
    if not 1 <= len(arguments) <= 2:
        sys.exit("usage: python net.py INPUT [SCORES.npy]    INPUT: {files}")
    {inputs} = {loaded}
    net = Net()
    if len(arguments) == 2:
        np.save(arguments[1], net.scores({inputs}))
    else:
        print(*net.predict({inputs}).tolist(), sep="\\n")


if __name__ == "__main__":
    main(sys.argv[1:])"""


@dataclass
class Use:
    """What is known of a net's use, beside the net.

    kind       what the scores say (`Answers.kind`); "" for values
    classes    the names of the classes
    transform  of the training data; None where it is not known
    specs      of raw samples, by input
    own_units  mean and std of the values that it predicts, where training scaled them
    single     whether forward gives the scores that predictions are made of: prepare, scores and predict are written
    arrays     constants of the preprocessing, by their names in weights.npz
    ready      how forward's inputs come to be, for its docstring
    """

    kind: str = ""
    classes: tuple[str, ...] = ()
    transform: InputTransform | None = None
    specs: dict[str, Spec] = field(default_factory=dict)
    own_units: tuple[list[float], list[float]] | None = None
    single: bool = False
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def ready(self) -> str:
        return "" if self.transform is None else ", of inputs as `prepare` makes them"

    def head(self, net: Net, text: NetText) -> list[str]:
        """The docstring of the file."""
        names = ", ".join(text.inputs())
        call = f"net.predict({names})" if self.single else f"net.forward({names})"
        lines = [f'"""{in_words(net.config.name)}: a net of LayerForge, with NumPy alone.', ""]
        lines += ["    from net import Net", "", "    net = Net()", f"    {call}", ""]
        return [*lines, "Its arrays are in weights.npz beside this file.", '"""']

    def constants(self) -> list[str]:
        """The constants of the file."""
        lines = ["HERE = Path(__file__).parent"]
        if self.classes:
            lines += filled("CLASSES = [", map(literal, self.classes), "]")
        return lines

    def held(self) -> list[str]:
        """What Net keeps of weights.npz for the preprocessing."""
        return [f"        self.{_word(key)} = weights[{literal(key)}]" for key in self.arrays]

    # Methods ----------------------------------------------------------------------------------------------------------

    def methods(self, text: NetText) -> list[str]:
        """prepare, scores and predict."""
        if not self.single:
            return []
        names, pairs = text.inputs(), list(zip(text.part.input_names(), text.inputs(), strict=True))
        given, asked = ", ".join(["self", *names]), ", ".join(names)
        lines: list[str] = []
        ready = asked
        if self.transform is not None:
            names_in = text.part.input_names()
            raw = ", ".join(f"{in_words(name)} {shape_of(_batched(self.specs[name]))}" for name in names_in)
            lines += ["", f"    def prepare({given}):", f'        """{raw}: from raw samples to what the net sees."""']
            for name, variable in pairs:
                lines += self._prepared(name, variable, text.dtype)
            lines.append(f"        return {asked}")
            ready = f"self.prepare({asked})" if len(names) == 1 else f"*self.prepare({asked})"
        lines += ["", f"    def scores({given}):", '        """What forward gives for raw samples."""']
        if any(layer.carries for layer in text.part.layers):
            lines.append("        self.forget()")
        lines.append(f"        return self.forward({ready})")
        lines += ["", f"    def predict({given}):", f'        """{self._answer()} for raw samples."""']
        return [*lines, f"        scores = self.scores({asked})", *self._from_scores()]

    def _prepared(self, name: str, variable: str, dtype: str) -> list[str]:
        """The lines of `prepare` for an input."""
        assert self.transform is not None
        if name not in self.transform.affine:
            return []  # forward takes integers as they are
        lines = [f"        {variable} = np.asarray({variable})"]
        kind = self.transform.kinds.get(name)
        if kind is not None:
            differs = "!=" if kind.is_bytes else "=="
            lines.append(f"        if {variable}.dtype {differs} np.uint8 or {variable}.shape[1:] != {kind.shape}:")
            got = f"{{{variable}.dtype}} {{{variable}.shape}}"
            told = f'f"{in_words(name)}: training saw {kind}, {_of(kind.shape)}; got {got}"'
            lines += filled("raise ValueError(", [told], indent="            ")
        both = zip(WORDS, self.transform.affine[name], strict=True)
        factor, offset = (self._constant(f"{name}.{word}", array) for word, array in both)
        scaled = filled(f"{variable} = scaled(", [variable, factor, offset, f'"{dtype}"'], indent="        ")
        crop = self.transform.crop if len(self.specs[name].shape) == 3 else None
        cut = [] if crop is None else [f"        {variable} = cropped({variable}, {crop[0]}, {crop[1]})"]
        return [*lines, *scaled, *cut] if name in self.transform.placed else [*lines, *cut, *scaled]

    def _constant(self, key: str, array: np.ndarray) -> str:
        """Numbers of the preprocessing: in the file where they are few."""
        if f"preparation.{key}" in self.arrays:
            return f"self.{_word(f'preparation.{key}')}"
        return literal(np.asarray(array).tolist())

    def keep_large(self, names: Sequence[str]) -> None:
        """Put into weights.npz what is too much for the file."""
        if self.transform is None:
            return
        for name in names:
            for word, array in zip(WORDS, self.transform.affine.get(name, ()), strict=False):
                if np.size(array) > IN_FILE:
                    self.arrays[f"preparation.{name}.{word}"] = np.asarray(array)

    def _answer(self) -> str:
        if not self.kind:
            return "The values, in the units of the target," if self.own_units else "The values"
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
        if self.transform is not None and any(n in self.transform.affine for n in text.part.input_names()):
            found.append(SCALED.split("\n"))
        if self.transform is not None and self.transform.crop is not None:
            found.append(CROPPED.split("\n"))
        names, keys = text.inputs(), [literal(name) for name in text.part.input_names()]
        files, loaded = "raw samples, .npy", "np.load(arguments[0])"
        if len(names) > 1:
            files = f"raw samples, .npz with {', '.join(map(in_words, text.part.input_names()))}"
            loaded = f"map(np.load(arguments[0]).get, [{', '.join(keys)}])"
        if not names:
            return found
        return [*found, MAIN.format(files=files, inputs=", ".join(names), loaded=loaded).split("\n")]


def _of(shape: tuple[int, ...]) -> str:
    """The shape of a batch in words."""
    return f"(N, {', '.join(map(str, shape))})" if shape else "(N,)"


WORDS = ("factor", "offset")


def _word(key: str) -> str:
    return "_".join(part for part in key.replace(".", "_").split("_") if part)


def _batched(spec: Spec) -> Spec:
    return spec.with_shape((1, *spec.shape))


def use_of(model: Model, part: Part, names: Sequence[str]) -> Use:
    """The use of a trained model."""
    trained: Any = model._trained
    default = list(names) == [model.blob]
    raw = {} if trained.reader is None else trained.reader.specs
    given = trained.signature.inputs
    specs = {n: raw[n] if n in raw else given[n].with_shape(given[n].shape[1:]) for n in part.input_names()}
    use = Use(single=default, transform=_that_does(trained.transform, part.input_names()), specs=specs)
    if default:
        use.kind, use.classes = model.answers.kind, model.classes
        columns = getattr(trained.reader, "columns", None)
        targets = [] if columns is None else columns.targets
        if not use.kind and targets and not all(c.is_plain for c in targets):
            use.own_units = ([float(c.mean) for c in targets], [float(c.std) for c in targets])
    use.keep_large(part.input_names())
    return use


def _that_does(transform: InputTransform | None, names: Sequence[str]) -> InputTransform | None:
    """A transform that changes one of some inputs; None for any other."""
    if transform is None:
        return None
    pairs = [transform.affine[name] for name in names if name in transform.affine]
    same = all(np.all(factor == 1) and np.all(offset == 0) for factor, offset in pairs)
    return None if same and transform.crop is None and not transform.kinds else transform
