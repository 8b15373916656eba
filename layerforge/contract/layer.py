"""The layer contract. A layer declares itself, computes forward, and returns the gradients of its bottoms in backward.

    @register
    class Square(Layer):
        \"\"\"Square: y = x² ... \"\"\"
        backward_reads = ("bottom",)
        examples = [Example({}, [Spec((3, 4))])]

        def setup(self, x):
            return x

        def forward(self, x):
            self.save(x=x)
            return x * x

        def backward(self, dy):
            return 2 * self.saved.x * dy

docs/layers_of_your_own.md is the guide; the checks of `layerforge test` prove every promise below.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeVar

from ..arrays import philox
from ..arrays.backend import Array
from ..arrays.formula import as_text
from ..arrays.spec import Spec
from ..schema.errors import LayerError
from ..schema.params import Declared
from ..schema.settled import from_within
from .assigning import unknown_attribute
from .declarations import ParamDecl, StateDecl
from .fillers import as_filler
from .namespaces import Flags, Grads, Params, Rows, Saved, State


@dataclass(frozen=True)
class Example:
    """One way to use a layer, on which all checks run: hyper-parameters and the Specs of its bottoms.

    tops is how many tops the net names, for a layer whose set-up depends on that.
    """

    params: dict[str, Any]
    bottoms: Sequence[Spec]
    note: str = ""
    tops: int = 1


@dataclass(frozen=True)
class Bad:
    """A use that must be refused, with a part of the message that says why."""

    params: dict[str, Any]
    message: str
    bottoms: Sequence[Spec] = ()


@dataclass
class Run:
    """What a pass through a net is about. The net owns one, and all of its layers see the same."""

    phase: str = "train"
    keep: bool = True  # whether this forward will be differentiated
    seed: int = 0
    iteration: int = 0
    first_sample: int = 0  # position of the batch's first sample in the global batch
    tuning: Any = None  # what changes multipliers of parameters (run/tuning.py); None outside of a net
    as_text: frozenset[str] = frozenset()  # the layers that no kernel of a device computes for


@dataclass
class Memory:
    """The reusable arrays of a layer and how long each must live."""

    arrays: dict[Any, Any] = field(default_factory=dict)  # by name; what is no layer has keys of its own
    lives: dict[str, str] = field(default_factory=dict)


class Tuned:
    """A key of a layer's parameters, as an attribute that can be changed: net.layers["fc1"].freeze = True."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __get__(self, layer: Layer | None, owner: type) -> Any:
        if layer is None:
            return self
        return None if layer.run.tuning is None else layer.run.tuning.value(layer, self.key)

    def __set__(self, layer: Layer, value: Any) -> None:
        if layer.run.tuning is None:
            raise LayerError(f"layer '{layer.name}' is in no net: its {self.key} has no meaning")
        layer.run.tuning.change(layer, self.key, value)


