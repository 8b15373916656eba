"""One configuration, read whole: files, command-line overrides and defaults, and all of its errors at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..arrays.spec import Spec
from ..schema import user_modules
from ..schema.errors import ConfigError, LayerForgeError, flatten, in_order, raise_all
from ..schema.locations import Place, PlacedDict, PlacedList, part, place_of
from ..schema.params import resolve_path, show
from ..schema.regular_files import irregular
from ..schema.synonyms import hint_for_key
from .extends import Files, load_with_bases, merge_bases
from .full_precision import without_lowering
from .other_backend import moved
from .overrides import apply_overrides
from .python_tree import placed_copy
from .resolved import described, resolved_tree
from .sections import CheckpointSection, Section, SolverSection, Top, TrainSection
from .variables import interpolate

TOP_LEVEL = (
    "version",
    "name",
    "seed",
    "backend",
    "dtype",
    "precision",
    "matmul_precision",
    "engine",
    "threads",
    "import",
    "extends",
    "data",
    "inputs",
    "net",
    "blocks",
    "solver",
    "train",
    "checkpoint",
)
SECTIONS: dict[str, type[Section]] = {"train": TrainSection, "checkpoint": CheckpointSection, "solver": SolverSection}
RAW = ("blocks",)  # its variables are the arguments of each use of a block
UNNAMED = "net"


class Config:
    """A configuration and everything that it says or leaves to its defaults.

    path, name    the file it came from (None for a mapping), and the name of the run
    files         (path, text) of every file that was read, as it is stored, the one asked for first
    tree          the mapping after extends, overrides and variables, without x- keys
    top, train, checkpoint, solver    the sections; solver is None where there is none, data too
    data          a DataSection of layerforge.config.data_section
    net, blocks, inputs    as the user wrote them, layers not yet looked at, blocks with their variables
    imports       absolute paths of the user's files; they are not run here
    errors        all errors, in the order of the files' lines; while there are any, sections may hold defaults
    """

    path: str | None
    files: list[tuple[str, str]]

    def __init__(self, tree: PlacedDict, files: Files, path: str | None, overrides: Iterable[str]) -> None:
        """Use `load` or `from_dict`."""
        self.path, self.files = path, files.texts
        self.errors: list[LayerForgeError] = list(files.errors)
        self.broken: set[Place] = set()
        whole = self._interpolated(tree, overrides)
        self.tree = part(whole, (key for key in whole if not key.startswith("x-")))
        self.imports = self._imports()

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        overrides: Iterable[str] = (),
        import_files: Callable[[list[str]], None] | None = None,
    ) -> Config:
        """Read a file, the files it extends, and `overrides` ("solver.lr=0.05").

        `import_files` is called with `imports` before the sections are read, so that they can use what it registers.
        Errors   ConfigError at once for a file that cannot be read or is not YAML; all others wait in `errors`
        """
        name = os.fspath(path)
        files = Files()
        self = cls(load_with_bases(name, files), files, name, overrides)
        self._read(import_files)
        return self

    @classmethod
    def from_dict(
        cls,
        mapping: Mapping[str, Any],
        overrides: Iterable[str] = (),
        import_files: Callable[[list[str]], None] | None = None,
    ) -> Config:
        """The same from a mapping of Python; it is copied, and relative paths belong to the working folder."""
        files = Files()
        tree = merge_bases(placed_copy(mapping), "", files)
        self = cls(tree, files, None, overrides)
        self._read(import_files)
        return self

    @classmethod
    def of_inputs(
        cls,
        resolved: PlacedDict,
        name: str,
        inputs: Mapping[str, Spec],
        import_files: Callable[[list[str]], None] | None = None,
    ) -> Config:
        """The configuration of a resolved tree, with declared inputs in the place of its data section.

        So a net is built where the data that its shapes came from are gone. `name` is what errors call it.
        """
        tree = part(resolved, (key for key in resolved if key != "data"))
        if "data" in resolved:
            declared = {top for layer in resolved.get("net") or () for top in _declared(layer)}
            tree["inputs"] = placed_copy(
                {name: input_section(spec) for name, spec in inputs.items() if name not in declared}
            )
        self = cls(tree, Files(), name, ())
        self._read(import_files)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"tree": self.tree, "path": self.path, "files": self.files, "imports": self.imports}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """A copy reads the tree again, for sections hold what cannot travel. Users' files are imported."""
        vars(self).update(state)
        self.errors, self.broken = [], set()
        self._read(user_modules.import_all)

    def on_backend(self, backend: str) -> Config:
        """This configuration for a backend, whichever it says (other_backend.py); its errors are the same."""
        made = self._with_tree(moved(self.tree, backend))
        made.errors = self.errors
        return made

    def in_full_precision(self, **words: str) -> Config:
        """This configuration without a key that lowers the precision (full_precision.py), and with other words for keys
        of the top level; its errors are the same.
        """
        tree = without_lowering(self.tree)
        tree.update(words)
        made = self._with_tree(tree)
        made.errors = self.errors
        return made

    def with_top(self, **words: str | None) -> Config:
        """This configuration with other words for keys of the top level, where they are not None."""
        given = {key: word for key, word in words.items() if word is not None}
        if not given:
            return self
        tree = part(self.tree, self.tree)
        tree.update(given)
        made = self._with_tree(tree)
        known = {str(error) for error in self.errors}
        made.errors = [*self.errors, *(error for error in made.errors if str(error) not in known)]
        return made

    def _with_tree(self, tree: PlacedDict) -> Config:
        """A configuration of the same files with another tree."""
        made = Config.__new__(Config)
        made.__setstate__({**self.__getstate__(), "tree": tree})
        return made

    # ---- reading -----------------------------------------------------------------------------------------------

    def _collect(self, error: LayerForgeError) -> None:
        """Keep an error, unless it is only what follows from a variable that could not be resolved."""
        self.errors += [e for e in flatten(error) if e.place not in self.broken or e.place is None]

    def _interpolated(self, tree: PlacedDict, overrides: Iterable[str]) -> PlacedDict:
        self.errors += apply_overrides(tree, overrides)
        try:
            result, errors, self.broken = interpolate(tree, leave_out=RAW)
        except ConfigError as error:
            self.errors.append(error)
            return tree
        self.errors += errors
        return result

    def _read(self, import_files: Callable[[list[str]], None] | None) -> None:
        self._unknown_keys()
        if import_files is not None and self.imports:
            try:
                import_files(self.imports)
            except LayerForgeError as error:
                self._collect(error)
        top = self._build(Top, part(self.tree, Top.fields), "config")
        self.top: Top = top or Top()
        self.train: TrainSection = self._section("train") or TrainSection()
        self.checkpoint: CheckpointSection = self._section("checkpoint") or CheckpointSection()
        self.solver: SolverSection | None = None if self.tree.get("solver") is None else self._section("solver")
        self.data: Any = self._data()
        self.inputs: PlacedDict = self._mapping("inputs") or PlacedDict()
        self.blocks: PlacedDict = self._mapping("blocks") or PlacedDict()
        self.net: PlacedList = self._net()
        self.name: str = self.top.name or (Path(self.path).stem if self.path else UNNAMED)
        self.errors = in_order(self.errors, (path for path, _ in self.files))

    def _build(self, kind: type[Any], values: PlacedDict, owner: str) -> Any:
        """The section, or None after its errors are kept."""
        try:
            return kind.from_config(values, owner)
        except LayerForgeError as error:
            self._collect(error)
            return None

    def _section(self, key: str) -> Any:
        values = self._mapping(key)
        return None if values is None else self._build(SECTIONS[key], values, key)

    def _mapping(self, key: str) -> PlacedDict | None:
        """The mapping under a top-level key, empty where there is none (or null); None where it is something else."""
        value = self.tree.get(key)
        if value is None:
            return PlacedDict(place=place_of(self.tree, key, of="key"))
        if isinstance(value, PlacedDict):
            return value
        message = f"{key} must be a mapping, got {show(value)}"
        self._collect(ConfigError(message, place=place_of(self.tree, key), hint="write 'key: value' lines below it"))
        return None

    def _net(self) -> PlacedList:
        value = self.tree.get("net")
        if value is not None and not isinstance(value, PlacedList):
            message = f"net must be a list of layers, got {show(value)}"
            hint = "begin each layer with '- '"
            if isinstance(value, PlacedDict):
                hint += "; a mapping changes layers of a net that the file extends, by name"
            self._collect(ConfigError(message, place=place_of(self.tree, "net"), hint=hint))
            return PlacedList()
        if not value:
            missing = Place(self.path, 0, 0) if self.path else None
            place = place_of(self.tree, "net", of="key") if "net" in self.tree else missing
            self._collect(ConfigError("net has no layers", place=place, hint="list at least one layer"))
            return PlacedList(place=place)
        layers = PlacedList(place=value.place)
        for index, layer in enumerate(value):
            place = place_of(value, index)
            if isinstance(layer, PlacedDict):
                layers.value_places[len(layers)] = place
                layers.append(layer)
            else:
                message = f"a layer must be a mapping, got {show(layer)}"
                self._collect(ConfigError(message, place=place, hint="write - {name: ..., type: ...}"))
        return layers

    def _data(self) -> Any:
        values = self._mapping("data")
        if values is None or self.tree.get("data") is None:
            return None
        from .data_section import DataSection

        return self._build(DataSection, values, "data")

    def _imports(self) -> list[str]:
        value = self.tree.get("import")
        named = value if isinstance(value, list) else [] if value is None else [value]
        found = []
        for index, item in enumerate(named):
            place = place_of(value, index) if isinstance(value, list) else place_of(self.tree, "import")
            if not isinstance(item, str) or not item or "\0" in item:
                self._collect(ConfigError("import must be the path of a Python file or a list of paths", place=place))
                continue
            path = resolve_path(item, place)
            if os.path.isfile(path):
                found.append(path)
            elif kind := irregular(path) or ("a folder" if os.path.isdir(path) else None):
                message = f"import: '{item}' is {kind}, not a Python file"
                self._collect(ConfigError(message, place=place, hint="`import:` lists Python files"))
            else:
                self._collect(ConfigError(f"import: there is no file '{item}'", place=place, hint=f"looked for {path}"))
        return found

    def _unknown_keys(self) -> None:
        for key in self.tree:
            if key in TOP_LEVEL:
                continue
            homes = [f"'{name}.{key}'" for name, section in SECTIONS.items() if key in section.fields]
            hint = f"did you mean {' or '.join(homes)}?" if homes else hint_for_key(key, TOP_LEVEL)
            place = place_of(self.tree, key, of="key")
            self._collect(ConfigError(f"unknown key '{key}' in config", place=place, hint=hint))

    # ---- using -------------------------------------------------------------------------------------------------

    def raise_errors(self) -> None:
        """Raise what is wrong: nothing, the one error, or a ConfigErrors with all of them."""
        raise_all(self.errors)

    def resolved(self) -> PlacedDict:
        """The configuration with every default written out and paths absolute; loading it gives the same run.

        Errors   what raise_errors raises: a configuration with errors has no meaning to write out
        """
        self.raise_errors()
        settings: dict[str, Any] = {
            **self.top.plain(),
            "name": self.name,
            "import": self.imports or None,
            "data": None if self.data is None else self.data.config,
            "inputs": self.inputs or None,
            "blocks": self.blocks or None,
            "net": self.net,
            "solver": None if self.solver is None else self.solver.plain(),
            "train": self.train.plain(),
            "checkpoint": self.checkpoint.plain(),
        }
        return resolved_tree(settings, self.tree)

    def origins(self) -> list[tuple[str, Any, str]]:
        """(dotted key, value, origin) of every setting; an origin is file:line, "--set", "default" or "given"."""
        return list(described(self.resolved()))


def _declared(layer: Any) -> list[str]:
    """The inputs that a layer of type Input declares."""
    if not isinstance(layer, Mapping) or layer.get("type") != "Input":
        return []
    top = layer.get("top") or layer.get("name")
    return list(top) if isinstance(top, list) else [str(top)]


def input_section(spec: Spec) -> dict[str, Any]:
    """An input as `inputs:` declares it; reals have the net's dtype."""
    dtype = {} if spec.is_real else {"dtype": spec.dtype}
    return {"shape": list(spec.shape), **dtype, **({"sparse": spec.sparse} if spec.sparse else {})}
