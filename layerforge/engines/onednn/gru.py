"""GRU by oneDNN: in float32 by its primitive, in bfloat16, for which it has no fast one, step by step of products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...arrays import threads
from ...arrays.bfloat16 import BFLOAT16
from ...arrays.spec import Spec
from ...layers.sequences.gru import GRU
from . import primitives, recurrence
from .activation import FROM_RESULT, LINEAR, LOGISTIC, TANH
from .recurrent import BIASES, OneDnnRecurrent, Pass, clear

SMALL = 2**21  # multiplications of a gate in a step, up to which float32 is as fast
SHARED = 2**22  # those from which on it is worth it that several threads share a step
LONG = 512  # steps, each of which is made of calls of its own
SIGMA, SQUASH, BY_SIGMA, BY_TANH = (
    (algorithm, 0.0, 0.0) for algorithm in (LOGISTIC, TANH, FROM_RESULT[LOGISTIC], FROM_RESULT[TANH])
)
LESS = LINEAR, -1.0, 1.0  # 1 - a


class OneDnnGRU(OneDnnRecurrent, GRU):
    """GRU. oneDNN's gates are z, r and n. It has a fourth bias: b_hh of n, which r multiplies.

    In bfloat16, with the gates in our order, r, z and n,

        forward     u = x W_ihᵀ + b of all steps at once; in each step r and z = σ(u + h W_hhᵀ), w_n = h W_hhᵀ + b,
                    n = tanh(u_n + r w_n), h = n + z (h - n)
        backward    s_r = w_n r (1 - r), s_z = (h - n) z (1 - z), s_n = (1 - z) (1 - n²) of all steps at once; in each
                    step dh += dy, du_n = dh s_n, dw = [du_n s_r | dh s_z | du_n r], dh = dh z + dw W_hh; then the
                    gradients of parameters and x as products over all steps

    What products read, h, du and dw, is bfloat16; all else is float32, h as it goes from step to step, too.
    """

    cell = recurrence.GRU
    weight_blocks = ((0, 1), (1, 0), (2, 2))
    bias_blocks = ((0, 1, 1), (1, 0, 0), (2, 2, None), (3, None, 2))

    def unfit_for_bfloat16(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        n, steps, _ = bottoms[0].shape
        if n * self.hidden_size**2 < SMALL:
            return "steps of so few numbers are slower in bfloat16"
        return f"more than {LONG} steps" if steps > LONG else None

    # Forward ------------------------------------------------------------------------------------------------------

    def run_forward(self, one: Pass, x: Any, y: Any, lasts: Sequence[Any]) -> tuple[Any, ...]:
        if not self.halved:
            return super().run_forward(one, x, y, lasts)
        end, (steps, n, _), size = one.end, x.shape, self.hidden_size
        u = self.buf(f"gates{end}", (3, steps, n, size), self.dtype, life="saved")
        w_n = self.buf(f"w_n{end}", (steps, n, size), self.dtype, life="saved")
        h = self.buf(f"h{end}", (steps + 1, n, size), self.dtype, life="saved")
        y, biases = self.part("y", one, y), self.biases(end)
        of_x, of_h = (self.turned_blocks(f"weight_{kind}{end}") for kind in ("ih", "hh"))
        for gate, (weight, bias) in enumerate(zip(of_x, biases[:3], strict=True)):
            into = self.view(f"u {gate}{end}", u, lambda a, gate=gate: flat(a[gate]))
            self.op(f"u {gate}{end}", primitives.matmul)(self.all_rows(f"x{end}", x), weight, bias, into)
        read, states = self.zeros((n, size), BFLOAT16), [self.at(f"h{end}", h, t) for t in range(steps + 1)]
        self.act(f"h first{end}", clear)(states[-1 if one.direction else 0])
        with self.few_threads(f"forward{end}", n):
            for t in self.order(one, steps):
                name, (before, after) = f"{end} {t}", states[t : t + 2][:: -1 if one.direction else 1]
                r, z, g = (self.at(f"gate {i}{end}", u, i, t) for i in range(3))
                w = self.at(f"w_n{end}", w_n, t)
                for gate, into in enumerate((r, z)):
                    squashed = *primitives.ADDED, SIGMA
                    self.op(f"gate {gate}{name}", primitives.matmul, squashed)(read, of_h[gate], None, into)
                self.op(f"w_n{name}", primitives.matmul)(read, of_h[2], biases[3], w)
                self.op(f"n{name}", primitives.binary, primitives.MULTIPLY, (*primitives.ADDED, SQUASH))(r, w, g)
                self.op(f"h{name}", primitives.toward)(before, g, z, g, after)
                read = self.at(f"y{end}", y, t)
                self.op(f"y{name}", primitives.copy)(after, read)
        self.op(f"last{end}", primitives.copy)(read, self.at("last", lasts[0], one.number))
        return x, y, u, w_n, h

    @contextmanager
    def few_threads(self, name: str, n: int) -> Iterator[None]:
        """While this lasts, one thread computes, now and in a repetition, where steps are so small that sharing each of
        their parts out takes longer than doing it.
        """
        if threads.here() == 1 or n * self.hidden_size**2 > SHARED:
            yield
            return
        self.act(f"{name} one thread", threads.one)()
        with threads.alone():
            yield
        self.act(f"{name} all threads", threads.all_again)()

    def order(self, one: Pass, steps: int) -> range:
        """The steps in the order of a pass."""
        return range(steps - 1, -1, -1) if one.direction else range(steps)

    def at(self, name: str, array: Any, *where: int) -> Any:
        """A step of an array, a gate at a step."""
        return self.view(f"{name} at {where}", array, lambda a: a[where])

    def all_rows(self, name: str, array: Any) -> Any:
        """All steps of an array (T, N, F) below each other."""
        return self.view(f"{name} rows", array, flat)

    def turned_blocks(self, key: str) -> list[Any]:
        """Wᵀ of each gate."""
        looks = [lambda w, i=i: w.reshape(3, self.hidden_size, -1)[i].T for i in range(3)]
        return [self.view(f"{key} turned {i}", self.operands[key], look) for i, look in enumerate(looks)]

    def biases(self, end: str) -> list[Any]:
        """Those of u, in which r and z have both, and that of w_n; None where there is none."""
        keys = [key for kind in BIASES if (key := f"{kind}{end}") in self.params]
        parts = [self.view(f"{key} {i}", self.params[key], lambda b, i=i: b.reshape(3, -1)[i])
                 for key in keys for i in range(3)]  # fmt: skip
        if len(parts) < 6:
            return [*(parts or [None] * 3), None]
        sums = [self.buf(f"bias{end} {i}", (self.hidden_size,), self.dtype, life="saved") for i in range(2)]
        for i, total in enumerate(sums):
            self.op(f"bias{end} {i}", primitives.binary, primitives.ADD)(parts[i], parts[3 + i], total)
        return [*sums, parts[2], parts[5]]

    # Backward -----------------------------------------------------------------------------------------------------

    def run_backward(self, one: Pass, dy: Any, dlasts: Sequence[Any]) -> Any:
        if not self.halved:
            return super().run_backward(one, dy, dlasts)
        end, (x, y, u, w_n, h) = one.end, self.saved.traces[one]
        (steps, n, size), dy, slopes = y.shape, self.dense_part(one, dy), self.slopes(one, u, w_n, h)
        du_n, dw = self.buf(f"du_n{end}", w_n.shape, self.dtype), self.buf(f"dw{end}", (steps, n, 3 * size))
        step, dh = (self.buf(f"{name}{end}", shape, self.dtype) for name, shape in (("step", (3, n, size)),
                                                                                  ("dh", (n, size))))  # fmt: skip
        d_r, d_z, dw_n = (self.at(f"step{end}", step, i) for i in range(3))
        by_row = self.view(f"step{end} by row", step, lambda a: a.swapaxes(0, 1))
        if dlasts:
            self.op(f"dh last{end}", primitives.copy)(self.at("dlast", dlasts[0], one.number), dh)
        else:
            self.act(f"dh last{end}", clear)(dh)
        with self.few_threads(f"backward{end}", n):
            for t in reversed(self.order(one, steps)):
                name, (s_r, s_z, s_n) = f"{end} {t}", (self.at(f"slope {i}{end}", s, t) for i, s in enumerate(slopes))
                (r, z), dn = (self.at(f"gate {i}{end}", u, i, t) for i in range(2)), self.at(f"du_n{end}", du_n, t)
                da = self.at(f"dw{end}", dw, t)
                self.combined(f"dh{name}", dh, self.at(f"dy{end}", dy, t), dh, primitives.ADD)
                self.combined(f"du_n{name}", dh, s_n, dn)
                self.combined(f"d_r{name}", dn, s_r, d_r)
                self.combined(f"d_z{name}", dh, s_z, d_z)
                self.combined(f"dw_n{name}", dn, r, dw_n)
                as_gates = self.view(f"dw{name}", da, lambda a: a.reshape(n, 3, size))
                self.op(f"dw{name}", primitives.copy)(by_row, as_gates)
                self.combined(f"dh directly{name}", dh, z, dh)
                through = self.op(f"dh through{name}", primitives.matmul, primitives.ADDED)
                through(da, self.operands[f"weight_hh{end}"], None, dh)
        du = self.buf(f"du{end}", dw.shape)
        self.op(f"du{end}", primitives.copy)(dw, du)
        self.op(f"du of n{end}", primitives.copy)(du_n, self.view(f"du{end} of n", du, lambda a: a[..., 2 * size :]))
        self.give_products(one, x, y, du, dw)
        if one.number < len(self.directions) and not self.needs_grad[0]:
            return None
        dx = self.buf(f"dx{end}", x.shape, self.dtype)
        weight = self.operands[f"weight_ih{end}"]
        rows = [self.all_rows(f"{name}{end}", array) for name, array in (("du", du), ("dx", dx))]
        self.op(f"dx{end}", primitives.matmul)(rows[0], weight, None, rows[1])
        return dx

    def combined(self, name: str, a: Any, other: Any, into: Any, algorithm: int = primitives.MULTIPLY) -> None:
        """into = a · other, or another algorithm of two numbers."""
        self.op(name, primitives.binary, algorithm)(a, other, into)

    def slopes(self, one: Pass, u: Any, w_n: Any, h: Any) -> list[Any]:
        """s_r, s_z and s_n (T, N, H)."""
        end = one.end
        r, z, g = (self.at(f"gate {i}{end}", u, i) for i in range(3))
        s_r, s_z, s_n = (self.buf(f"slope {i}{end}", w_n.shape, self.dtype) for i in range(3))
        before = self.view(f"h before{end}", h, lambda a: a[1:] if one.direction else a[:-1])
        self.op(f"s_r{end}", primitives.eltwise_backward, *BY_SIGMA)(r, w_n, s_r)
        self.combined(f"h - n{end}", before, g, s_z, primitives.SUBTRACT)
        self.op(f"s_z{end}", primitives.eltwise_backward, *BY_SIGMA)(z, s_z, s_z)
        self.op(f"1 - z{end}", primitives.eltwise, *LESS)(z, s_n)
        self.op(f"s_n{end}", primitives.eltwise_backward, *BY_TANH)(g, s_n, s_n)
        return [s_r, s_z, s_n]

    def dense_part(self, one: Pass, dy: Any) -> Any:
        """The upstream gradient (T, N, H) of a pass without gaps: nothing else is fast element by element."""
        part = self.part("dy", one, dy)
        if len(self.directions) == 1:
            return part
        dense = self.buf(f"dy dense{one.end}", part.shape, self.dtype)
        self.op(f"dy dense{one.end}", primitives.copy)(part, dense)
        return dense

    def give_products(self, one: Pass, x: Any, y: Any, du: Any, dw: Any) -> None:
        """Add the gradients of the parameters, sums over all steps. A first step has no h to multiply."""
        end, steps = one.end, len(y)
        past, later = (slice(1, None), slice(-1)) if one.direction else (slice(-1), slice(1, None))
        read, by_w = self.zeros(y.shape[1:], BFLOAT16), self.all_rows(f"dw{end}", dw)
        of_later = by_w
        if steps > 1:
            read = self.view(f"h read{end}", y, lambda a: flat(a[past]))
            of_later = self.view(f"dw later{end}", dw, lambda a: flat(a[later]))
        by_u = self.all_rows(f"du{end}", du)
        for kind, da, factor, rows in (("ih", by_u, self.all_rows(f"x{end}", x), by_u), ("hh", of_later, read, by_w)):
            weight, bias = f"weight_{kind}{end}", f"bias_{kind}{end}"
            if self.needs_param_grad[weight]:
                self.add_product(f"d{weight}", da, factor, self.grads[weight])
            if bias in self.params and self.needs_param_grad[bias]:
                self.add_column_sums(rows, self.grads[bias], f"d{bias}")


def flat(a: Any) -> Any:
    """(T, N, F) as (T · N, F)."""
    return a.reshape(-1, a.shape[-1])
