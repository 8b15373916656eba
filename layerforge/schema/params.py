"""Hyper-parameters, declared once.

    class Linear(Layer):
        out_features: int = param(help="features of the output", ge=1)

That one line gives the check, the default, the error text, the reference page and the help of the command line.
A type that needs a check of its own is `Annotated[type of the value, rule]`, as `Pair` below. The rule has
`parse(value)`, which returns the value or raises TypeError, and `description`, what errors call it.
Everything that YAML can name is a `Declared`: layers, fillers, solvers, schedules, data sources, config sections.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias

from .errors import ConfigError, flatten, raise_all
from .locations import Place, part, place_of
from .synonyms import hint_for_key


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED: Any = _Required()


class Param:
    """One declared hyper-parameter. `name` and `type` are filled in from the class body that declares it."""

    name: str = ""
    type: Any = None

    def __init__(
        self, default: Any, help: str, ge: Any, gt: Any, le: Any, lt: Any, choices: tuple[Any, ...] | None
    ) -> None:
        self.default, self.help, self.choices = default, help, choices
        bounds = ((">=", ge), (">", gt), ("<=", le), ("<", lt))
        self.bounds = [(word, bound) for word, bound in bounds if bound is not None]

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def over(self, axes: Any) -> Param:
        """The same parameter with PerAxis in its type replaced by the number of axes."""
        chosen = copy(self)
        chosen.type = {PerAxis: axes, PerAxis | None: axes | None}.get(self.type, self.type)
        return chosen

    def describe(self) -> str:
        """Type and bounds in words: `an integer >= 1`."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        words, null = describe_type(self.type), " or null"
        bounds = " and".join(f" {word} {bound}" for word, bound in self.bounds)
        return words.removesuffix(null) + bounds + (null if words.endswith(null) else "")

    def parse(self, value: Any) -> Any:
        """The value in its declared type; ConfigError in the words of the declaration where it does not fit."""
        try:
            parsed = parse_as(self.type, value)
        except TypeError:
            # YAML 1.1's yes/no habit and quoted numbers end up here: show the value as Python sees it.
            raise ConfigError(f"{self.name} must be {self.describe()}, got {show(value)}") from None
        if self.choices and parsed is not None and parsed not in self.choices:
            raise ConfigError(f"{self.name} must be one of {', '.join(map(str, self.choices))}, got {show(value)}")
        for number in numbers_in(parsed) if self.bounds else ():
            for word, bound in self.bounds:
                if not COMPARE[word](number, bound):
                    raise ConfigError(f"{self.name} must be {word} {bound}, got {show(value)}")
        return parsed


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": lambda a, b: a >= b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    "<": lambda a, b: a < b,
}


def param(
    default: Any = REQUIRED,
    *,
    help: str,
    ge: Any = None,
    gt: Any = None,
    le: Any = None,
    lt: Any = None,
    choices: tuple[Any, ...] | None = None,
) -> Any:
    """Declare a hyper-parameter; its type is the annotation beside it. Without a default it is required.

    ge, gt, le, lt bound a number, or every number of a list; choices lists the allowed values.
    """
    return Param(default, help, ge, gt, le, lt, choices)


