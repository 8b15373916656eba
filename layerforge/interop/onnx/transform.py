"""`export onnx --with-transform`: the preprocessing of training in front of the net, names of classes in the metadata.

    samples of training   the file takes                                         and does
    images                decoded ones, bytes (N, H, W, C) in red, green, blue   resize, crops, the order of colours
                          or grey, of any size
    arrays                the samples as they were before they were scaled       crops
    tables                the columns of numbers, float64, NaN where one is      what stands for it, scaling of columns
                          missing, in training's order

and then  y = x factor + offset, as training scaled it. Values that were learned standardised are given in their own
units, in float64, and the `target` of such a table is taken in them; other targets, and labels, are taken as the net
takes them. Metadata beside those of saving.py, each as JSON:

    classes          the names of the classes, by number
    targets          the names of the values that the net predicts
    preprocessing    for each input what it takes, and its form, columns, factor and offset
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...check.draws import input_specs
from ...check.harness import draw
from ...data.array_reader import ArrayReader
from ...data.columns import NUMBER, Column, Columns
from ...data.image_reader import ImageReader
from ...data.pairs import PairReader
from ...data.reader import Reader
from ...data.table_reader import TableReader
from ...data.transform import InputTransform
from ...graph.uses import TARGET, uses_of
from ...inference.answers import scores_blob
from ...inference.trained import Trained
from ...schema.errors import ConfigError, LayerForgeError, raise_all
from ...schema.texts import to_json
from ..predicted import predicted
from ..twin import full_twin
from . import pixels
from .check import SEED, SIZES, Case, eval_of
from .files import package
from .graph import Node, OnnxGraph, ValueInfo
from .in_front import InFront, rename
from .netgraph import distinct
from .saving import Exported, kept, net_graph

DRAWN = ((40, 28), (33, 57))  # heights and widths of the images of a check


def save_trained(
    trained: Trained, path: str | Path, *, outputs: Sequence[str] | None = None, fold_batch_norm: bool = False
) -> Exported:
    """Write a net with the preprocessing of its training to an ONNX file, as saving.save_model writes one without.

    Errors   ConfigError for inputs whose samples are neither numbers nor images, such as texts, all at once, and where
             it is not known what training made of its samples
    """
    return kept(trained_graph(trained, outputs, fold_batch_norm=fold_batch_norm), path)


def trained_graph(trained: Trained, outputs: Sequence[str] | None = None, *, fold_batch_norm: bool = False) -> Exported:
    """What save_trained writes. Errors: those of save_trained, but for the file's"""
    package()
    _demand_preprocessing(trained)
    wanted = distinct(predicted(trained.net) if outputs is None else outputs)
    exported = net_graph(trained.net, wanted, fold_batch_norm=fold_batch_norm)
    graph = exported.graph
    told: dict[str, Any] = {}
    errors: list[LayerForgeError] = []
    for info in list(graph.inputs):
        try:
            told[info.name] = _Input(graph, trained, info).put()
        except ConfigError as error:
            errors.append(error)
    raise_all(errors)
    columns = _scaled_targets(trained)
    if columns is not None:
        for name in _values(graph, trained, wanted, columns):
            _in_own_units(graph, name, columns)
    graph.metadata |= {"preprocessing": to_json(told)}
    classes = trained.signature.class_names
    graph.metadata |= {"classes": to_json(list(classes))} if classes else {}
    targets = trained.demand_reader().targets
    graph.metadata |= {"targets": to_json(list(targets))} if targets else {}
    return exported


def _demand_preprocessing(trained: Trained) -> None:
    """Refuse a net whose file does not say what was made of samples. Errors: ConfigError with what can be done"""
    if trained.knows_preprocessing:
        return
    from ..caffe.reopening import DEFINITION

    hint = "export without --with-transform: the file takes what the net takes"
    if trained.weights.with_name(DEFINITION).is_file():
        hint = f"import it again with --mean-file, --mean-value or --scale (layerforge import caffe), or {hint}"
    raise ConfigError(f"{trained.weights} does not say how samples were prepared", hint=hint)


# Inputs ---------------------------------------------------------------------------------------------------------------


