"""The passes of one net: which executor runs the next, and which has run the last.

    passes.executor_for("train", {"x": (64, 784)})   # graph and Specs -> plan -> memory layout -> executor
    passes.last                                      # that of the last forward, with its arrays

`net.passes` is how other stages of the package reach plans, executors and turns of a net.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..arrays.backend import Backend
from ..arrays.spec import Spec
from ..contract.layer import Run
from ..graph.graph import Graph
from ..plan.engines import EngineRequest
from ..plan.planner import make_plan
from .advice import Advice
from .dry_run import dry_run
from .executor import Executor
from .halves import Halves
from .memory_layout import Workspace
from .observer import Observer
from .parameters import Parameters
from .settings import Settings
from .turns import Turns
from .views import BlobError


class Passes:
    """The executors of a net, one for each phase, set of input shapes and wish, and their turns in one memory.

    run            what all layers see of a pass
    turns          whose turn it is
    advice         what is said to those who did not name a phase
    keep           the blobs that are kept for their reader; None stands for all
    observers      look at every step
    executors      those made by now
    last           that of the last forward; None before the first
    """

    def __init__(
        self, graph: Graph, parameters: Parameters, backend: Backend, dtype: str, run: Run, *,
        engine: EngineRequest, turns: Turns, keep: frozenset[str] | None, advice: Advice,
    ) -> None:  # fmt: skip
        self.graph = graph
        self.parameters = parameters
        self.backend = backend
        self.dtype = dtype
        self.run = run
        self.engine = engine
        self.turns = turns
        self.keep = keep
        self.advice = advice
        self.observers: list[Observer] = []
        self.executors: dict[Any, Executor] = {}
        self.last: Executor | None = None
        self.workspace = Workspace()
        self.halves: Halves | None = None  # of the parameters, once a plan computes in bfloat16
        self.settings = Settings(node.layer for node in graph.nodes)

    def executor_for(
        self,
        phase: str,
        shapes: Mapping[str, tuple[int, ...]],
        targets: tuple[str, ...] | None = None,
        *,
        backward: bool = True,
    ) -> Executor:
        """The executor of the plan for inputs of these shapes, made at their first use."""
        if self.settings.changed():
            self.replan("hyper-parameters of layers were changed after it")
        key = (phase, targets, backward, *shapes.items())
        executor = self.executors.get(key)
        if executor is None:
            inputs = {name: self.graph.inputs[name].with_shape(shape) for name, shape in shapes.items()}
            with self.turns:
                executor = self.executors[key] = self._planned(phase, inputs, targets, backward)
        return executor

    def _planned(
        self, phase: str, inputs: Mapping[str, Spec], targets: tuple[str, ...] | None, backward: bool
    ) -> Executor:
        """Graph and Specs -> plan -> memory layout -> executor."""
        xp = self.backend.xp
        plan = make_plan(
            self.graph.phases[phase], inputs, targets, self.keep, self.engine,
            backward=backward, shared=self.parameters.shared,
        )  # fmt: skip
        prepare = None
        if plan.halved:
            halves = self.halves = self.halves or Halves(self.parameters, plan.engine)
            halves.bind(plan)
            prepare = halves.follow
        layout = dry_run(plan, self.run, self.parameters, xp) if plan.has_engine_layers else None
        return Executor(
            plan, xp, self.dtype,
            layout=layout, workspace=Workspace() if plan.keeps_all else self.workspace, observers=self.observers,
            prepare=prepare,
        )  # fmt: skip

    def replan(self, why: str) -> None:
        """Make all plans anew, as what they were made of has changed; a backward needs a forward before it."""
        self.executors.clear()
        self.workspace.owner = None
        if self.last is not None:
            self.last.unusable = why

    def begin(self, executor: Executor, keeping: bool) -> None:
        """A forward of this executor begins; what the last one kept is lost. `keeping`: a backward may follow."""
        self.turns.forward_begins(keeping)
        self.run.phase, self.run.keep = executor.plan.phase, keeping
        if self.last is not None and self.last is not executor:
            self.last.let_go()
        self.last = executor
        executor.begin()

    def give_up(self) -> None:
        """The last pass found no memory: let go of all that it made, so that a smaller one finds some."""
        if self.last is not None:
            self.last.give_up()
            if self.last.workspace is not self.workspace:  # memory that only its own passes would take again
                self.executors = {key: each for key, each in self.executors.items() if each is not self.last}

    @property
    def current(self) -> Executor:
        """The executor of the last forward. BlobError before the first."""
        if self.last is None:
            raise BlobError("the net has not run yet", hint="call net.forward(...) first")
        return self.last

    def differentiable(self) -> Executor:
        """The executor of the last forward, whose arrays are all there.

        Errors   BlobError where they are not; ConcurrencyError where another thread's forward came between
        """
        self.advice.answered()
        executor = self.last
        if executor is None or not self.run.keep:
            raise BlobError(
                "backward needs a forward whose arrays were kept",
                hint='call net.forward(...) first; in eval: net.forward(phase="eval", backward=True, ...)',
            )
        self.turns.backward_begins()
        if executor.unusable:
            hint = "call net.forward(...) again"
            raise BlobError(f"nothing can be derived from the last forward: {executor.unusable}", hint=hint)
        if executor.spent:
            hint = 'run net.forward(...) again, or build the net with keep="all"'
            raise BlobError("the memory of the last forward was reused by its backward", hint=hint)
        return executor