def show(value: Any) -> str:
    """A value as it appears in an error: short, in YAML's words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(dict(value) if isinstance(value, dict) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def numbers_in(value: Any) -> Iterator[Any]:
    """The numbers that a bound applies to: the value itself, or the items of a list or mapping."""
    if isinstance(value, Mapping):
        yield from numbers_in(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from numbers_in(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


@dataclass(frozen=True)
class OneOrEach:
    """The rule for one number for all axes, or one for each. The value is a tuple.

    count   of the axes
    kind    of the numbers
    """

    count: int
    kind: type
    description: str

    def parse(self, value: Any) -> tuple[Any, ...]:
        if isinstance(value, (list, tuple)):
            if len(value) != self.count:
                raise TypeError
            return tuple(parse_as(self.kind, item) for item in value)
        return (parse_as(self.kind, value),) * self.count


# One integer for all spatial axes, or one for each. A base class for any number of axes annotates with PerAxis itself,
# and each of its subclasses chooses: `class Conv1d(Convolution, axes=Single)`.
PerAxis: TypeAlias = Annotated[tuple[int, ...], "as many as the subclass has axes"]
Single: TypeAlias = Annotated[tuple[int], OneOrEach(1, int, "an integer or a list [length]")]
Pair: TypeAlias = Annotated[tuple[int, int], OneOrEach(2, int, "an integer or a pair [height, width]")]
Triple: TypeAlias = Annotated[tuple[int, int, int], OneOrEach(3, int, "an integer or a triple [depth, height, width]")]
FloatPair: TypeAlias = Annotated[tuple[float, float], OneOrEach(2, float, "a number or a pair [height, width]")]


class PathRule:
    """The rule for the path of a file or folder. A relative one belongs to the file that it was written in."""

    description = "a path"

    @staticmethod
    def parse(value: Any) -> str:
        return parse_as(str, value)


FilePath: TypeAlias = Annotated[str, PathRule]
PATHS = (FilePath, FilePath | None)


def resolve_path(path: str, place: Place | None) -> str:
    """`path` against the folder of the file that names it; against the working folder where no file does."""
    folder = Path(place.file).parent if place is not None and place.line else Path()
    return str((folder / Path(path).expanduser()).absolute())


SCALARS = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a string",
    type(None): "null",
    dict: "a mapping",
    Any: "any value",
}


def parse_as(kind: Any, value: Any) -> Any:
    """`value` as the annotated type `kind`; TypeError where it is not one. Nothing is guessed: "3" is no integer."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return args[1].parse(value)
    if origin in (types.UnionType, typing.Union):
        return _parse_union(args, value)
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise TypeError
        if origin is tuple and args[-1] is not Ellipsis and len(value) != len(args):
            raise TypeError
        return origin(parse_as(args[0], item) for item in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise TypeError
        return {parse_as(args[0], k): parse_as(args[1], v) for k, v in value.items()}
    if hasattr(kind, "parse"):
        return kind.parse(value)
    if kind is Any or (kind is type(None) and value is None):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (int, float, bool, str) and type(value) is kind:
        return value
    if kind is dict and isinstance(value, Mapping):
        return value
    raise TypeError


def _parse_union(kinds: tuple[Any, ...], value: Any) -> Any:
    for kind in sorted(kinds, key=lambda k: k is float):  # 3 stays an integer where both are allowed
        try:
            return parse_as(kind, value)
        except TypeError:
            continue
    raise TypeError


def describe_type(kind: Any) -> str:
    """A type in words, as errors and the reference pages print it."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return args[1].description
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe_type(a) for a in args)
    if origin in (list, tuple):
        count = f"{len(args)} " if origin is tuple and args[-1] is not Ellipsis else ""
        return f"a list of {count}{plural(describe_type(args[0]))}"
    if origin is dict:
        return f"a mapping of names to {plural(describe_type(args[1]))}"
    if kind in SCALARS:
        return SCALARS[kind]
    return getattr(kind, "description", getattr(kind, "__name__", str(kind)))


def plural(words: str) -> str:
    """Several of what `words` describe: "a number" -> "numbers", "a list of numbers" -> "lists of numbers"."""
    if words == SCALARS[bool]:
        return "booleans"
    if " or " in words:
        return " or ".join(map(plural, words.split(" or ")))
    noun, of, rest = words.split(" ", 1)[-1].partition(" of ")
    return f"{noun}s{of}{rest}"


class Declared:
    """Base of everything with declared hyper-parameters. Subclasses write no `__init__`.

    Errors   ConfigError (or ConfigErrors, all at once) for unknown, missing, mistyped and out-of-range values
    """

    fields: ClassVar[dict[str, Param]] = {}
    type_name: ClassVar[str] = ""  # what YAML calls it; the class name unless the class says otherwise
    place: Place | None = None

    def __init_subclass__(cls, axes: Any = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.type_name = vars(cls).get("type_name", cls.__name__)
        cls.fields = dict(cls.fields)
        for name, value in list(vars(cls).items()):
            if isinstance(value, Param):
                value.name = name
                value.type = _annotation(cls, name)
                cls.fields[name] = value
                if value.required:
                    delattr(cls, name)
                else:
                    setattr(cls, name, value.default)
        if axes is not None:
            cls.fields = {name: field.over(axes) for name, field in cls.fields.items()}

    def __init__(self, **values: Any) -> None:
        self._assign(values, type(self).__name__)

    @classmethod
    def from_config(
        cls, values: Mapping[str, Any], owner: str | None = None, place: Place | None = None
    ) -> typing.Self:
        """Build from a mapping of a file; errors carry the places that the mapping knows and begin with `owner`."""
        self = cls.__new__(cls)
        self.place = place or place_of(values)
        self._assign(values, owner or cls.__name__)
        return self

    def _assign(self, values: Mapping[str, Any], owner: str) -> None:
        errors: list[Any] = []
        for key in values:
            if key not in self.fields:
                message = f"unknown key '{key}' in {owner}"
                errors.append(
                    ConfigError(message, place=place_of(values, key, of="key"), hint=hint_for_key(key, self.fields))
                )
        for name, field in self.fields.items():
            if name in values:
                try:
                    value = field.parse(values[name])
                    if field.type in PATHS and value is not None:
                        value = resolve_path(value, place_of(values, name))
                    setattr(self, name, value)
                except ConfigError as error:
                    errors += [_located(e, owner, place_of(values, name)) for e in flatten(error)]
            elif field.required:
                message = f"{owner}: {name} is required ({field.help})"
                hint = f"add '{name}: ...', {field.describe()}"
                errors.append(ConfigError(message, place=place_of(values), hint=hint))
            else:  # parsed too: a filler written "msra" or a pair written 1 becomes what the layer expects
                setattr(self, name, None if field.default is None else parse_as(field.type, field.default))
        if not errors:
            try:
                self.validate()
            except ConfigError as error:
                errors.append(_located(error, owner, place_of(values)))
        raise_all(errors)

    def validate(self) -> None:
        """Check what involves several hyper-parameters at once; raise ConfigError. Nothing by default."""

    @property
    def config(self) -> dict[str, Any]:
        """All hyper-parameters with their values, defaults included, as YAML would write them."""
        return {name: to_plain(getattr(self, name)) for name in self.fields}

    def plain(self) -> dict[str, Any]:
        """What a YAML file says to get this object: its type and its config. Sections, which have no type, say less."""
        return {"type": self.type_name, **self.config}

    def __repr__(self) -> str:
        fields = self.fields.items()
        changed = {n: v for n, v in self.config.items() if v != to_plain(self.fields[n].default)}
        return f"{self.type_name}({', '.join(f'{n}={changed[n]!r}' for n, _ in fields if n in changed)})"


def _located(error: Any, owner: str, place: Place | None) -> ConfigError:
    if error.place is not None:  # raised deeper in the value, where the place is known better
        return error
    return ConfigError(f"{owner}: {error.message}", place=place, hint=error.hint)


def _annotation(cls: type, name: str) -> Any:
    annotation = inspect.get_annotations(cls).get(name)
    if annotation is None:
        raise TypeError(f"{cls.__name__}.{name} = param(...) needs a type annotation, for example `{name}: int`")
    if isinstance(annotation, str):
        return eval(annotation, vars(sys.modules[cls.__module__]), dict(vars(cls)))  # source code, never a file's text
    return annotation


def to_plain(value: Any) -> Any:
    """A value as YAML and JSON write it: declared objects become mappings, tuples become lists."""
    if isinstance(value, Declared):
        return value.plain()
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: to_plain(v) for k, v in value.items()}
    return value


def family_value(registry: Any, value: Any, noun: str) -> Any:
    """A member of a family of declared types from its YAML: a bare type name, or {type: name, ...its parameters}."""
    if isinstance(value, str):
        value = {"type": value}
    if not isinstance(value, Mapping):
        raise TypeError
    rest = part(value, (k for k in value if k != "type"))
    if "type" not in value:
        raise ConfigError(f"{noun} needs a type", place=place_of(value), hint=f"one of {', '.join(registry.names())}")
    cls = registry.get(value["type"], place_of(value, "type"))
    return cls.from_config(rest, owner=f"{noun} {value['type']}", place=place_of(value))
