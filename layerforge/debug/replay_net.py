"""The net and the solver of a capsule, as they were before its step."""

from __future__ import annotations

from typing import Any

from ..arrays.backend import Backend, get_backend
from ..arrays.sparse import CSR
from ..config.document import Config
from ..config.yaml_file import parse_yaml
from ..net import Net
from ..run import carried
from ..schema import user_modules
from ..schema.errors import ConfigError
from ..solvers.solver import Solver
from ..training.capsule import Capsule
from .watch import WatchedNet


def rebuild(
    capsule: Capsule, allow_import: bool, backend: str | Backend | None, *, watched: bool = True
) -> tuple[Any, Solver]:
    """The net and the solver as they were before the step. The inputs take the place of the data section.

    watched   make it a WatchedNet, which keeps every blob; otherwise a net such as training has

    Errors   ConfigError for a capsule that would need `allow_import`; DataError where its arrays do not fit its net
    """
    tree = parse_yaml(capsule.meta["config"], str(capsule.file))
    imports = tree.get("import") or []
    if imports and not allow_import:
        message = f"the capsule {capsule.file} imports Python files: {', '.join(map(str, imports))}"
        raise ConfigError(message, hint="if you trust them, run them with --allow-import")
    own = {key: value for key, value in tree.items() if key not in ("data", "extends")}
    first = capsule.batches[0]
    own["inputs"] = {name: _declared(first[name]) for name in capsule.meta["inputs"]}
    config = Config.from_dict(own, (), user_modules.import_all)
    if backend is not None:
        backend = get_backend(backend)
        config = config.on_backend(backend.name)
    net = WatchedNet(config, backend) if watched else Net(config, keep="none", backend=backend)
    assert config.solver is not None  # a capsule holds the configuration of a training
    solver = Solver.from_config(net, config.solver)
    net.load_arrays(capsule.arrays, str(capsule.file))
    carried.load(net, capsule.arrays, str(capsule.file))
    solver.load_state(capsule.meta["solver"], capsule.arrays, str(capsule.file))
    net.first_sample = capsule.meta["first_sample"]
    return net, solver


def _declared(array: Any) -> dict[str, Any]:
    """An input as a configuration declares it: an index says what it is, a real takes the net's dtype."""
    dtype = None if array.dtype.kind == "f" else str(array.dtype)
    return {"shape": list(array.shape), "dtype": dtype, "sparse": "csr" if isinstance(array, CSR) else None}
