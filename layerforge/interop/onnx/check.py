"""`--check` of both directions: onnx.checker takes a file, and ONNX Runtime computes what the net does."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...check.draws import input_specs, with_batch
from ...check.harness import draw
from ...net import Net
from ...schema.errors import LayerForgeError
from ...schema.optional import require_soon
from ..comparison import OUTPUT, Comparison, Row, row
from ..judge import Failed, run_judge
from ..twin import full_twin
from .graph import ValueInfo
from .model import Model
from .netgraph import distinct
from .runtime_child import CHECKER, REFUSED
from .saving import Exported

PROGRAM = Path(__file__).with_name("runtime_child.py")
SECONDS = 600  # that ONNX Runtime may take
SEED = 16  # of the inputs
SIZES = (2, 5)  # numbers of samples
BESIDE = 1e-6  # what a difference may be beside its share of the largest number
Names = Mapping[str, str]  # from what the file calls something to what the net does


class Refused(LayerForgeError):
    """onnx.checker or ONNX Runtime does not take a file."""


def demand_runtime() -> None:
    """Refuse early where ONNX Runtime is missing. Errors: ConfigError with the line that installs it."""
    for module in ("onnx", "onnxruntime"):
        require_soon(module, extra="onnx", why="--check")


@dataclass(frozen=True)
class Case:
    """Inputs, and what they give here.

    tag     what the rows of a comparison begin with
    given   arrays by the names of the file's inputs
    made    arrays by the names of the file's outputs; none where the net failed
    failed  how it failed, "" where it did not
    units   of outputs that are in units of their own the standard deviation and the mean: they are compared without
    """

    tag: str
    given: Mapping[str, np.ndarray]
    made: Mapping[str, np.ndarray]
    failed: str = ""
    units: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def unscaled(self, name: str, values: np.ndarray) -> np.ndarray:
        """An output as the net computed it, however far its mean is from zero."""
        if name not in self.units or values.ndim > 2:
            return values
        std, mean = self.units[name]
        return (values - mean) / np.where(std == 0, 1.0, std)


def cases_of(net: Net, given: Sequence[ValueInfo], inputs: Names, outputs: Names, *, fixed: bool = False) -> list[Case]:
    """Random inputs of two numbers of samples, and what a net makes of them in eval.

    given     the inputs of the file
    inputs    what the net calls them
    outputs   of each output of the file the blob of the net
    fixed     the number of samples is that of the net's declaration, and no other

    Integers are drawn from what the layers accept that read them. A number of samples that the net fails with is a
    case, too: the file may take it.

    Errors   those of the net, where it takes none of the numbers of samples
    """
    specs, cases = input_specs(net.graph), []
    problem: LayerForgeError | None = None
    for samples in (None,) if fixed else SIZES:
        arrays = _drawn(specs, samples, [inputs[info.name] for info in given])
        made, failed = {}, ""
        try:
            made = eval_of(net, outputs, arrays)
        except LayerForgeError as error:
            problem, failed = error, error.message
        passed = {info.name: np.asarray(arrays[inputs[info.name]], np.dtype(info.dtype)) for info in given}
        cases.append(Case(f"{_count(arrays)} samples", passed, made, failed))
    if problem is not None and all(case.failed for case in cases):
        raise problem
    return cases


def cases_of_export(net: Net, exported: Exported, outputs: Sequence[str]) -> list[Case]:
    """Those of a net that was written, in full precision: `outputs` are the blobs that were asked for."""
    given = exported.graph.inputs
    named = dict(zip((info.name for info in exported.graph.outputs), distinct(outputs), strict=True))
    passed = {info.name: info.name for info in given}
    return cases_of(full_twin(net), given, passed, named, fixed=not follows_batch(exported))


def cases_of_import(model: Model) -> list[Case]:
    """Those of a model that was opened; of its own number of samples where the file takes no other."""
    given = model.graph.inputs
    fixed = any(isinstance((info.shape or ("N",))[0], int) for info in given[:1])
    return cases_of(model.net(keep="none"), given, model.inputs, model.outputs, fixed=fixed)


def follows_batch(exported: Exported) -> bool:
    """Whether a file that was written takes any number of samples."""
    return any(isinstance(length, str) for info in exported.graph.inputs for length in info.shape or ())


def eval_of(net: Net, outputs: Names, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What a net gives in eval, by the names of a file's outputs."""
    net.reset_carried("eval")
    made = net.forward(phase="eval", outputs=list(dict.fromkeys(outputs.values())), **arrays)
    return {name: np.array(net.backend.to_host(made[blob])) for name, blob in outputs.items()}


