"""What an unrolled layer is given: its settings, its parameters, the marks of its steps, the states it begins from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from ...arrays.functional import expect_role, shape_mismatch
from ...arrays.spec import Spec
from ...contract.fillers import Filler, Uniform
from ...contract.layer import Layer
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param

Arrays = tuple[Any, ...]


class Marks(NamedTuple):
    """What the second bottom says of the steps, (T, N, 1) booleans in the order of a pass; None where it says nothing.

    counts  whether the step happens at all: where not, the state stays and the output is 0
    linked  whether the step takes over the state before it: where not, it begins from 0
    """

    counts: Any = None
    linked: Any = None


class Trace(NamedTuple):
    """What one pass over time keeps for the way back, step by step in the order of the pass.

    x (T, N, D) its input; before (T, N, H) the h that each step began from; kept what each step's cell keeps
    """

    x: Any
    before: Any
    kept: list[Arrays]
    marks: Marks


class Unrolled(Layer):
    """Base of the recurrent layers: all that is known before the first step, or told from outside."""

    bottoms = (1, 3)
    tops = (1, 2)
    backward_reads = ("bottom[0]",)
    no_grad_bottoms: tuple[int, ...] = (1,)

    gates: ClassVar[int]  # blocks of H rows in the weights
    states: ClassVar[int] = 1  # h, or h and c
    gates_add: ClassVar[bool] = True  # the cell uses a_x + a_h only: both have the same gradient

    hidden_size: int = param(help="features H of the state", ge=1)
    num_layers: int = param(1, help="stacked layers: each reads the outputs of the one below", ge=1, le=1000)
    bias: bool = param(True, help="learn additive biases")
    recurrent_bias: bool = param(True, help="learn b_hh beside b_ih; false: a single bias, b_ih")
    bidirectional: bool = param(False, help="run over time backwards too; outputs are [forward | backward]")
    second_bottom: str = param("mask", help="what a second bottom (N, T) is", choices=("mask", "cont"))
    stateful: bool = param(False, help="begin each batch from the last states of the batch before, row by row")
    initial_states: bool = param(False, help="the last bottoms are h₀, of an LSTM also c₀; false: both are 0")
    weight_filler: Filler | None = param(None, help="start values of the weights; null: uniform within ±1/√H")
    bias_filler: Filler | None = param(None, help="start values of the biases; null: uniform within ±1/√H")

    def validate(self) -> None:
        self.carries = self.stateful
        self.carried_shapes = [(self.num_layers * len(self.directions), self.hidden_size)] * self.states
        if self.stateful and self.initial_states:
            message = "stateful takes the first states from the last batch, initial_states from bottoms"
            raise ConfigError(message, hint="leave one of the two out")
        if self.stateful and self.bidirectional:
            message = "stateful goes on where the last batch ended; a bidirectional layer also begins at its end"
            raise ConfigError(message, hint="leave one of the two out")

    # Set-up -------------------------------------------------------------------------------------------------------

    def setup(self, *bottoms: Spec) -> tuple[Spec, ...]:
        x, second, initial = self.told(bottoms)
        expect_role("bottom[0]", x, "real")
        if x.ndim != 3 or not x.shape[2]:
            raise LayerError(f"bottom[0] has shape {x.shape}, expected (N, T, D): samples, steps, features")
        n, t = x.shape[:2]
        self.told_beginnings = second is not None and self.second_bottom == "cont"
        if second is None:
            self.no_grad_bottoms = ()
        elif second.shape != (n, t):
            raise shape_mismatch(f"bottom[1], the {self.second_bottom},", second.shape, f"{x.shape[:2]}")
        last = x.with_shape((n, self.num_layers * len(self.directions), self.hidden_size))
        for name, spec in zip("hc", initial, strict=False):
            expect_role(f"the initial {name}", spec, "real")
            if spec.shape != last.shape:
                raise shape_mismatch(f"the initial {name}", spec.shape, f"{last.shape}: N, layers · directions, H")
        spread = 1 / math.sqrt(self.hidden_size)
        fillers = [f or Uniform(min=-spread, max=spread) for f in (self.weight_filler, self.bias_filler)]
        self.declare(x.shape[2], fillers)
        tops = (x.with_shape((n, t, self.hidden_size * len(self.directions))), *[last] * self.states)
        return tops[: self.tops_wanted]

    def told(self, bottoms: Sequence[Any]) -> tuple[Any, Any, Sequence[Any]]:
        """x, the second bottom or None, and the initial states, from all bottoms, their gradients or tangents."""
        count = self.states if self.initial_states else 0
        if not 1 + count <= len(bottoms) <= 2 + count:
            least = "x" if not count else "x and the initial " + " and ".join("hc"[:count])
            hint = "list them in this order" if count else "initial states are bottoms with initial_states: true"
            raise LayerError(f"bottoms are {least}, and perhaps a {self.second_bottom} after x", hint=hint)
        return bottoms[0], bottoms[1] if len(bottoms) > 1 + count else None, bottoms[len(bottoms) - count :]

    def declare(self, width: int, fillers: Sequence[Filler]) -> None:
        """The parameters of all passes over time, from the bottom up; width is that of the input."""
        height, size = self.gates * self.hidden_size, self.hidden_size
        for layer in range(self.num_layers):
            for end in self.directions:
                suffix = f"_l{layer}{end}"
                self.add_param(f"weight_ih{suffix}", (height, width), fillers[0])
                self.add_param(f"weight_hh{suffix}", (height, size), fillers[0])
                if self.bias:
                    self.add_param(f"bias_ih{suffix}", (height,), fillers[1], decay_mult=0)
                if self.bias and self.recurrent_bias:
                    self.add_param(f"bias_hh{suffix}", (height,), fillers[1], decay_mult=0)
            width = size * len(self.directions)

    def first_states(self, bottoms: Sequence[Any]) -> list[Arrays]:
        """Of each pass, from the bottom up, the state (N, H) before its first step: told, carried, or 0."""
        samples, passes = len(bottoms[0]), self.num_layers * len(self.directions)
        given = self.told(bottoms)[2] or self.carried_states(samples)
        if given:
            return [tuple(state[:, number].copy() for state in given) for number in range(passes)]
        zeros = self.xp.zeros((samples, self.hidden_size), dtype=self.dtype)
        return [(zeros,) * self.states] * passes

    def carried_states(self, samples: int) -> Arrays:
        """What this phase's last batch ended with; nothing before the first."""
        held = self.carried.get(self.phase, ()) if self.stateful else ()
        if held and len(held[0]) != samples:
            raise LayerError(
                f"it goes on from a batch of {len(held[0])} samples, row by row, and this one has {samples}",
                hint="batches of one size: drop_last: true; net.reset_carried() begins from zero",
            )
        return held

    def carry(self, lasts: Sequence[Any]) -> None:
        """Let this phase's next batch begin from these states (N, passes, H), which may be tops: copies of them."""
        self.carried[self.phase] = tuple(state.copy() for state in lasts)

    @property
    def directions(self) -> tuple[str, ...]:
        """Ends of parameter names: one for each direction."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def marks(self, second: Any, reverse: bool) -> Marks:
        """What the second bottom says, in the order of a pass.

        Backwards in time the state comes from step t + 1; whether these two belong together is told by cont at t + 1,
        and nothing is told of the last step and what comes after the batch.
        """
        if second is None:
            return Marks()
        told = (second != 0).T[:, :, None]
        if self.second_bottom == "mask":
            return Marks(counts=told[::-1] if reverse else told)
        if reverse:
            told = self.xp.concatenate([self.xp.ones_like(told[:1]), told[:0:-1]])
        return Marks(linked=told)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        n, t, _ = bottoms[0].shape
        return 2 * n * t * sum(math.prod(d.shape) for d in self.param_decls.values())


def in_order(a: Any, reverse: bool) -> Any:
    """Steps (T, ...) in the order of a pass: a view. Twice is once."""
    return a[::-1] if reverse else a