class _Input:
    """An input of the net that is to take raw samples.

    shape     the lengths of a raw sample
    working   the dtype that it is scaled in, as InputTransform has it: float64 for wide numbers
    """

    def __init__(self, graph: OnnxGraph, trained: Trained, info: ValueInfo) -> None:
        self.graph, self.info, self.name = graph, info, info.name
        self.reader, self.blob = side_of(trained.demand_reader(), info.name)
        self.transform = trained.transform or InputTransform({})
        self.w = InFront(graph, info.name)
        self.working = "float32"
        self.answer = answer_of(trained, info.name)

    def put(self) -> dict[str, Any]:
        """Write the nodes. Returns   what is told of the input in the metadata"""
        reader, w, transform = self.reader, self.w, self.transform
        if self.answer is not None:
            return self.target(self.answer)
        if self.blob not in reader.specs:
            hint = "--blob names what can be computed without it"
            raise ConfigError(f"the data of training have no '{self.name}'", hint=hint)
        if isinstance(reader, ImageReader) and self.blob == reader.blob:
            value, dtype, shape, told = self.image(reader)
        elif isinstance(reader, TableReader):
            value, dtype, shape, told = self.table(reader.columns)
        elif isinstance(reader, ArrayReader):
            value, dtype, shape = self.name, self.dtype(), reader.specs[self.blob].shape
            told = {"takes": "samples as they were before scaling"}
        else:
            what = "texts" if reader.kind.startswith("text") else f"samples of the kind '{reader.kind}'"
            message = f"'{self.name}' is made of {what}, which cannot be read in ONNX"
            raise ConfigError(message, hint="export without --with-transform: the file takes numbers then")
        if self.name in transform.affine:
            pair = zip(("factor", "offset"), transform.affine[self.name], strict=True)
            told |= {key: np.asarray(array).tolist() for key, array in pair}
            value = self.scaled(value, dtype, shape)
        batch = self.info.shape[0] if self.info.shape else "N"
        raw = ValueInfo(self.name, dtype, (batch, *(("H", "W", shape[0]) if "form" in told else shape)))
        w.put(self.graph, value, raw)
        return {**told, "dtype": raw.dtype, "shape": list(raw.shape or ())}

    def target(self, columns: Sequence[Column]) -> dict[str, Any]:
        """What the net is compared with: as it takes it, or columns that were standardised in their own units."""
        info, told = self.info, dict[str, Any]()
        if not columns:
            told = {"takes": "labels or targets as the net takes them"}
        else:
            w, shape = self.w, info.shape or ("N", len(columns))
            mean, inverse = (np.array(numbers) for numbers in zip(*map(_standard, columns), strict=True))
            value = w.cast(w.op("Mul", w.op("Sub", self.name, mean), inverse), "float32")
            info = ValueInfo(self.name, "float64", shape)
            w.put(self.graph, value, info)
            told = {"takes": "targets in their own units", "columns": [c.name or str(c.place) for c in columns]}
        return {**told, "dtype": info.dtype, "shape": list(info.shape or ())}

    def image(self, reader: ImageReader) -> tuple[str, str, tuple[int, ...], dict[str, Any]]:
        """Decoded images (N, H, W, C)."""
        form = reader.form
        order = "grey" if form.color == "gray" else "in red, green, blue"
        value = self.w.cast(pixels.fitted(self.w, self.name, form), "float32")
        return value, "uint8", form.shape, {"takes": f"decoded images, {order}", "form": form.plain}

    def table(self, columns: Columns) -> tuple[str, str, tuple[int, ...], dict[str, Any]]:
        """Columns of numbers in training's order; one that is missing is NaN."""
        words = [f"'{column.name or column.place}'" for column in columns.features if column.kind != NUMBER]
        if words:
            hint = "export without --with-transform: the file takes encoded columns then"
            raise ConfigError(f"columns of words cannot be encoded in ONNX: {', '.join(words)}", hint=hint)
        self.working, w = "float64", self.w
        parts = []
        for place, column in enumerate(() if columns.is_plain else columns.in_x):
            cells = w.op("Slice", self.name, [place], [place + 1], [1])
            absent = w.op("IsNaN", cells) if column.fill is not None or column.indicator else ""
            if column.fill is not None:
                cells = w.op("Where", absent, np.array([column.fill]), cells)
            if (column.mean, column.std) != (0.0, 1.0):
                mean, inverse = _standard(column)
                cells = w.op("Mul", w.op("Sub", cells, np.array([mean])), np.array([inverse]))
            parts += [cells, w.cast(absent, "float64")] if column.indicator else [cells]
        names = [column.name or str(column.place) for column in columns.in_x]
        told = {"takes": "columns of numbers, NaN where one is missing", "columns": names}
        return (w.op("Concat", *parts, axis=1) if parts else self.name), "float64", (len(names),), told

    def dtype(self) -> str:
        """That of a raw array."""
        if not self.reader.specs[self.blob].is_real:
            return "int64"
        kind = self.transform.kinds.get(self.name)
        found = np.dtype("float32" if kind is None else kind.dtype)
        self.working = "float64" if found.itemsize > 4 else "float32"
        return "uint8" if found == np.uint8 else self.working

    def scaled(self, value: str, dtype: str, shape: tuple[int, ...]) -> str:
        """x factor + offset as InputTransform computes it: the middle is cut out before, or after by a mean image."""
        w, transform = self.w, self.transform
        if value == self.name and dtype != self.working:
            value = w.cast(value, self.working)
        crop = transform.crop if transform.crop is not None and len(shape) == 3 else None
        placed = self.name in transform.placed
        value = value if placed else self.cropped(value, shape, crop)
        factor, offset = (np.asarray(each, self.working) for each in transform.affine[self.name])
        if (factor != 1).any():
            value = w.op("Mul", value, factor)
        if (offset != 0).any():
            value = w.op("Add", value, offset)
        value = self.cropped(value, shape, crop) if placed else value
        return value if self.working == "float32" else w.cast(value, "float32")

    def cropped(self, value: str, shape: tuple[int, ...], crop: tuple[int, int] | None) -> str:
        """The middle of images."""
        if crop is None or shape[1:] == crop:
            return value
        starts = [(have - want) // 2 for have, want in zip(shape[1:], crop, strict=True)]
        ends = [start + want for start, want in zip(starts, crop, strict=True)]
        return self.w.op("Slice", value, starts, ends, [2, 3])


def _standard(column: Column) -> tuple[float, float]:
    """The mean that is taken from a column, and what it is multiplied with; see Column.scaled."""
    return column.mean, 1 / column.std if column.std else 0.0


def answer_of(trained: Trained, name: str) -> tuple[Column, ...] | None:
    """None of an input that is to be prepared; () of a label, target or weight that is taken as the net takes it.

    Otherwise the columns of the target, which were standardised.
    """
    reader, blob = side_of(trained.demand_reader(), name)
    if isinstance(reader, TableReader):
        columns = reader.columns
        if blob == "target":
            return columns.targets if _scaled_targets(trained) is not None and not _is_scaled(trained, name) else ()
        features = {"x", *(column.name for column in columns.indices)}
        return () if blob not in features and blob in columns.specs() else None
    prepared = isinstance(reader, ArrayReader) or (isinstance(reader, ImageReader) and blob == reader.blob)
    is_target = not prepared or blob not in reader.specs
    return () if is_target and uses_of(trained.net.graph).get(name) == TARGET else None


def _is_scaled(trained: Trained, name: str) -> bool:
    """Whether training's `transform` changes an input."""
    affine = {} if trained.transform is None else trained.transform.affine
    factor, offset = affine.get(name, (1.0, 0.0))
    return bool(np.any(np.asarray(factor) != 1) or np.any(np.asarray(offset) != 0))


def side_of(reader: Reader, name: str) -> tuple[Reader, str]:
    """Who reads an input, and what it is called there: of a side of pairs the reader of single samples."""
    if isinstance(reader, PairReader) and name in reader.specs:
        return reader.inner, name.removesuffix("_a").removesuffix("_b")
    return reader, name


# Outputs --------------------------------------------------------------------------------------------------------------


def _scaled_targets(trained: Trained) -> Columns | None:
    """The columns of a table whose targets were standardised; None of other data."""
    reader = trained.demand_reader()
    columns = reader.columns if isinstance(reader, TableReader) else None
    return None if columns is None or all(column.is_plain for column in columns.targets) else columns


def _values(graph: OnnxGraph, trained: Trained, outputs: Sequence[str], columns: Columns) -> list[str]:
    """The outputs of the file that are the values which the net predicts, one for each target."""
    blob, kind = scores_blob(trained.net.graph)
    if kind:
        return []
    count = len(columns.targets)
    fitting = [(count,), ()] if count == 1 else [(count,)]  # as Columns.in_own_units has it
    named = zip(graph.outputs, outputs, strict=True)
    return [info.name for info, name in named if name == blob and (info.shape or ())[1:] in fitting]


def _in_own_units(graph: OnnxGraph, name: str, columns: Columns) -> None:
    """Let an output be in the units of the target: y std + mean, in float64 as Columns.in_own_units has it."""
    w = InFront(graph, name)
    inner = w.unique("standardised")
    rename(graph, name, inner)
    for node in graph.nodes:
        node.outputs = [inner if one == name else one for one in node.outputs]
    std, mean = units_of(columns)
    read = [w.op("Mul", w.cast(inner, "float64"), std), w.constant(mean)]
    graph.nodes += [*w.nodes, Node("Add", read, [name], {}, w.unique("Add"))]
    graph.outputs = [replace(info, dtype="float64") if info.name == name else info for info in graph.outputs]


def units_of(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """The standard deviations and means of the targets."""
    std, mean = (np.array([getattr(c, word) for c in columns.targets]) for word in ("std", "mean"))
    return std, mean


# Checking -------------------------------------------------------------------------------------------------------------


def raw_cases(trained: Trained, exported: Exported, outputs: Sequence[str]) -> list[Case]:
    """Random raw samples of two numbers, and what the trained net makes of them, read and scaled as in a prediction."""
    outputs, net = distinct(outputs), full_twin(trained.net)
    named = dict(zip((info.name for info in exported.graph.outputs), outputs, strict=True))
    cases = []
    own = _scaled_targets(trained)
    values = [] if own is None else _values(exported.graph, trained, outputs, own)
    units = {name: units_of(own) for name in values if own is not None}
    for number, samples in enumerate(SIZES):
        rng = np.random.default_rng([SEED, samples])
        infos = exported.graph.inputs
        if infos and isinstance((infos[0].shape or ("",))[0], int):  # of no other number
            samples = int((infos[0].shape or (1,))[0] or 1)
        given = {info.name: _raw(trained, info, (samples, *DRAWN[number]), rng) for info in infos}
        ready = {name: _prepared(trained, name, raw) for name, raw in given.items()}
        made = eval_of(net, named, ready)
        made |= {name: own.in_own_units(made[name]) for name in values if own is not None}
        cases.append(Case(f"{samples} samples", given, made, units=units))
    return cases


def _raw(trained: Trained, info: ValueInfo, lengths: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Raw samples of an input; `lengths` are a number of them, and a height and width of images."""
    reader, _ = side_of(trained.demand_reader(), info.name)
    transform = trained.transform
    named = {"N": lengths[0], "H": lengths[1], "W": lengths[2]}
    shape = [lengths[0], *(named[n] if isinstance(n, str) else int(n or 1) for n in (info.shape or ())[1:])]
    answer = answer_of(trained, info.name)
    if answer is not None:
        spec = input_specs(trained.net.graph)[info.name].with_shape(tuple(shape))
        drawn = np.asarray(draw(spec, rng), np.dtype(info.dtype))
        if not answer:
            return drawn
        mean, std = (np.array([getattr(column, word) for column in answer]) for word in ("mean", "std"))
        return drawn * std + mean
    if info.dtype == "uint8":
        return rng.integers(0, 256, shape).astype(np.uint8)
    if info.dtype == "int64":
        spec = input_specs(trained.net.graph)[info.name].with_shape(tuple(shape))
        return np.asarray(draw(spec, rng), np.int64)
    if isinstance(reader, TableReader):
        columns = reader.columns.in_x
        raw = np.stack([rng.normal(column.mean, column.std or 1.0, lengths[0]) for column in columns], axis=1)
        can_miss = [column.fill is not None for column in columns]
        return np.where((rng.random(raw.shape) < 0.2) & can_miss, np.nan, raw)
    kind = None if transform is None else transform.kinds.get(info.name)
    low, high = (-1.0, 1.0) if kind is None else (kind.low, kind.high)
    return rng.uniform(low, high, shape).astype(np.dtype(info.dtype))


def _prepared(trained: Trained, name: str, raw: np.ndarray) -> Any:
    """Raw samples as a prediction prepares them, but for its judgement of their units."""
    transform = trained.transform or InputTransform({})
    reader, blob = side_of(trained.demand_reader(), name)
    answer = answer_of(trained, name)
    if answer is not None:
        scaled = [column.scaled(raw[:, j]) for j, column in enumerate(answer)]
        return np.stack(scaled, axis=1).astype(trained.net.dtype) if scaled else raw
    if isinstance(reader, ImageReader) and blob == reader.blob:
        raw = np.concatenate([reader.convert(image, [blob], {})[0][blob] for image in raw])
    elif isinstance(reader, TableReader):
        raw = reader.convert(raw, [blob], {})[0][blob]
    return transform(name, raw, trained.net.dtype)
