"""The kernels of all modules of the engine."""

from __future__ import annotations

from . import activations as activations
from . import columns as columns
from . import norms as norms
from . import poolings as poolings
from . import random as random
from . import recurrent as recurrent
from . import rounding as rounding
from . import scattering as scattering
from . import scores as scores
from . import sums as sums
from .kernel import KERNELS as KERNELS