class Wired:
    """A key that a net reads when it is built; assigning the attribute later is an error, for it would do nothing."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __get__(self, layer: Layer | None, owner: type) -> Any:
        raise AttributeError(self.key)  # of the class too: `engine` tells the layers of engines from others

    def __set__(self, layer: Layer, value: Any) -> None:
        hint = "set it in the configuration, and build the net anew"
        raise LayerError(f"layer '{layer.name}': {self.key} cannot be changed in a net that is built", hint=hint)


BUILT_IN = frozenset(["name", "dtype", "params", "grads", "state", "param_decls", "state_decls"])  # when a net is built

Result = TypeVar("Result")


def any_arguments(method: Callable[..., Result]) -> Callable[..., Result]:
    """Mark a method that a layer overrides with arguments of its own: `forward(self, image, label)`.

    It changes nothing when the program runs; it tells type checkers that every number and naming of arguments will do.
    """
    return method


class Layer(Declared):
    """Base of all layers: hyper-parameters by `param`, and the services that setup, forward and backward use.

    A layer states, as class attributes:

    bottoms, tops    how many: a number or (least, most), with None for any number
    backward_reads   which arrays must still hold their values in backward: "bottom", "top", "bottom[1]" ...
    inplace          it can write its top over its bottom, taking the top from `self.buf(..., over=x)`
    top_is_view      its top shares memory with its bottom (`validate` sets it where hyper-parameters decide)
    grad_aliases     a gradient that it returns may be the memory of dy
    no_grad_bottoms  real bottoms that never get a gradient (`setup` sets it where it depends on which there are)
    carries          it goes on from batch to batch: what `carried` has of a phase its next forward of that phase begins
                     from (`validate` sets it where hyper-parameters decide)
    carried_shapes   of what it carries, without the axis of samples: a checkpoint is held against them; None: not told
    sparse_bottoms   bottoms that may be a CSR instead of an array; its gradient is a CSR of the same pattern
    per_sample       in eval, sample i of the top depends on sample i of the bottoms only (`per_sample_for` asks again)
    loss             its first top is a loss: loss_weight 1 unless said otherwise
    can_overwrite_grad  backward can write the gradients of all parameters instead of adding to them
    adds_up          a top that is one number for all samples is the mean or sum, by `mean_over`, of those for parts
    exact_gradient   backward is the derivative of forward; `validate` sets it to False where hyper-parameters ask for
                     another one on purpose, as some frameworks have: then no differences are held against it
    examples, bad_examples   what the checks run on
    """

    bottoms: ClassVar[int | tuple[int, int | None]] = 1
    tops: ClassVar[int | tuple[int, int | None]] = 1
    backward_reads: ClassVar[tuple[str, ...]] = ()
    inplace: ClassVar[bool] = False
    top_is_view: bool = False
    grad_aliases: ClassVar[bool] = False
    no_grad_bottoms: tuple[int, ...] = ()
    carries: bool = False
    carried_shapes: Sequence[tuple[int, ...]] | None = None
    told_beginnings: bool = False  # where it carries: a bottom tells where a sequence begins, so an epoch need not
    sparse_bottoms: ClassVar[tuple[int, ...]] = ()
    per_sample: ClassVar[bool] = True
    loss: ClassVar[bool] = False
    can_overwrite_grad: bool = False
    adds_up: ClassVar[bool] = True
    exact_gradient: bool = True
    examples: ClassVar[list[Example]] = []
    bad_examples: ClassVar[list[Bad]] = []

    freeze, lr_mult, decay_mult = Tuned("freeze"), Tuned("lr_mult"), Tuned("decay_mult")
    loss_weight, recompute, engine = Wired("loss_weight"), Wired("recompute"), Wired("engine")
    precision, matmul_precision = Wired("precision"), Wired("matmul_precision")

    name: str
    run: Run
    xp: Any  # the backend's namespace
    dtype: str  # of the reals: "float32" or "float64"
    needs_grad: tuple[bool, ...]  # per bottom
    tops_wanted: int  # how many tops the net names
    runs_in_place: bool  # the net proved that the top may overwrite the bottom
    overwrites_grad: bool  # if it can: the old gradients of its parameters count for nothing in the next backward
    params: Params
    grads: Grads
    state: State
    needs_param_grad: Flags
    grad_rows: Rows
    carried: dict[str, tuple[Array, ...]]  # by phase; replaced by each forward, and never written into
    kept: Saved | None  # what forward saved, for `saved`
    draws: int  # how many times this forward has drawn random numbers
    param_decls: dict[str, ParamDecl]
    state_decls: dict[str, StateDecl]
    memory: Memory
    constants: dict[str, tuple[Any, Array]]  # by name: what they depend on, and they themselves

    framework_names: ClassVar[frozenset[str]] = frozenset()  # filled in below: no hyper-parameter may shadow them

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self.name, self.xp, self.dtype = cls.type_name, None, "float32"
        self.needs_grad, self.tops_wanted, self.runs_in_place, self.overwrites_grad = (), 1, False, False
        self.run = Run()
        self.params, self.grads, self.state, self.needs_param_grad = Params(), Grads(), State(), Flags()
        self.grad_rows, self.carried = Rows(), {}
        self.param_decls, self.state_decls = {}, {}
        self.memory, self.kept, self.draws, self.constants = Memory(), None, 0, {}
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        """In a net: an attribute that the layer has, or that its own code sets. Another one would do nothing."""
        own = self.__dict__
        if name in own and name not in BUILT_IN:
            own[name] = value
        elif "run" not in own or own["run"].tuning is None or _may_have(self, name):
            object.__setattr__(self, name, value)
        else:
            raise unknown_attribute(self, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.run.tuning is not None:
            message = f"layer '{self.name}' cannot be copied or pickled without its net"
            raise LayerError(message, hint='copy.deepcopy(net).layers["NAME"] is that of a copy')
        return super().__reduce_ex__(protocol)

    # What a layer writes ------------------------------------------------------------------------------------------

    @any_arguments
    def setup(self, *bottoms: Spec) -> Spec | Sequence[Spec]:
        """From the Specs of the bottoms those of the tops; declares parameters and state. Pure in shapes and dtypes."""
        raise NotImplementedError(f"{type(self).__name__} has no setup(self, x)")

    @any_arguments
    def check_phase(self, phase: str, *bottoms: Spec) -> None:
        """Raise a LayerError where forward of this phase refuses bottoms that `setup` takes; by default it does not.

        Asked before a training for every size of batch that it will meet.
        """

    @any_arguments
    def forward(self, *bottoms: Array) -> Any:
        """The tops (one array, or a tuple) from the bottoms, which are read-only."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(self, x)")

    @any_arguments
    def backward(self, *dtops: Array) -> Any:
        """The gradients of the bottoms (None where none is needed); adds those of the parameters to `self.grads`."""
        raise NotImplementedError(f"{type(self).__name__} has no backward(self, dy)")

    @any_arguments
    def jvp(self, *tangents: Array | None) -> Any:
        """The tangents of the tops from those of the bottoms, after a forward that was kept: forward accumulation.

        Optional: for a layer without it, a net derives it from backward. A tangent may be None for zero. That of a
        layer whose forward is overridden is not asked.
        """
        raise NotImplementedError(f"{type(self).__name__} has no jvp(self, dx)")

    @any_arguments
    def jvp_params(self, **tangents: Array) -> Any:
        """The tangents of the tops from those of the parameters that move, by name, while the bottoms stand still.

        Optional, as `jvp` is. What it needs of the bottoms it takes from `saved`: they may not be there any more.
        """
        raise NotImplementedError(f"{type(self).__name__} has no jvp_params(self, weight)")

    @any_arguments
    def per_sample_for(self, *bottoms: Spec) -> bool:
        """Whether `per_sample` holds for this layer and these bottoms: a layer with a `dim` may work along axis 0."""
        return self.per_sample

    @any_arguments
    def index_range(self, i: int, *bottoms: Spec) -> range | None:
        """The integers that bottom i, an index, may hold; None where the layer takes any. Checks of nets draw them."""
        return None

    @any_arguments
    def mean_over(self, *bottoms: Array) -> float | None:
        """How many things a scalar top is the mean of, in this batch: what ragged batches are weighted by.

        None says that the top is a sum. By default the samples of the first bottom; 1 where there is none. What a
        device has counted may stay there, as an array of one element (`number_of`): it is fetched with the losses.
        """
        return len(bottoms[0]) if bottoms and bottoms[0].shape else 1

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        """Floating-point operations of one forward; a multiply-add counts two. By default one per element of a top."""
        return sum(t.size for t in tops)

    # What a layer uses --------------------------------------------------------------------------------------------

    @property
    def phase(self) -> str:
        """"train" or "eval": a property of the run, not of the layer."""
        return self.run.phase

    @property
    def saved(self) -> Saved:
        """What forward kept. LayerError where the last forward was not one to be differentiated."""
        if self.kept is None:
            raise LayerError(
                "backward without a forward that kept its arrays",
                hint='call net.forward(...) first; in eval: net.forward(phase="eval", backward=True)',
            )
        return self.kept

    def save(self, **arrays: Any) -> None:
        """Keep arrays (or anything else) for backward; does nothing where this forward will not be differentiated."""
        if self.run.keep:
            self.kept = Saved(arrays)

    def add_param(
        self,
        name: str,
        shape: Sequence[int],
        filler: Any,
        *,
        lr_mult: float = 1.0,
        decay_mult: float = 1.0,
        fan_in: float | None = None,
        sparse_grad: bool = False,
        by_columns: bool = False,
    ) -> None:
        """Declare a parameter. Again with the same shape does nothing; with another shape it is an error.

        filler is a Filler, its name, or a number; None for the weights of a linear map leaves the choice to the graph,
        by what follows the layer. The multipliers scale the solver's lr and weight_decay.
        fan_in is for that choice: how many elements one of the top sums up, where it is not count / shape[0].
        With sparse_grad backward tells of every row that it adds to, `self.grad_rows.NAME.add(rows)`; no other is
        updated.
        by_columns stores a matrix column after column, for a layer that reads and adds to single columns.
        """
        shape, chosen = tuple(shape), None if filler is None else as_filler(filler)
        if chosen is None and fan_in is None and len(shape) < 2:
            raise LayerError(
                f"'{name}' has no filler, and as its shape is {shape} it has no fan_in to choose one by",
                hint="name a filler, or a number that it starts at",
            )
        decl = ParamDecl(name, shape, chosen, lr_mult, decay_mult, fan_in, sparse_grad, by_columns)
        self._declare(self.param_decls, decl)

    def add_state(self, name: str, shape: Sequence[int], value: float, dtype: str = "") -> None:
        """Declare an array of state, such as running statistics, that starts at `value`."""
        self._declare(self.state_decls, StateDecl(name, tuple(shape), value, dtype))

    def _declare(self, declared: dict[str, Any], new: Any) -> None:
        old = declared.get(new.name)
        if old is None and (new.name in self.param_decls or new.name in self.state_decls):
            raise LayerError(f"'{new.name}' is declared as a parameter and as state", hint="give one another name")
        if old is not None and old.shape != new.shape:
            raise LayerError(
                f"'{new.name}' was set up with shape {old.shape} and would now need {new.shape}",
                hint="only the batch size may change; a net for other shapes is a new net",
            )
        declared.setdefault(new.name, new)

    def buf(
        self,
        name: str,
        shape: Sequence[int],
        dtype: Any = None,
        *,
        life: str = "call",
        over: Any = None,
        like: Any = None,
    ) -> Any:
        """Reusable memory: the same array at every call while shape and dtype stay. Its old content is undefined.

        life  "call" until the layer's next call, "saved" until backward has run
        over  asks to write over this bottom: where the net has proved that safe, its own memory comes back
        like  an array of the same shape (by default `over`) whose order of axes in memory the new one gets: operations
              between arrays of one order run through memory in one sweep
        """
        if over is not None and self.runs_in_place:
            return over
        shape, dtype = tuple(shape), dtype or self.dtype
        array = self.memory.arrays.get(name)
        if array is None or array.shape != shape or array.dtype != dtype:
            model = over if like is None else like
            if model is not None and model.shape == shape:
                array = self.xp.empty_like(model, dtype=dtype)
            else:
                array = self.xp.empty(shape, dtype=dtype)
            self.memory.arrays[name] = array
            self.memory.lives[name] = life
        return array

    def constant(self, name: str, of: Any, make: Callable[[], Any] | None = None, dtype: Any = None) -> Array:
        """Numbers of the host, or lists of them, as an array that is read-only and made once, not in every pass.

        of    what they depend on, such as hyper-parameters and sizes: where that is not what it was they are made anew.
              Without `make` they are these numbers themselves
        """
        key, held = (of, dtype or self.dtype), self.constants.get(name)
        if held is None or held[0] != key:
            numbers = of if make is None else make()
            held = self.constants[name] = (copy.deepcopy(key), self.xp.asarray(numbers, dtype=dtype or self.dtype))
        return held[1]

    def random(self, shape: Sequence[int], *, by_sample: bool = True, **memory: Any) -> Any:
        """Uniform float32 in [0, 1). The first axis counts samples; what a sample gets does not depend on its batch.

        by_sample  False: the values are the same for every part of the batch, as those of a layer without bottoms
                   must be, for it has no samples
        memory     `out` and `memory` of `philox.uniform`, for a layer that may not allocate
        """
        run = self.run
        key, first = philox.stream_key(run.seed, self.name, self.draws), run.first_sample if by_sample else 0
        self.draws += 1
        return philox.uniform(self.xp, key, tuple(shape), iteration=run.iteration, first_sample=first, **memory)

    # What the framework asks --------------------------------------------------------------------------------------

    def begin_forward(self) -> None:
        """Forget the last iteration: what it saved and how many random draws it made."""
        self.kept, self.draws = None, 0

    def perform(self, doing: str, arrays: Sequence[Any]) -> Any:
        """Run forward, backward or jvp; an engine may know a shorter way to the same."""
        if self.name in self.run.as_text:
            with as_text():
                return getattr(self, doing)(*arrays)
        return getattr(self, doing)(*arrays)

    @property
    def script(self) -> Any:
        """What an engine's layer did the last time, where that can be repeated (run/capture.py)."""
        return None

    @classmethod
    def is_differentiable(cls) -> bool:
        """Whether the layer has a backward at all; a metric has none."""
        return cls.backward is not Layer.backward

    @classmethod
    def has_jvp(cls) -> bool:
        """Whether the layer writes down its forward accumulation along bottoms."""
        return _written_for_its_forward(cls, "jvp")

    @classmethod
    def has_jvp_params(cls) -> bool:
        """Whether the layer writes down its forward accumulation along parameters."""
        return _written_for_its_forward(cls, "jvp_params")


