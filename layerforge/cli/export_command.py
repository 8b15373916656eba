"""`layerforge export FORMAT MODEL ... -o FILE`: a trained net for another program.

MODEL is what `layerforge predict` takes: the folder of a run, a checkpoint, a file of weights, a folder of model.save()
or of an import; or a config, of start values without --weights.
"""

from __future__ import annotations

import argparse
from typing import Any

from . import formats

FORMATS = {
    "onnx": ("export_onnx", "a .onnx file, for ONNX Runtime and what else reads ONNX"),
    "safetensors": ("export_safetensors", "weights under the names of torch's state_dict, in a .safetensors file"),
    "caffe": ("export_caffe", "a .prototxt and a .caffemodel, of a net that was imported from Caffe"),
    "python": ("export_python", "one readable Python file that needs NumPy alone, and its arrays"),
}


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    return formats.add_parser(subparsers, "export", __doc__, FORMATS)
