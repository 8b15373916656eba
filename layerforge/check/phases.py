"""Checks of phases, batches, randomness and state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..arrays.sparse import stored
from ..contract import call
from ..contract.layer import Example
from .case import Case, check, compare, computes, demand, differentiable, exact, layer_check, outputs, same
from .gradients import layer_gradients
from .harness import Probe
from .memory import poison


@check(computes)
def check_eval_saves_nothing(case: Case) -> None:
    """A forward that will not be differentiated keeps nothing, and nothing is cached outside `save` and `buf`."""
    probe = case.probe(phase="eval")
    before = set(vars(probe.layer))
    probe.layer.run.keep = False
    probe.forward()
    demand(probe.layer.kept is None, "forward keeps arrays although it will not be differentiated")
    probe = case.probe()
    probe.forward()
    extra = sorted(set(vars(probe.layer)) - before)
    demand(not extra, f"forward sets self.{', self.'.join(extra)}: arrays for backward belong into self.save(...)")


def has_state(case: Case) -> str | None:
    """Condition of the check that eval changes no state."""
    return None if dict(case.used[0].layer.state.items()) else "it has no state"


@check(has_state)
def check_eval_is_stateless(case: Case) -> None:
    """Eval changes no state."""
    probe = case.probe(phase="eval")
    probe.layer.run.keep = True
    state = {n: probe.host(a) for n, a in probe.layer.state.items()}
    probe.forward()
    for name, array in probe.layer.state.items():
        demand(same(probe.host(array), state[name]), f"state {name} changes in eval")


def carries(case: Case) -> str | None:
    """Condition of the check of what is carried."""
    return None if case.used[0].layer.carries else "it carries nothing from batch to batch"


@layer_check(computes, carries)
def check_carried(case: Case) -> None:
    """`carried` is all that a forward goes on from. Each phase has its own, and nothing is written into it."""
    probe, other, evaluated = case.probe(), case.probe(), case.probe(phase="eval")
    bottoms, first = probe.draw_bottoms(stream=4), outputs(evaluated, evaluated.forward())
    probe.forward()
    before = dict(probe.layer.carried)
    held, copied = ({phase: tuple(a.copy() for a in arrays) for phase, arrays in before.items()} for _ in range(2))
    other.layer.carried.update(copied)
    want = outputs(probe, probe.forward(bottoms, goes_on=True))
    remark = "another layer that carries the same goes on to another result: `carried` does not hold all"
    compare(outputs(other, other.forward(bottoms, goes_on=True)), want, same, remark)
    evaluated.layer.carried = dict(before)
    compare(outputs(evaluated, evaluated.forward(goes_on=True)), first, same, "eval goes on from what train carries")
    for phase, arrays in before.items():
        kept = [probe.host(array) for array in held[phase]]
        demand(all(same(probe.host(a), k) for a, k in zip(arrays, kept, strict=True)), "forward writes into `carried`")
        demand(evaluated.layer.carried.get(phase) is arrays, f"eval replaces what {phase} carries")


@layer_check(differentiable, exact)
def check_eval_gradients(case: Case) -> None:
    """Eval is differentiable like train where the layer is."""
    for row in layer_gradients(case.cls, case.example, backend=case.backend, phase="eval", samples=1):
        demand(row.ok, f"in eval the gradient of {row.blob} is wrong")


def is_per_sample(case: Case) -> str | None:
    """Condition of the check of samples."""
    if not batch_size(case.example):
        return "it has no samples"
    probe, _ = case.used
    return None if probe.layer.per_sample_for(*probe.bottom_specs) else "a sample's top may depend on its whole batch"


@check(is_per_sample)
def check_per_sample(case: Case) -> None:
    """In eval a sample's result does not depend on the rest of its batch, wherever in the whole that begins."""
    whole, equal = case.probe(phase="eval"), case.close
    tops, n = outputs(whole, whole.forward()), batch_size(case.example)
    for i in range(n):
        batch = [b[i : i + 1] if has_batch(case.example, b.shape) else b for b in whole.bottoms]
        one = case.probe(phase="eval")
        one.layer.run.first_sample = i
        call.setup(one.layer, [s.with_shape(b.shape) for s, b in zip(one.bottom_specs, batch, strict=True)])
        for j, top in enumerate(one.forward(batch)):
            demand(equal(one.host(top), tops[f"top[{j}]"][i : i + 1]), f"sample {i} of top[{j}] depends on its batch")


def batch_size(example: Example) -> int:
    """The first axis of the first bottom; 0 where that is a single number."""
    return example.bottoms[0].shape[0] if example.bottoms and example.bottoms[0].shape else 0


def has_batch(example: Example, shape: tuple[int, ...]) -> bool:
    """Whether a bottom of this shape has the batch axis: as long as the first bottom's, and not broadcast to it."""
    first = example.bottoms[0].shape
    return bool(shape) and shape[0] == first[0]


