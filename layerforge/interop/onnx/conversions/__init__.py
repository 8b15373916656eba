"""What each layer is in ONNX, a module for each family: both ways beside each other. Importing this fills the tables
of exports and imports.
"""

from . import (  # noqa: F401
    broadcasting,
    class_losses,
    convolutions,
    detection,
    elementwise,
    errors,
    indexing,
    linear,
    losses,
    matrices,
    metrics,
    norms,
    one_operator,
    plumbing,
    poolings,
    reductions,
    resampling,
    sequences,
    shapes,
    vector_losses,
)
