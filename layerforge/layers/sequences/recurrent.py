"""What RNN, LSTM and GRU share: stacked layers, two directions, masks, and the way back through time.

A cell is a layer's own: how a step makes the new state (`step`), and what that means for gradients (`step_back`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...arrays.functional import map_rows, product_over_rows, rows, sum_of
from .unrolled import Arrays, Marks, Trace, Unrolled, in_order


class Recurrent(Unrolled):
    """Base of the recurrent layers. For each of the T steps, with h and perhaps c the state, before the first step 0 or
    what the bottoms say,

        a_x = xₜ W_ihᵀ + b_ih,   a_h = hₜ₋₁ W_hhᵀ + b_hh,   state = step(a_x, a_h, state)

    All a_x are one matrix product before the loop, as x is known; only a_h needs one per step. The way back is the same
    loop from the last step to the first. It carries the gradient of the state; a step turns that into the gradients
    of a_x, a_h and of the state before it, and a_h passes its own on through W_hh:

        dhₜ₋₁ = da_h W_hh + what reaches hₜ₋₁ directly

    The weights are the same in every step, so their gradients are sums over steps and samples, each of them one matrix
    product after the loop:

        dW_ih = Σₜ da_xᵀ xₜ,   dW_hh = Σₜ da_hᵀ hₜ₋₁,   db_ih = Σₜ da_x,   db_hh = Σₜ da_h,   dxₜ = da_x W_ih

    Forward accumulation goes the way of forward, from the first step to the last. It carries ḣ, and perhaps ċ, the
    tangent of the state, before the first step that of the initial state, 0 where it is a constant. By the product
    rule, where x, the weights and the biases move,

        ȧ_x = ẋₜ W_ihᵀ + xₜ Ẇ_ihᵀ + ḃ_ih,   ȧ_h = ḣₜ₋₁ W_hhᵀ + hₜ₋₁ Ẇ_hhᵀ + ḃ_hh

    of which all but ḣₜ₋₁ W_hhᵀ are matrix products before the loop; `step_along` is the derivative of the step. So one
    pass does, whichever parameters move. Marks do to a tangent what they do to a state: where a step does not count, it
    stays and ẏₜ = 0; where a sequence begins, it is 0.
    """

    # What a cell writes -------------------------------------------------------------------------------------------

    def step(self, a_x: Any, a_h: Any, state: Arrays) -> tuple[Arrays, Arrays]:
        """The new state, and what step_back will need. a_x and a_h are (N, gates·H), which it may overwrite."""
        raise NotImplementedError(f"{type(self).__name__} has no step(self, a_x, a_h, state)")

    def step_back(self, dstate: Arrays, kept: Arrays) -> tuple[Any, Any, Arrays]:
        """da_x, da_h, and the gradient of the state before as far as it does not pass through a_h."""
        raise NotImplementedError(f"{type(self).__name__} has no step_back(self, dstate, kept)")

    def step_along(self, da_x: Any, da_h: Any, dstate: Arrays, kept: Arrays) -> Arrays:
        """The tangent of the new state, from those of a_x, a_h and the state before."""
        raise NotImplementedError(f"{type(self).__name__} has no step_along(self, da_x, da_h, dstate, kept)")

    # Forward ------------------------------------------------------------------------------------------------------

    def forward(self, *bottoms: Any) -> tuple[Any, ...]:
        x, second, _ = self.told(bottoms)
        first = self.first_states(bottoms)
        xp, traces, below = self.xp, {}, x.transpose(1, 0, 2)  # time first: a step is one block of memory
        last: list[Arrays] = []
        for layer in range(self.num_layers):
            outs = []
            for end in self.directions:
                suffix, reverse = f"_l{layer}{end}", end != ""
                marks = self.marks(second, reverse)
                out, state, traces[suffix] = self.run_through(suffix, in_order(below, reverse), marks, first[len(last)])
                outs.append(in_order(out, reverse))
                last.append(state)
            below = xp.concatenate(outs, axis=2)
        self.save(traces=traces)
        y = xp.ascontiguousarray(below.transpose(1, 0, 2))
        lasts = [xp.stack(states, axis=1) for states in zip(*last, strict=True)]
        if self.stateful:  # a constant for the next batch: no gradient comes back from there
            self.carry(lasts)
        return (y, *lasts)[: self.tops_wanted]

    def run_through(self, suffix: str, x: Any, marks: Marks, state: Arrays) -> tuple[Any, Arrays, Trace]:
        """One pass over time from a state: outputs (T, N, H), the last state, and what backward needs."""
        xp, (steps, n, _), p = self.xp, x.shape, self.params
        a_x = self.buf(f"a{suffix}", (steps, n, self.gates * self.hidden_size))
        xp.matmul(rows(x), p[f"weight_ih{suffix}"].T, out=rows(a_x))
        if self.bias:
            a_x += p[f"bias_ih{suffix}"]
        out, before = (xp.empty((steps, n, self.hidden_size), dtype=self.dtype) for _ in range(2))
        trace = Trace(x, before, [], marks)
        for t in range(steps):
            if marks.linked is not None:
                state = tuple(s * marks.linked[t] for s in state)
            before[t] = state[0]
            a_h = state[0] @ p[f"weight_hh{suffix}"].T
            if self.bias and self.recurrent_bias:
                a_h += p[f"bias_hh{suffix}"]
            new, kept = self.step(a_x[t], a_h, state)
            trace.kept.append(kept)
            if marks.counts is None:
                state, out[t] = new, new[0]
            else:
                state = tuple(xp.where(marks.counts[t], a, b) for a, b in zip(new, state, strict=True))
                out[t] = new[0] * marks.counts[t]
        return out, state, trace

    # Backward -----------------------------------------------------------------------------------------------------

    def backward(self, dy: Any, *dlast: Any) -> tuple[Any, ...]:
        xp, size, dout = self.xp, self.hidden_size, dy.transpose(1, 0, 2)
        zeros = xp.zeros((dy.shape[0], size), dtype=self.dtype)
        dfirst: list[Arrays] = []
        for layer in reversed(range(self.num_layers)):
            dbelow: Any = 0
            for i, end in reversed([*enumerate(self.directions)]):
                suffix, reverse, number = f"_l{layer}{end}", end != "", layer * len(self.directions) + i
                dstate = tuple(dlast[s][:, number] if s < len(dlast) else zeros for s in range(self.states))
                own = in_order(dout[:, :, i * size : (i + 1) * size], reverse)
                da_x, dstate = self.run_back(suffix, self.saved.traces[suffix], own, dstate)
                dfirst.insert(0, dstate)
                if layer or self.needs_grad[0]:  # both directions read the same input
                    dbelow = dbelow + in_order(map_rows(da_x, self.params[f"weight_ih{suffix}"]), reverse)
            dout = dbelow
        dx = xp.ascontiguousarray(dout.transpose(1, 0, 2)) if self.needs_grad[0] else None
        if not self.initial_states:
            return (dx, None)[: len(self.needs_grad)]
        dinitial = [xp.stack(states, axis=1) for states in zip(*dfirst, strict=True)]
        return (dx, *[None] * (len(self.needs_grad) - 1 - len(dinitial)), *dinitial)

    def run_back(self, suffix: str, trace: Trace, dout: Any, dstate: Arrays) -> tuple[Any, Arrays]:
        """A pass back through time: adds the gradients of its parameters; returns da_x and that of its first state."""
        xp, marks, w_hh = self.xp, trace.marks, self.params[f"weight_hh{suffix}"]
        steps, n, _ = trace.x.shape
        da_x = self.buf(f"da{suffix}", (steps, n, w_hh.shape[0]))
        da_h = da_x if self.gates_add else xp.empty_like(da_x)
        for t in reversed(range(steps)):
            stays: Arrays = (0,) * self.states
            dh, *rest = dstate
            if marks.counts is None:
                dstate = (dh + dout[t], *rest)
            else:  # where a step does not count, its gradient stays with the state, and the output is a constant
                stays = tuple(d * ~marks.counts[t] for d in dstate)
                dstate = tuple(d * marks.counts[t] for d in (dh + dout[t], *rest))
            da_x[t], through_h, dbefore = self.step_back(dstate, trace.kept[t])
            if da_h is not da_x:
                da_h[t] = through_h
            direct, *rest = map(plus, dbefore, stays)
            dstate = (plus(direct, da_h[t] @ w_hh), *rest)
            if marks.linked is not None:
                dstate = tuple(d * marks.linked[t] for d in dstate)
        summed = self.add_weight_gradients("ih", suffix, rows(da_x), rows(trace.x))
        self.add_weight_gradients("hh", suffix, rows(da_h), rows(trace.before), summed if da_h is da_x else None)
        return da_x, dstate

    def add_weight_gradients(self, kind: str, suffix: str, da: Any, x: Any, summed: Any = None) -> Any:
        """The sums over all steps and samples, for the weight and the bias that made a = x Wᵀ + b.

        Returns Σ da, which is `summed` where the caller has it; None where nobody wanted it.
        """
        if self.needs_param_grad[f"weight_{kind}{suffix}"]:
            self.grads[f"weight_{kind}{suffix}"][...] += product_over_rows(da, x)
        if f"bias_{kind}{suffix}" in self.params and self.needs_param_grad[f"bias_{kind}{suffix}"]:
            summed = sum_of(da, 0) if summed is None else summed
            self.grads[f"bias_{kind}{suffix}"][...] += summed
        return summed

    # Forward accumulation -----------------------------------------------------------------------------------------

    def jvp(self, *tangents: Any) -> tuple[Any, ...]:
        dx, _, dinitial = self.told(tangents)
        if dx is None and all(d is None for d in dinitial):
            return (None,) * self.tops_wanted
        return self.along(dx, {}, dinitial)

    def jvp_params(self, **moved: Any) -> tuple[Any, ...]:
        return self.along(None, moved)

    def along(self, dx: Any, moved: Mapping[str, Any], dinitial: Sequence[Any] = ()) -> tuple[Any, ...]:
        """The tangents of the tops from those of x and the initial states, None where they stand still, and those of
        parameters by name.
        """
        xp = self.xp
        last: list[Arrays] = []
        below: Any = None if dx is None else dx.transpose(1, 0, 2)
        zeros = xp.zeros((self.saved.traces["_l0"].x.shape[1], self.hidden_size), dtype=self.dtype)
        dinitial = dinitial or [None] * self.states
        for layer in range(self.num_layers):
            outs = []
            for end in self.directions:
                suffix, reverse = f"_l{layer}{end}", end != ""
                own = None if below is None else in_order(below, reverse)
                dfirst = tuple(zeros if d is None else d[:, len(last)] for d in dinitial)
                out, state = self.run_along(suffix, self.saved.traces[suffix], own, moved, dfirst)
                outs.append(in_order(out, reverse))
                last.append(state)
            below = xp.concatenate(outs, axis=2)
        dy = xp.ascontiguousarray(below.transpose(1, 0, 2))
        return (dy, *(xp.stack(states, axis=1) for states in zip(*last, strict=True)))[: self.tops_wanted]

    def run_along(
        self, suffix: str, trace: Trace, dx: Any, moved: Mapping[str, Any], dstate: Arrays
    ) -> tuple[Any, Arrays]:
        """A pass over time with tangents: those of the outputs (T, N, H) and of the last state."""
        xp, marks, (steps, n, _) = self.xp, trace.marks, trace.x.shape
        da_x = self.linear_along("ih", suffix, trace.x, dx, moved)
        da_h = self.linear_along("hh", suffix, trace.before, None, moved)  # and what ḣ adds, step by step
        w_hh = self.params[f"weight_hh{suffix}"]
        out = xp.empty((steps, n, self.hidden_size), dtype=self.dtype)
        for t in range(steps):
            if marks.linked is not None:
                dstate = tuple(d * marks.linked[t] for d in dstate)
            new = self.step_along(da_x[t], da_h[t] + dstate[0] @ w_hh.T, dstate, trace.kept[t])
            if marks.counts is None:
                dstate, out[t] = new, new[0]
            else:
                dstate = tuple(xp.where(marks.counts[t], a, b) for a, b in zip(new, dstate, strict=True))
                out[t] = new[0] * marks.counts[t]
        return out, dstate

    def linear_along(self, kind: str, suffix: str, x: Any, dx: Any, moved: Mapping[str, Any]) -> Any:
        """ȧ = ẋ Wᵀ + x Ẇᵀ + ḃ of all steps, (T, N, gates·H). What has no tangent stands still."""
        height, names = self.gates * self.hidden_size, (f"weight_{kind}{suffix}", f"bias_{kind}{suffix}")
        da = self.xp.zeros((len(rows(x)), height), dtype=self.dtype)
        if dx is not None:
            da += rows(dx) @ self.params[names[0]].T
        if names[0] in moved:
            da += rows(x) @ moved[names[0]].T
        if names[1] in moved:
            da += moved[names[1]]
        return da.reshape(*x.shape[:2], height)


def plus(a: Any, b: Any) -> Any:
    """a + b of arrays, either of which may be the number 0: nothing comes that way."""
    return b if isinstance(a, int) else a if isinstance(b, int) else a + b