def may_be_random(case: Case) -> str | None:
    """Condition of the check of random numbers."""
    return None if case.used[0].layer.draws or not case.example.bottoms else "it draws no random numbers"


@check(computes, may_be_random)
def check_random_by_sample(case: Case) -> None:
    """Random numbers belong to the sample: the second half of a batch alone gets the masks that it has in the whole.

    A layer without bottoms has no samples: its tops are the same for every part of the batch.
    """
    probe = case.probe()
    tops = outputs(probe, probe.forward())
    if not case.example.bottoms:
        probe.layer.run.first_sample = 5
        moved = outputs(probe, probe.forward())
        remedy = "use self.random(..., by_sample=False)"
        compare(moved, tops, same, f"a layer without bottoms depends on how the batch is split; {remedy}")
        probe.layer.run.first_sample = 0
    elif probe.layer.draws:
        _half_alone(case, tops)
    if probe.layer.draws:
        probe.layer.run.iteration += 1
        changed = outputs(probe, probe.forward())
        big = sum(t.size for t in tops.values()) >= 16
        demand(not big or any(not same(changed[k], tops[k]) for k in tops), "every iteration draws the same numbers")


def _half_alone(case: Case, tops: dict[str, Any]) -> None:
    """The second half of the batch, run as if the first had gone before, must give that half of the whole's tops."""
    n = batch_size(case.example)
    half = case.probe()
    batch = [b[n // 2 :] if has_batch(case.example, b.shape) else b for b in half.bottoms]
    call.setup(half.layer, [s.with_shape(b.shape) for s, b in zip(half.bottom_specs, batch, strict=True)])
    half.layer.run.first_sample = n // 2
    for j, top in enumerate(half.forward(batch)):
        demand(same(half.host(top), tops[f"top[{j}]"][n // 2 :]), "random numbers depend on how the batch is split")


@check(computes)
def check_deterministic(case: Case) -> None:
    """The same layer, inputs and iteration give the same bits, also on the second call, whatever became of the tops."""
    first, second = case.probe(), case.probe()
    tops = first.forward()
    a, b = outputs(first, tops), outputs(second, second.forward())
    compare(a, b, same, "two layers with the same seed differ")
    for top in tops:  # whatever reads a top may write its own over it
        if not any(first.xp.shares_memory(top, stored(bottom)) for bottom in first.bottoms):
            poison(top)
    compare(outputs(first, first.forward()), b, same, "a second forward of the same iteration differs")
    if case.differentiable:
        compare(first.gradients(), second.gradients(), same, "gradients differ between two runs")


@check()
def check_new_batch_size(case: Case) -> None:
    """Setup runs again for another batch size, and back, without disturbing anything."""
    probe = case.probe()
    want = outputs(probe, probe.forward())
    larger = replace(case.example, bottoms=[grow(case.example, s) for s in case.example.bottoms])
    other = replace(case, example=larger).probe()
    specs = call.setup(probe.layer, other.bottom_specs)
    tops = probe.forward(other.bottoms)
    for top, spec in zip(tops, specs, strict=True):
        demand(top.shape == spec.shape, f"with another batch size forward returns {top.shape}, setup {spec.shape}")
    if case.differentiable:
        for i, grad in enumerate(probe.backward(other.draw_cotangents(tops))):
            shape = larger.bottoms[i].shape
            demand(grad is None or grad.shape == shape, f"with another batch size bottom[{i}]'s gradient is misshapen")
    call.setup(probe.layer, probe.bottom_specs)
    remark = "after another batch size the first one gives another result"
    compare(outputs(probe, probe.forward()), want, case.close, remark)


def grow(example: Example, spec: Any, extra: int = 1) -> Any:
    """The Spec with one more sample, or so many, where it has the batch axis."""
    return spec.with_shape((spec.shape[0] + extra, *spec.shape[1:])) if has_batch(example, spec.shape) else spec


@check(computes)
def check_state_round_trip(case: Case) -> None:
    """Parameters and state are all there is: copied into a fresh layer, they give the same results in eval."""
    trained, fresh = case.probe(), case.probe(seed=1)
    trained.forward()
    for source, target in ((trained.layer.params, fresh.layer.params), (trained.layer.state, fresh.layer.state)):
        demand(list(source) == list(target), "two layers of the same example declare different names")
        for name, array in target.items():
            array[...] = source[name]
    want, got = _eval(trained, trained.bottoms), _eval(fresh, trained.bottoms)
    compare(got, want, same, "params and state do not hold all that the layer has learned")


def _eval(probe: Probe, bottoms: Any) -> dict[str, Any]:
    probe.layer.run.phase, probe.layer.run.keep, probe.layer.run.seed = "eval", False, 7
    return outputs(probe, probe.forward(bottoms))
