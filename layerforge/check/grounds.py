"""What layers are checked on: a backend, engines that compute on it, and a precision.

Beside the backends of nets there is `strict`, a stand-in for CuPy on the host, which refuses what CuPy refuses and
counts what costs time on a device. It belongs to the tests, so that only a clone has it (tests/support/strict_cupy.py).
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from ..arrays.backend import NAMES, NUMPY, Backend, get_backend
from ..config.other_backend import belongs
from ..plan.plan import REFERENCE
from ..schema import registry
from ..schema.errors import BackendError, ConfigError
from ..schema.precisions import BF16_MIXED, FP16_MIXED, FULL, PRECISIONS
from ..schema.synonyms import did_you_mean
from .engines import has_kernels, obstacle

STRICT, AUTO = "strict", "auto"
BACKENDS = (*NAMES, STRICT)
SUPPORT = Path(__file__).resolve().parents[2] / "tests" / "support"
PACKAGE = "layerforge_stand_in"  # what the stand-in is imported as: its folder's name may be a user's, too


@dataclass(frozen=True)
class Ground:
    """A backend, the engines that compute there, and the precision that they compute in.

    reference   whether the contract of the layers' own code is run: where an engine is asked for by name, only of what
                that engine's kernels compute in
    """

    backend: Backend = NUMPY
    engines: tuple[str, ...] = ()
    reference: bool = True
    precision: str = FULL

    @property
    def engine(self) -> str | None:
        """The engine that is asked for by name."""
        return None if self.reference else self.engines[0]

    @property
    def kernel_engine(self) -> str | None:
        """The engine whose kernels compute functions of the layers' own code; None where its text is run."""
        return next((kind for kind in self.engines if has_kernels(kind)), None)

    @property
    def layer_engines(self) -> tuple[str, ...]:
        """The engines that have layers, which are held against the reference's."""
        return tuple(kind for kind in self.engines if not has_kernels(kind))

    @property
    def runs_layers(self) -> bool:
        """Whether the layers' own code is run at all."""
        return self.reference or self.kernel_engine is not None

    def __str__(self) -> str:
        where = f"engine {self.engine}" if self.engine else f"backend {self.backend.name}"
        return where if self.precision == FULL else f"{where} in {self.precision}"


def engines() -> tuple[str, ...]:
    """What may be asked for: the reference, whatever can compute, or one of the engines."""
    return (AUTO, REFERENCE, *registry.engine_names())


def ground(backend: str | Backend = NUMPY, engine: str = AUTO, precision: str = FULL) -> Ground:
    """The Ground of these names; `auto` are all engines that can compute on the backend here.

    Errors   ConfigError for names that do not exist, for an engine that computes on another backend, and for a
             precision that is not checked there; BackendError (exit 5) where the backend or the engine cannot be had
    """
    if precision not in PRECISIONS:
        hint = did_you_mean(precision, PRECISIONS) or f"one of {', '.join(PRECISIONS)}"
        raise ConfigError(f"unknown precision '{precision}'", hint=hint)
    if precision == FP16_MIXED:
        raise ConfigError(f"precision {precision} needs a GPU", hint=f"on {NUMPY.name} {BF16_MIXED} is checked")
    if precision != FULL and getattr(backend, "name", backend) != NUMPY.name:
        raise ConfigError(f"precision {precision} is checked on {NUMPY.name}", hint="leave --backend out")
    return replace(_in_float32(backend, engine), precision=precision)


def _in_float32(backend: str | Backend, engine: str) -> Ground:
    if engine not in engines():
        hint = did_you_mean(engine, engines()) or f"one of {', '.join(engines())}"
        raise ConfigError(f"unknown engine '{engine}'", hint=hint)
    named, name = engine not in (AUTO, REFERENCE), getattr(backend, "name", backend)
    if named and name in BACKENDS and not belongs(engine, name):
        others = "cupy or strict" if name == NUMPY.name else NUMPY.name
        raise ConfigError(f"engine '{engine}' computes nothing on backend {name}", hint=f"--backend {others}")
    there = backend_of(backend)
    if engine == REFERENCE:
        return Ground(there)
    if not named:
        return Ground(there, tuple(kind for kind in registry.engine_names() if obstacle(kind, there) is None))
    why = obstacle(engine, there)
    if why is not None:
        raise BackendError(f"engine '{engine}' is asked for, but {why}", hint="or leave --engine out")
    return Ground(there, (engine,), reference=False)


def backend_of(name: str | Backend) -> Backend:
    """The backend of a name, `strict` among them.

    Errors   ConfigError for a name that does not exist; BackendError (exit 5) where it cannot be had
    """
    if isinstance(name, str) and name not in BACKENDS:
        hint = did_you_mean(name, BACKENDS) or f"one of {', '.join(BACKENDS)}"
        raise ConfigError(f"unknown backend '{name}'", hint=hint)
    return stand_in() if name == STRICT else get_backend(name)


def title(backend: Backend) -> str:
    """Name and version, and of the stand-in that it is one."""
    return backend.describe() + (", a stand-in for CuPy on the host" if backend.name == STRICT else "")


def stand_in() -> Backend:
    """The strict stand-in for CuPy.

    Errors   BackendError (exit 5) outside of a clone
    """
    if not (SUPPORT / "strict_backend.py").is_file():
        where = Path(__file__).resolve().parents[1]
        raise BackendError(
            f"backend 'strict' is a stand-in for CuPy that belongs to LayerForge's tests; {where} has none beside it",
            hint="clone the repository, `pip install -e .` there, and run this again",
        )
    loaded = sys.modules.get("support.strict_backend")  # by the tests
    if loaded is None or Path(str(loaded.__file__)).resolve().parent != SUPPORT:
        if PACKAGE not in sys.modules:
            package = sys.modules[PACKAGE] = ModuleType(PACKAGE)
            package.__path__ = [str(SUPPORT)]
        loaded = importlib.import_module(f"{PACKAGE}.strict_backend")
    backend: Backend = loaded.STRICT
    return backend
