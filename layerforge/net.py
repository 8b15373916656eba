"""Net: a graph of layers with memory. Forward, backward, named access, save and load.

    net = Net.from_yaml("configs/mnist_mlp.yaml")
    out = net.forward(image=x, label=t)      # every top that nobody consumes
    net.backward()                           # from the losses
    net.backward(fc3=dy)                     # or a vector-Jacobian product for any cotangent of any blob
    net.backward({"block/fc": dy})           # the same where the name is none that a keyword can have
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from .arrays import threads
from .arrays.backend import Array, Backend, get_backend
from .config.document import Config
from .contract.layer import Layer, Run
from .graph.balanced import settle_weights
from .graph.builder import builder_for
from .graph.graph import PHASES, Graph
from .plan.engines import FAST, EngineRequest
from .plan.plan import REFERENCE, Plan
from .plan.precision import impossible
from .run import access, carried, copies, counting, curvature, derivatives, tuning
from .run.advice import Advice
from .run.counting import Count, Counts, LossPart
from .run.explained import explained, raise_for_inputs
from .run.net_parts import Choices
from .run.observer import Observer
from .run.parameters import Parameters, allocate
from .run.passes import Passes
from .run.state_dict import StateDict, plain_arrays
from .run.stored_arrays import stored_arrays, take_over, weights_meta
from .run.summary import headline, summary
from .run.turns import Turns, begin_turn, in_turn, reading_in_turn
from .run.views import Members, Named
from .run.weights_file import Weights, read_weights, write_weights
from .schema import registry, user_modules
from .schema.errors import ConfigError, LayerForgeError, OutOfMemory, raise_all

FORWARD_WORDS = ("phase", "backward", "copy", "outputs")  # no input can be called so: forward() has these parameters


class Net(access.Settled):
    """A network. Make one with `Net.from_yaml(path)` or `Net.from_config(mapping)`.

    keep       "all" blobs stay readable after forward and backward, a list of names, or "none" (what training needs)
    precision, matmul_precision   in the place of what the configuration says at its top level
    iteration  keys the random numbers of layers; a Solver advances it
    """

    def __init__(
        self,
        config: Config,
        *,
        keep: str | Iterable[str] = "all",
        backend: str | Backend | None = None,
        precision: str | None = None,
        matmul_precision: str | None = None,
        like: Mapping[str, Any] | None = None,
    ) -> None:
        """`like` is what a copy takes over from another net of this configuration (copies.py)."""
        self.config = config = config.with_top(precision=precision, matmul_precision=matmul_precision)
        self.backend = get_backend(backend or config.top.backend)
        self.xp = self.backend.xp
        self.dtype = config.top.dtype
        self.seed = config.top.seed
        if config.top.threads is not None:
            threads.use(config.top.threads)
        self.threads = threads.CURRENT.count  # what its engine makes is made for so many
        self.engine_request = EngineRequest.of_top(config.top, self.backend.name, self.threads)
        errors: list[LayerForgeError] = [] if like else [*config.errors, *settle_weights(config)]
        builder = builder_for(config, self.dtype, errors, like["inputs"] if like is not None else None)
        self.graph: Graph = builder.build(config.net, config.blocks, self.xp)
        for name in self.graph.inputs.keys() & set(FORWARD_WORDS):
            errors.append(ConfigError(f"an input cannot be called '{name}'", hint="net.forward() uses that word"))
        raise_all(errors + builder.errors + impossible(self.engine_request, self.graph.nodes, config.tree))
        layers = {n.name: n.layer for n in self.graph.nodes}
        self.layers: dict[str, Layer] = Members("layer", "layers are those of the configuration", layers)
        texts = self.engine_request.as_text(self.graph.nodes)
        run = Run(seed=self.seed, tuning=tuning.Tuning(self), as_text=texts)
        for layer in self.layers.values():
            layer.run = run
        self.parameters: Parameters = allocate(
            self.layers.values(), self.backend, self.dtype, self.seed, self.graph.multipliers(), self.graph.shared,
            fill=like is None, starts=self.graph.starting_values,
        )  # fmt: skip
        self._carriers = [layer for layer in self.layers.values() if layer.carries]
        self._statistics = [((n, k), a) for n, layer in self.layers.items() for k, a in layer.state.items()]
        dense = {name: spec for name, spec in self.graph.inputs.items() if not spec.sparse}
        self._dtypes = {name: np.dtype(spec.dtype) for name, spec in dense.items()}
        asks = any(self.engine_request.of(node) != REFERENCE for node in self.graph.nodes)
        engine = registry.engine(FAST) if asks and not self.engine_request.on_device else None
        self._turns = Turns(f"net '{config.name}'", partial(begin_turn, engine, self.threads))
        self.passes = Passes(
            self.graph, self.parameters, self.backend, self.dtype, run, engine=self.engine_request, turns=self._turns,
            keep=access.checked_keep(self.graph, keep), advice=Advice(self._statistics),
        )  # fmt: skip
        if like is not None:
            copies.take_over(self, like)
        self._settled = frozenset(vars(self)) | {"_settled"}

    @classmethod
    def from_yaml(
        cls,
        path: str | Path,
        overrides: Iterable[str] = (),
        **choices: Unpack[Choices],
    ) -> Net:
        """Build the net of a YAML file. `overrides` are texts such as "net.fc1.out_features=512"; choices as of Net.

        Errors   ConfigError or ConfigErrors, all of them at once, with file, line and remedy
        """
        return cls(Config.load(path, tuple(overrides), user_modules.import_all), **choices)

    @classmethod
    def from_config(
        cls, mapping: Mapping[str, Any], **choices: Unpack[Choices]
    ) -> Net:
        """Build a net from a mapping with the same keys as a YAML file."""
        return cls(Config.from_dict(mapping, (), user_modules.import_all), **choices)

    def __repr__(self) -> str:
        return f"<Net {headline(self)}>"

    def __str__(self) -> str:
        """A table of the layers, for `print(net)`."""
        return summary(self, self.engine_request)

    @reading_in_turn
    def __getstate__(self) -> dict[str, Any]:
        more = {name: value for name, value in vars(self).items() if name not in self._settled}
        return {**copies.state_of(self), "more": more}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        Net.__init__(self, state["config"], keep=state["keep"], backend=state["backend"], like=state)
        self._turns.taken = state["taken"]
        vars(self).update(state["more"])

    @property
    def keep(self) -> frozenset[str] | None:
        """The blobs that are kept for their reader; None stands for all. Assigning takes effect at the next forward."""
        return self.passes.keep

    @keep.setter
    @in_turn
    def keep(self, keep: str | Iterable[str]) -> None:
        self.passes.keep = access.checked_keep(self.graph, keep)
        self.passes.replan("what is kept was changed after it")

    def observe(self, observer: Observer) -> None:
        """Let an observer look at every step from now on: see run/observer.py."""
        self.passes.observers.append(observer)

    # Forward ------------------------------------------------------------------------------------------------------

    @in_turn
    def forward(
        self,
        *,
        phase: str | None = None,
        backward: bool | None = None,
        copy: bool = True,
        outputs: str | Iterable[str] | None = None,
        **inputs: Any,
    ) -> dict[str, Array]:
        """Run all layers of a phase and return every top that nobody consumes.

        phase     "train" unless told: running statistics move with every forward, and Dropout drops. To use a net and
                  not train it, say phase="eval"; a third forward in train without a backward, its phase unnamed, is
                  warned of once, where it matters
        backward  whether the layers keep what a backward needs; by default in train and not in eval
        copy      False returns live arrays instead of copies
        outputs   compute only these blobs (and what they need), and return them: no labels are needed for scores
        inputs    an array for each input of the net; the batch size may differ from call to call
        """
        passes = self.passes
        if phase is None:
            passes.advice.before()
        named, phase = phase is not None, phase or PHASES[0]
        access.demand_phase(phase)
        targets = (outputs,) if isinstance(outputs, str) else None if outputs is None else tuple(outputs)
        keeping = (phase == "train") if backward is None else backward
        try:
            given = {name: self._input(name, value) for name, value in inputs.items()}
        except OutOfMemory as error:
            raise_for_inputs(error, self, phase, inputs, keeping)
        executor = passes.executor_for(phase, {n: a.shape for n, a in given.items()}, targets, backward=keeping)
        passes.begin(executor, keeping)
        executor.forward(executor.stage(given, inputs, keeping), keep=keeping)
        if not named:
            passes.advice.after(executor.plan)
        return access.outputs(executor, copy)

    def _input(self, name: str, value: Any) -> Array:
        """An input on the net's backend and in its dtype."""
        if isinstance(value, self.xp.ndarray) and value.dtype is self._dtypes.get(name):
            return value
        return access.input_array(self, name, value)

    @property
    def current_plan(self) -> Plan:
        """The plan of the last forward. BlobError before the first."""
        return self.passes.current.plan

    # Backward -----------------------------------------------------------------------------------------------------

    @in_turn
    def backward(
        self, cotangents: Mapping[str, Any] | None = None, /, *, accumulate: bool = False, **top_grads: Any
    ) -> None:
        """Gradients of everything below the losses, or below the named blobs for the given cotangents.

        Parameter gradients are added to what is there until zero_grad(); blob gradients belong to this call.

        cotangents  by name, as keywords (fc=dy) or as one mapping, which takes any name: {"block/fc": dy}
        accumulate  blob gradients, too, are added to those of the calls since the last forward: two calls for two
                    outputs give what one call for both gives, for a copy of the gradients that are there
        """
        given = access.by_name(cotangents, top_grads, "cotangent")
        with derivatives.adding(self.passes, accumulate):
            if not given:
                self.backward_losses()
                return
            executor = self.passes.differentiable()
            executor.backward(access.cotangents(self, executor, given))

    @in_turn
    def backward_losses(self, scale: float | Sequence[float] = 1.0, *, overwrite_grad: bool = False) -> None:
        """Backward from all losses, each seeded with its loss_weight times `scale`.

        scale           one number, or one for each loss; nothing is sent down from a loss with 0
        overwrite_grad  the gradients of parameters begin from zero: the same as zero_grad() before it, for less
        """
        executor = self.passes.differentiable()
        seeded = executor.loss_seeds
        if seeded is None or seeded[0] != scale:
            access.demand_losses(self, executor.plan)
            seeded = executor.seed_losses(scale)
        seeds = seeded[1]
        if overwrite_grad:
            self.parameters.zero_grad(except_=executor.plan.overwriting if seeds else frozenset())
        if seeds:
            executor.backward(seeds, overwrite_grad)

    @in_turn
    def jvp(self, tangents: Mapping[str, Any] | None = None, /, **more: Any) -> dict[str, Array]:
        """Forward accumulation: how the outputs of the last forward move when blobs and parameters move by tangents.

        Exact, not a difference.

        tangents  by name, as keywords (x=u) or as one mapping, which takes any name, also that of a parameter, whose
                  layers move together where it is shared: {"fc.weight": v, "x": u}

        Cost      about one forward, but for layers of your own that write none down (along bottoms: jvp; along
                  parameters: jvp_params): a backward of the layer for each element of its tops
        Errors    BlobError before a forward that was kept; ConfigError for unknown names, frozen parameters, shapes
                  that do not fit, and such layers with more than 4096 outputs
        """
        return derivatives.jvp(self, access.by_name(tangents, more, "tangent"))

    def jacobian(self, output: str, wrt: str) -> Array:
        """The matrix of partial derivatives ∂ output / ∂ wrt at the last forward: `layerforge.jacobian` of this net.

        output   a blob
        wrt      an input with `grad: true` or another blob below it, or a parameter such as "fc1.weight"

        Shapes   that of `output`, followed by that of `wrt`
        Cost     one backward for every element of `output`, with a forward where the net does not keep all blobs
        """
        return derivatives.jacobian(self, output, wrt)

    @in_turn
    def hvp(self, v: Any, *, step: float | None = None) -> tuple[Any, float]:
        """A Hessian-vector product, by differences of gradients, and an estimate of its relative error.

            H v = d/dh g(p + h v) at h = 0      g the gradient of total_loss(), H the matrix of its second derivatives
            H v ≈ (4 D(h/2) - D(h)) / 3         D(h) = (g(p + h v) - g(p - h v)) / 2h

            product, error = net.hvp({"fc.weight": v})

        v     a direction: a mapping with arrays for some parameters ("fc.weight") and inputs with `grad: true`, or one
              flat array as long as net.parameters.grad, for all parameters
        step  |h v|; by default eps^(1/5) times the root mean square of the parameters, or 1 if that is less

        Returns   H v: for a mapping, arrays for all parameters that learn and inputs with `grad: true`, by name; for a
                  flat array, another. And an estimate of its relative error, |H v - D(h)| / |H v| and what gradients
                  rounded to their dtype add: where the loss is smooth that is the error of D(h), and H v is nearer.
                  It is 0 where no gradient differs from another
        Accuracy  about 1e-9 of |H v| in float64, 1e-3 in float32, less where the gradient is much larger than H v; not
                  exact. A kink (ReLU, MaxPool) that one of the four points lies beyond spoils it, which `error` shows:
                  a smaller step crosses fewer
        Cost      five forwards and four backwards, and three copies of the parameters
        Leaves    parameters, gradients, blobs, running statistics and iteration as they are. All points are computed
                  with the inputs, the phase and the random numbers (masks of Dropout) of the last forward
        Errors    ConfigError for a net without losses, for names, shapes and frozen parameters; BlobError before a
                  forward that was kept
        Source    Pearlmutter 1994, section 2; Richardson 1911
        """
        return curvature.hvp(self, v, step)

    @in_turn
    def zero_grad(self) -> None:
        """Set the gradients of all parameters to zero."""
        self.parameters.zero_grad()

    # Losses and metrics -------------------------------------------------------------------------------------------

    def total_loss(self, scales: Sequence[float] | None = None) -> float:
        """The sum of loss_weight times top over the losses of the last forward.

        scales   a further factor for each of them
        """
        parts = self.losses()
        if scales is None:
            return sum([p.weight * p.value for p in parts])
        return sum([p.weight * p.value * factor for p, factor in zip(parts, scales, strict=True)])

    @explained
    def losses(self) -> list[LossPart]:
        """The losses of the last forward: name, loss_weight, value (0 of a mean over nothing), and its count."""
        executor = self.passes.last
        return [] if executor is None else counting.losses_of(executor)

    @explained
    def mean_over(self) -> Counts:
        """How many things the losses of the last forward are means over; None for a sum.

        A tuple with an entry for each loss where they disagree. Without losses it is the batch size.
        """
        executor = self.passes.last
        counts = () if executor is None else counting.loss_counts(executor)
        return counting.together(counts) if counts else self.batch_size

    @in_turn
    def count_losses(self, **inputs: Any) -> Counts:
        """What `mean_over` would say after a forward in train with these inputs, without running that forward.

        Where labels are made by layers, these are run, and may move running statistics.
        """
        given = {name: self._input(name, value) for name, value in inputs.items()}
        plan = self.passes.executor_for("train", {n: a.shape for n, a in given.items()}).plan
        counts = counting.counted_ahead(self.forward, plan, given) if plan.losses else ()
        return counting.together(counts) if counts else counting.samples_of(plan)

    @property
    def engines(self) -> dict[str, str]:
        """Who computed each layer of the last forward: "reference", or the name of an engine."""
        executor = self.passes.last
        return {} if executor is None else {n: c.engine for n, c in executor.plan.choices.items()}

    @property
    def batch_size(self) -> int:
        """Samples in the last forward: the first axis of the first input; 1 where nothing was given."""
        executor = self.passes.last
        return 0 if executor is None else counting.samples_of(executor.plan)

    @explained
    def metric_counts(self) -> dict[str, Count]:
        """For every metric among the outputs of the last forward, how many things it is a mean over (None: a sum).

        Metrics are scalars, and what layers without a gradient sum up in any shape, such as a ConfusionMatrix.
        """
        executor = self.passes.last
        if executor is None:
            return {}
        counting.demand_made(executor, list(executor.plan.outputs.values()))
        return counting.metric_counts(executor.plan, executor.values)

    # Names --------------------------------------------------------------------------------------------------------

    @property
    def blobs(self) -> Named:
        """Every blob of the last forward's phase by name, with .data and .grad."""
        return access.blobs(self)

    @property
    def params(self) -> Named:
        """Parameters by layer and name: net.params["fc1"]["weight"].data, .grad, .frozen, .lr_mult and .decay_mult."""
        return access.params(self)

    @property
    def state(self) -> Named:
        """Running statistics by layer and name: live arrays."""
        return access.state(self)

    @property
    def iteration(self) -> int:
        return self.passes.run.iteration

    @iteration.setter
    def iteration(self, value: int) -> None:
        self.passes.run.iteration = value

    @property
    def first_sample(self) -> int:
        return self.passes.run.first_sample

    @first_sample.setter
    def first_sample(self, value: int) -> None:
        self.passes.run.first_sample = value

    # State, save, load --------------------------------------------------------------------------------------------

    @reading_in_turn
    def snapshot_state(self) -> dict[tuple[str, str], Array]:
        """Copies of all that layers remember: running statistics, and what is carried from batch to batch."""
        held = {key: array.copy() for key, array in self._statistics}
        return held | carried.copies(self._carriers) if self._carriers else held

    @in_turn
    def restore_state(self, copies: Mapping[tuple[str, str], Array]) -> None:
        """Let layers remember again what `snapshot_state` copied."""
        for (layer, name), array in copies.items():
            if not name.startswith(carried.CARRIED):
                self.layers[layer].state[name][...] = array
        carried.put_back(self._carriers, copies)

    @in_turn
    def reset_carried(self, phase: str | None = None) -> None:
        """Forget what layers such as a stateful LSTM carry from batch to batch: the next forward begins from zero.

        phase   only what is carried in "train", or in "eval"; each phase carries its own
        """
        access.demand_phase(phase or PHASES[0])
        for layer in self._carriers:
            for each in PHASES if phase is None else (phase,):
                layer.carried.pop(each, None)

    @reading_in_turn
    def arrays(self) -> dict[str, np.ndarray]:
        """Copies of parameters (shared ones once, under their owner) and running statistics by path, on the host."""
        host = self.backend.to_host
        flat = host(self.parameters.data)  # once, and not each parameter by itself
        return {path: np.array(host(array)) for path, array in stored_arrays(self.parameters, self.state, flat)}

    @in_turn
    def load_arrays(self, arrays: Mapping[str, np.ndarray], source: str) -> None:
        """Take over parameters and statistics; nothing is changed unless all of them fit.

        Errors   DataError naming every missing, unexpected and mis-shaped array
        """
        mine = dict(stored_arrays(self.parameters, self.state))
        take_over(mine, arrays, self.backend.from_host, source)

    @reading_in_turn
    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of parameters and running statistics by the names, and in the layouts, of torch, on the host.

        fc1.weight, bn1.running_mean, layer1.0.conv1.weight: a "/" in a layer's name is a "."; a shared parameter is
        there under the name of each layer that has it.

        Errors   ConfigError where two layers have one name in this way of writing
        """
        return StateDict.of(self).arrays

    def load_state_dict(
        self,
        state_dict: Mapping[str, Any],
        *,
        allow_missing: Iterable[str] = (),
        rename: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Take over the state_dict of a model of torch: tensors, of any device and any float type, or arrays.

        allow_missing  as `load` has it; ["*"] is torch's strict=False, and lets also layers of other shapes be
        rename         {name there: name in this net} of modules with all that is in them ("encoder": "body"), of
                       arrays ("cls_token": "cls.weight"), or of many ("module.*": "*")

        Returns   in words, what was not taken
        Errors    those of `load`, and DataError for what holds no real numbers
        """
        given = Weights("the state_dict", {}, {}, plain_arrays(state_dict, "the state_dict"))
        return self._take(given, allow_missing, rename)

    def save(self, path: str | Path) -> None:
        """Write parameters and running statistics, atomically: to a snapshot, or for .safetensors as `state_dict` says.

        Errors   DataError where the file cannot be written; ConfigError for .pt and .pth, which are pickles
        """
        write_weights(path, self, weights_meta(self))

    def load(
        self, path: str | Path, *, allow_missing: Iterable[str] = (), rename: Mapping[str, str] | None = None
    ) -> list[str]:
        """Read parameters and running statistics, by layer and name.

        path           a snapshot or checkpoint, a .safetensors file, or a .pt or .pth of torch.save, which torch reads
                       (weights_only): the latter two by torch's names
        allow_missing  patterns (`*`, `?`, `[...]`) of layers that may be missing there, have other shapes, or be there
                       only: these keep the values that they have
        rename         {name in the file: name in this net} of layers ("fc1": "head"), of arrays ("fc1.weight":
                       "head.weight"), or of many layers at once ("encoder/*": "body/*")

        Returns   in words, what was not taken
        Errors    DataError naming every missing, unexpected and mis-shaped array of other layers; nothing is changed
                  then. ConfigError for a pattern or name that matches nothing
        """
        return self._take(read_weights(path), allow_missing, rename)

    def _take(self, given: Weights, allow_missing: Iterable[str], rename: Mapping[str, str] | None) -> list[str]:
        chosen, differences = given.fitting(self, allow_missing, rename)
        mine = dict(stored_arrays(self.parameters, self.state))
        self.load_arrays(mine | chosen, given.file)
        return differences
