"""Which blobs of a net are its predictions: what a file of another format gives where nobody names others."""

from __future__ import annotations

from ..graph.graph import Step
from ..graph.uses import TARGET, uses_of
from ..net import Net


def predicted(net: Net) -> tuple[str, ...]:
    """What a net gives in eval without its targets: the tops that only losses, metrics and what is behind them read.

    Of these those that something learned has a part in, if any: data that were only prepared to be a target, as for an
    autoencoder, are no prediction.
    """
    phase = net.graph.phases["eval"]
    uses = uses_of(net.graph)
    barred = {b.index for b in phase.blobs if b.producer is None and uses.get(b.name) == TARGET}
    left: list[Step] = []
    learned: set[int] = set()
    for step in phase.steps:
        if step.node.layer.param_decls or learned & set(step.bottoms):
            learned |= set(step.tops)
        if barred & set(step.bottoms) or step.node.layer.loss:
            barred |= set(step.tops)
        else:
            left.append(step)
    read = {i for step in left for i in step.bottoms}
    found = [i for step in left for i in step.tops if i not in read and phase.current[phase.blobs[i].name].index == i]
    found = [i for i in found if i in learned] or found
    return tuple(phase.blobs[i].name for i in found) or tuple(b.name for b in phase.outputs())
