"""Data: sources of samples, and loaders that make batches of them.

`Source` is the base of a source of one's own; `open_data` turns the `data:` section of a configuration into loaders.
"""

from ..schema.errors import MissingData
from .lazy import Lazy
from .loader import Batch, Loader
from .opening import OpenData, open_data
from .source import Source
from .transform import InputTransform

__all__ = ["Batch", "InputTransform", "Lazy", "Loader", "MissingData", "OpenData", "Source", "open_data"]
