"""The kernels of all modules of the engine."""

from __future__ import annotations

from . import random as random
from . import sums as sums
from .kernel import KERNELS as KERNELS
