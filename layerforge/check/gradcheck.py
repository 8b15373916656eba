"""gradcheck: are the hand-written gradients of this net, or of this layer, right?

    report = gradcheck("configs/mnist_mlp.yaml")     # or a Net, a mapping, a Layer class
    assert report.ok, report
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..arrays.backend import NUMPY, Backend
from ..config.document import Config
from ..contract.layer import Layer
from ..net import Net
from ..schema import user_modules
from ..schema.errors import ConfigError, LayerForgeError
from ..schema.synonyms import did_you_mean
from .diagnosis import of_crash
from .differences import STEPS, Tolerance
from .gradients import Effort, layer_gradients
from .grounds import backend_of, title
from .harness import SEED
from .net_gradients import NetCheck, Progress
from .report import Grounds, Report

DTYPES = ("float32", "float64")
SAMPLES_NET, SAMPLES_LAYER = 2, 4


def gradcheck(
    target: Net | str | os.PathLike[str] | Mapping[str, Any] | type[Layer],
    *,
    layer: str | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    eps: float | None = None,
    samples: int | None = None,
    exhaustive: bool = False,
    seed: int = 0,
    dtype: str = "float64",
    inputs: Mapping[str, Any] | None = None,
    backend: str | Backend | None = None,
    engine: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Compare the gradients of a net or a layer with centred differences in float64.

    target      a Net (its values are taken over, it is not touched), the path or mapping of a configuration (no data
                set is read), or a Layer class (all of its examples)
    layer       only this layer of a net: its parameters, and its bottoms on the layer alone
    rtol, atol  a gradient passes when |a - n| <= atol rms(gradient) + rtol |n| + rounding
    eps         step of the differences; by default 1e-5, and 1e-6 and 1e-4 where that one does not settle
    samples     elements of each array that are judged alone, beside random directions; exhaustive: all of them
    dtype       of the backward under test
    inputs      arrays for a net's inputs instead of random numbers
    backend     what computes: numpy, cupy, or in a clone strict, a stand-in for CuPy; by default what the configuration
                says, and of a layer NumPy
    engine      who computes the layers of a net whose backward is under test, in place of what the configuration says;
                engines compute in float32
    Errors      ConfigError (exit 2) for arguments that cannot be; BackendError (exit 5) where the backend or the engine
                cannot be had; LayerForgeError where the net does not run
    """
    is_layer = isinstance(target, type) and issubclass(target, Layer)
    samples = samples if samples is not None else SAMPLES_LAYER if is_layer else SAMPLES_NET
    effort = make_effort(rtol, atol, eps, samples, exhaustive, seed, dtype)
    if is_layer:
        if layer is not None or inputs is not None:
            raise ConfigError("layer= and inputs= are for nets", hint="a layer is checked on its own examples")
        if engine is not None:
            raise ConfigError("engine= is for nets", hint="`layerforge test --engine` compares an engine's layers")
        return _check_layer(target, effort, progress, NUMPY if backend is None else backend_of(backend))
    source = target if isinstance(target, Net) else None
    config, there = _config(target), None if backend is None else backend_of(backend)
    check = NetCheck(config, effort, source=source, inputs=inputs, backend=there, engine=engine)
    rows = check.run(layer, progress)
    names = [s.node.name for s in check.plan.steps] if layer is None else [layer]
    backends: Grounds = {title(check.net.backend): {}}
    return Report(rows=rows, layers=names, limits=effort.limits, backends=backends, engines=check.engines())


def make_effort(
    rtol: float | None, atol: float | None, eps: float | None, samples: int, exhaustive: bool, seed: int, dtype: str
) -> Effort:
    """The Effort that the arguments ask for; ConfigError for those that cannot be."""
    if dtype not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got '{dtype}'", hint=did_you_mean(dtype, DTYPES))
    for name, value, least in (("rtol", rtol, 0.0), ("atol", atol, 0.0), ("samples", samples, 0), ("seed", seed, 0)):
        if value is not None and not value >= least:
            raise ConfigError(f"{name} must be >= {least:g}, got {value}")
    if eps is not None and not 1e-12 <= eps <= 1:
        raise ConfigError(f"eps must be 1e-12 to 1, got {eps:g}", hint="about 1e-5 balances rounding and truncation")
    usual = Tolerance.for_dtype(dtype)
    tolerance = Tolerance(
        rtol=usual.rtol if rtol is None else rtol, atol=usual.atol if atol is None else atol, zero=usual.zero
    )
    steps = STEPS if eps is None else (eps, eps / 10, eps * 10)
    return Effort(tolerance, samples, exhaustive, steps, SEED + seed, dtype)


def _config(target: Any) -> Config:
    if isinstance(target, Net):
        return target.config
    if isinstance(target, Mapping):
        return Config.from_dict(target, (), user_modules.import_all)
    if isinstance(target, (str, os.PathLike)):
        return Config.load(target, (), user_modules.import_all)
    raise ConfigError(
        f"gradcheck takes a Net, a configuration or a Layer class, got {type(target).__name__}",
        hint='for example gradcheck("configs/mnist_mlp.yaml") or gradcheck(Linear)',
    )


def _check_layer(cls: type[Layer], effort: Effort, progress: Progress, backend: Backend) -> Report:
    if not cls.is_differentiable():
        raise ConfigError(f"{cls.type_name} has no backward", hint="there is no gradient to check")
    if not cls.examples:
        raise ConfigError(f"{cls.type_name} has no examples to check it on", hint="add `examples = [Example(...)]`")
    grounds = {title(backend): {cls.type_name: len(cls.examples)}}
    report = Report(layers=[cls.type_name], limits=effort.limits, backends=grounds)
    for i in range(len(cls.examples)):
        progress(i, len(cls.examples))
        report.rows += example_rows(cls, i, effort, backend)
    return report


def example_rows(cls: type[Layer], number: int, effort: Effort, backend: Backend = NUMPY) -> list[Any]:
    """The rows of one example of a layer.

    Errors   LayerForgeError where the layer does not even run
    """
    fields = {name: getattr(effort, name) for name in effort.__dataclass_fields__}
    try:
        rows = layer_gradients(cls, cls.examples[number], backend=backend, **fields)
    except LayerForgeError as error:
        error.hint = error.hint or of_crash(error.__cause__)
        raise
    except Exception as problem:  # a broken layer may fail anywhere, and not only in its own code
        raise LayerForgeError(f"{cls.type_name}-{number}: {type(problem).__name__}: {problem}") from problem
    for row in rows:
        row.example = str(number)
    return rows
