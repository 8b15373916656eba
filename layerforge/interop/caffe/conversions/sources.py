"""Layers that give data of their own making, write files, or are the user's Python."""

from __future__ import annotations

import ast
from typing import Any

from ....schema.errors import LayerForgeError
from ....schema.registry import LAYERS
from ..conversion import Site, converts
from ..message import Message


@converts("DummyData")
def dummy_data(site: Site) -> None:
    """A Constant or Random for each top."""
    site.count(0, (1, None))
    p = site.param("dummy_data_param")
    shapes, fillers = _shapes(site, p), p.get("data_filler")
    if len(fillers) not in (0, 1, len(site.tops)):
        raise site.invalid(f"{len(fillers)} data_filler for {len(site.tops)} top(s)", p, "data_filler")
    site.harmless(site.layer, "transform_param", why="DummyData does not read it")
    for i, top in enumerate(site.tops):
        filler = fillers[i if len(fillers) > 1 else 0] if fillers else Message("FillerParameter")
        shape = shapes[i if len(shapes) > 1 else 0]
        part = "" if len(site.tops) == 1 else f"top{i}"
        kind, options = _values(site, filler)
        site.emit(kind, part=part, tops=[top], shape=shape, **options)


def _shapes(site: Site, p: Message) -> list[list[int]]:
    """A shape for all tops, or one for each."""
    names = ("num", "channels", "height", "width")
    shapes = [list(shape.get("dim")) for shape in p.get("shape")]
    sizes = [list(p.get(name)) for name in names]
    if shapes and any(sizes):
        raise site.invalid("shape, and num, channels, height or width", p, "shape", hint="write shape alone")
    if not shapes:
        if any(len(size) not in (1, len(site.tops)) for size in sizes):
            raise site.invalid(f"no shape for {len(site.tops)} top(s)", p, "num", hint="write shape { dim: ... }")
        count = max(len(size) for size in sizes)
        shapes = [[size[i if len(size) > 1 else 0] for size in sizes] for i in range(count)]
    if len(shapes) not in (1, len(site.tops)):
        raise site.invalid(f"{len(shapes)} shapes for {len(site.tops)} top(s)", p, "shape")
    return shapes


def _values(site: Site, filler: Message) -> tuple[str, dict[str, Any]]:
    """The layer that makes values as a filler does, and its hyper-parameters."""
    kind = filler.get("type")
    if kind == "constant":
        return "Constant", {"value": filler.get("value")}
    site.note("drawn numbers are others than Caffe's")
    if kind == "uniform":
        return "Random", {"low": filler.get("min"), "high": filler.get("max")}
    if kind == "gaussian" and filler.get("sparse") < 0:
        return "Random", {"distribution": "normal", "mean": filler.get("mean"), "std": filler.get("std")}
    raise site.unsupported(f"data_filler {kind}", filler, "type", hint="constant, uniform and gaussian are supported")


@converts("HDF5Output")
def hdf5_output(site: Site) -> None:
    """Silence: no layer writes files here."""
    site.count(2, 0)
    site.param("hdf5_output_param").get("file_name")
    site.emit("Silence", site.bottoms)
    site.note("nothing is written here: `layerforge predict --blob` and net.blobs give the blobs that it would write")


@converts("Python")
def python(site: Site) -> None:
    """A layer of LayerForge of that name, which a file of the user's registers; param_str has its hyper-parameters."""
    p = site.param("python_param")
    site.harmless(p, "module", "share_in_parallel", why="the layer is looked up by its name")
    name, text = p.get("layer"), p.get("param_str")
    try:
        LAYERS.get(name)
    except LayerForgeError:
        hint = f"write a layer of LayerForge called {name}, and import its file: docs/layers_of_your_own.md"
        raise site.unsupported(f"Python layer {p.get('module')}.{name}", p, "layer", hint=hint) from None
    options: Any = {}
    if text.strip():
        try:
            options = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            options = None
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        raise site.unsupported("param_str is no mapping of hyper-parameters", p, "param_str", hint='such as {"a": 1}')
    fields = LAYERS.get(name).fields
    for key in options:
        if key not in fields:
            hint = f"it has {', '.join(fields)}" if fields else "it has none"
            raise site.unsupported(f"{name} has no hyper-parameter '{key}'", p, "param_str", hint=hint)
    site.emit(name, site.bottoms, tops=site.tops, given=options)
    for key in site.made[-1].layer.param_decls:
        site.blob(key)
    site.note(f"Caffe runs {p.get('module')}.{name}; here it is the layer {name} that is registered")
