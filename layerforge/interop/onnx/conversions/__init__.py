"""What each layer is in ONNX, a module for each family: both ways beside each other. Importing this fills the tables
of exports and imports.
"""

from . import elementwise, linear, shapes  # noqa: F401
