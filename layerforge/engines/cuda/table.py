"""The kernels of all modules of the engine."""

from __future__ import annotations

from . import activations as activations
from . import random as random
from . import recurrent as recurrent
from . import scores as scores
from . import sums as sums
from .kernel import KERNELS as KERNELS