def of_bytes(content: bytes, path: Path, cases: Sequence[Case]) -> Comparison:
    """`against_runtime` for a file before it is written; `path` is where it is going to be."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, path.name)
        file.write_bytes(content)
        try:
            return against_runtime(file, cases)
        except Refused as error:
            error.message = error.message.replace(str(file), str(path))
            error.hint = f"{path} is not written; this is a fault of LayerForge: please report it"
            raise


def against_runtime(path: str | Path, cases: Sequence[Case]) -> Comparison:
    """Let onnx.checker look at a file, and compare what ONNX Runtime makes of it.

    A blob agrees within 1e-5 of its largest number, and 1e-6 beside that. Inputs that the net fails with, and ONNX
    Runtime does not, are a difference.

    Errors   Refused where either does not take the file; ConfigError where one is missing
    """
    demand_runtime()
    given: dict[str, Any] = {f"{number}/": np.zeros(0) for number in range(len(cases))}  # also those without inputs
    given |= {f"{number}/{name}": array for number, case in enumerate(cases) for name, array in case.given.items()}
    theirs = _run(path, given)
    places = {str(name): place for place, name in enumerate(theirs["names"])}
    rows = []
    for number, case in enumerate(cases):
        refused = theirs.get(f"{number}/{REFUSED}")
        if case.failed:
            rows.append(_failed(case, refused is not None))
        elif refused is not None:
            raise Refused(f"ONNX Runtime {_version()} does not take {path}: {str(refused)[:600]}")
        for name, ours in case.made.items():
            key = f"{number}/{places.get(name)}"
            if key in theirs:
                found, expected = (case.unscaled(name, array) for array in (ours, theirs[key]))
                rows.append(row(case.tag, name, found, expected, OUTPUT, BESIDE))
            else:
                rows.append(Row(case.tag, name, np.nan, OUTPUT, "not compared: it is no tensor of numbers"))
    return Comparison(f"ONNX Runtime {_version()}", rows)


def _failed(case: Case, refused: bool) -> Row:
    """The result for inputs that the net fails with; `refused` where ONNX Runtime does not take them either."""
    told = " ".join(case.failed.split())
    if refused:
        return Row(case.tag, "(the net)", np.nan, OUTPUT, f"not compared: neither takes it: {told}")
    return Row(case.tag, "(the net)", np.inf, OUTPUT, f"the net fails, ONNX Runtime does not: {told}")


def _drawn(specs: Mapping[str, Spec], samples: int | None, names: Sequence[str]) -> dict[str, Any]:
    """Numbers for the inputs of those names."""
    wanted = dict(specs) if samples is None else with_batch(dict(specs), samples)
    generator = np.random.default_rng([SEED, samples or 0])
    drawn = {name: draw(spec, generator) for name, spec in wanted.items()}
    return {name: drawn[name] for name in names}


def _count(arrays: Mapping[str, Any]) -> int:
    """How many samples there are."""
    return next((len(array) for array in arrays.values() if array.ndim), 1)


def _run(path: str | Path, cases: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What ONNX Runtime makes of inputs, in a process of its own, which may crash."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "in.npz"), Path(folder, "out.npz")
        with given.open("wb") as file:
            np.savez(file, **cases)
        try:
            run_judge(PROGRAM, path, given, found, seconds=SECONDS)
        except Failed as failed:
            if not failed.code:
                raise Refused(f"ONNX Runtime {failed.told}") from None
            who = "onnx.checker" if failed.code == CHECKER else f"ONNX Runtime {_version()}"
            raise Refused(f"{who} does not take {path}: {failed.told[:600]}") from None
        with np.load(found, allow_pickle=False) as made:
            return {key: made[key] for key in made.files}


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("onnxruntime")
    except metadata.PackageNotFoundError:  # another build of it, such as that for GPUs
        return ""
