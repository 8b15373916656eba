"""The definition in the folder of an import, opened again, so that a net that was trained on is written back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...config.text_file import read_text
from ...data.files import file_error
from ...schema.errors import ConfigError, DataError, LayerForgeError, flatten
from ..folder import FIDELITY
from .feeding import shapes_of
from .model import Model, load_model

DEFINITION = "definition.prototxt"  # in the folder of an import
OF_IMPORT = ("--input", "--data-root")  # options that hints of `load_model` name, and the export has not
IMPORT = "layerforge import caffe {} ... -o DIR; then --definition DIR"


def kept(model: Model) -> dict[str, Any]:
    """What fidelity.json says of the definition in the folder: how it is opened again."""
    shapes = {name: list(shape) for name, shape in shapes_of(model.feedings, {}).items()}
    shapes |= {model.foreign(name): list(section["shape"]) for name, section in model.config.get("inputs", {}).items()}
    roots = [str(root.absolute()) for root in model.roots]
    return {"file": DEFINITION, "phase": model.phase, **model.asked, "inputs": shapes, "roots": roots}


def reopened(definition: str | Path, phases: Sequence[str] = ()) -> Iterator[Model]:
    """The model of a definition in each of some phases: as its folder says where it lies in one of an import.

    definition   a prototxt, or the folder of an import
    phases       those of Caffe's that are asked for; none: that of the import, TEST where it is of none

    Errors   those of `load_model`; DataError for a folder without a definition
    """
    path = Path(definition)
    if path.is_dir():
        path = path / DEFINITION
        if not path.is_file():
            hint = "import it again, or name the prototxt with --definition"
            raise DataError(f"{definition} holds no {DEFINITION}, as folders of `import caffe` do", hint=hint)
    said = _said(path)
    options = {"level": said.get("level", 0), "stages": said.get("stages", ()), "data_root": said.get("roots")}
    for phase in phases or (said.get("phase", "TEST"),):
        try:
            model = load_model(path, phase=phase, inputs=said.get("inputs") or None, **options)
        except LayerForgeError as problem:
            for error in flatten(problem):
                if any(option in (error.hint or "") for option in OF_IMPORT):
                    error.hint = f"import it first, with --input or --data-root: {IMPORT.format(definition)}"
            raise
        yield model


def _said(path: Path) -> dict[str, Any]:
    """What the folder of a definition says of it; {} where it says nothing."""
    beside = path.with_name(f"{FIDELITY}.json")
    if path.name != DEFINITION or not beside.is_file():
        return {}
    try:
        said = json.loads(read_text(beside)).get("definition", {})
    except (ValueError, AttributeError):
        raise file_error(beside, "is no JSON as `import caffe` writes it", "import the model again") from None
    return said if isinstance(said, dict) else {}


def fitting(definition: str | Path, arrays: Mapping[str, np.ndarray], phases: Sequence[str]) -> Model:
    """The model, in the first of some phases that the arrays of a net are enough for.

    Errors   ConfigError with what is missing, where they are for none; those of `reopened`
    """
    told = ""
    for model in reopened(definition, phases):
        missing = missing_of(model, arrays)
        if not missing:
            return model
        told = told or f"in phase {model.phase} it has {', '.join(missing[:8])}"
    hint = (
        "--definition names the prototxt that the net was imported from; where layers have other sizes since, copy the"
        f" folder of the import, change num_output in the copy's {DEFINITION}, and name the copy"
    )
    raise ConfigError(
        f"the net is not that of {definition}: {told}, which the net has not, or in other shapes", hint=hint
    )


def missing_of(model: Model, arrays: Mapping[str, np.ndarray]) -> list[str]:
    """The blobs of a model that the arrays of a net do not hold, as they are called in Caffe."""
    return [
        f"blob {number} of layer '{layer}'"
        for layer, places in model.blob_maps.items()
        for number, place in enumerate(places)
        if not model.holds(place, arrays)
    ]
