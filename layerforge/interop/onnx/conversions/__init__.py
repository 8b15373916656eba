"""What each layer is in ONNX, a module for each family: both ways beside each other. Importing this fills the tables
of exports and imports.
"""

from . import (  # noqa: F401
    arithmetic_in,
    attention_in,
    convolutions_in,
    elementwise,
    elementwise_in,
    indexing_in,
    linear,
    linear_in,
    losses_in,
    norms_in,
    poolings_in,
    recurrent_in,
    reductions_in,
    resizing_in,
    shapes,
    shapes_in,
    sklearn_in,
)
