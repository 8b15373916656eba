"""What each layer is in ONNX, a module for each family: both ways beside each other. Importing this fills the tables
of exports and imports.
"""

from . import (
    arithmetic_in,  # noqa: F401
    convolutions_in,  # noqa: F401
    elementwise,  # noqa: F401
    elementwise_in,  # noqa: F401
    indexing_in,  # noqa: F401
    linear,  # noqa: F401
    linear_in,  # noqa: F401
    losses_in,  # noqa: F401
    norms_in,  # noqa: F401
    poolings_in,  # noqa: F401
    reductions_in,  # noqa: F401
    resizing_in,  # noqa: F401
    shapes,  # noqa: F401
    shapes_in,  # noqa: F401
    sklearn_in,  # noqa: F401
)