def _written_for_its_forward(cls: type[Layer], method: str) -> bool:
    """Whether a method was written down for the forward that a layer has, and not for one that it overrides."""
    writer = next(each for each in cls.__mro__ if method in vars(each))
    return writer is not Layer and getattr(writer, "forward", Layer.forward) in (Layer.forward, cls.forward)


def _may_have(layer: Layer, name: str) -> bool:
    """Whether an attribute that a layer in a net does not have yet may be assigned."""
    known = inspect.getattr_static(type(layer), name, None)  # without asking a `Wired`
    settable = hasattr(known, "__set__") and not isinstance(known, property)
    declared = known is not None and not hasattr(Layer, name)  # by a class of the user's, which reads it
    return settable or declared or callable(known) or from_within(layer, depth=3)


Layer.framework_names = frozenset(dir(Layer)) | frozenset(vars(Layer.__new__(Layer)))


# Who writes the attributes that the framework gives to every layer: parts of the package, beside this module. A layer
# reads them and writes none. What takes the place of a net around a single layer, as check/harness.py, is left out.
WRITERS: dict[str, tuple[str, ...]] = {
    "name": ("graph",),
    "xp": ("graph",),
    "dtype": ("graph",),
    "place": ("graph",),
    "tops_wanted": ("graph",),
    "run": ("net",),
    "params": (),  # the namespaces are made once; run/parameters.py binds arrays to their names
    "grads": (),
    "state": (),
    "needs_param_grad": (),
    "grad_rows": (),
    "carried": (),  # the mapping is the layer's; run clears and fills it
    "param_decls": (),  # by add_param and add_state
    "state_decls": (),
    "constants": (),
    "memory": ("run", "engines"),  # executor, dry run, jvp; an engine's layer that takes a layer's place
    "kept": ("run", "engines"),  # by save; forgotten by whoever recomputes, put back by who replays a script
    "draws": ("engines",),
    "needs_grad": ("run", "engines"),  # engines while they run a reference's backward
    "runs_in_place": ("run",),
    "overwrites_grad": ("run",),
}


def reads(layer: type[Layer] | Layer, kind: str, i: int) -> bool:
    """Whether backward reads its `kind` ("bottom" or "top") number i."""
    return kind in layer.backward_reads or f"{kind}[{i}]" in layer.backward_reads


def within(count: int, allowed: int | tuple[int, int | None]) -> bool:
    """Whether a number of bottoms or tops is allowed."""
    low, high = (allowed, allowed) if isinstance(allowed, int) else allowed
    return count >= low and (high is None or count <= high)


def describe_count(allowed: int | tuple[int, int | None]) -> str:
    """An allowed number in words."""
    if isinstance(allowed, int):
        return str(allowed)
    low, high = allowed
    return f"at least {low}" if high is None else f"{low} to {high}"
