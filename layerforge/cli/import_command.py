"""`layerforge import FORMAT ... -o DIR`: a model of another program as a folder to predict with and to train."""

from __future__ import annotations

import argparse
from typing import Any

from . import formats

FORMATS = {
    "onnx": ("import_onnx", "a .onnx file, as torch, Keras and scikit-learn write them"),
    "caffe": ("import_caffe", "a .prototxt, with a .caffemodel or .caffemodel.h5"),
}


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    return formats.add_parser(subparsers, "import", __doc__, FORMATS)
