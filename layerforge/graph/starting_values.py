"""Start values by what follows: the fillers of those weights whose filler is null.

A weight of the variance v / fan_in, where an element of the top sums up fan_in others, makes the mean square of the top
about v times that of the bottom. Which v lets a net train, the layer that reads the top says:

    a rectifier         v = 2 / (1 + a²)    of the mean square it leaves the share (1 + a²) / 2, a being its slope below
                                            zero; v makes up for that (He et al. 2015)
    a classifying loss  v = 1/4             scores near zero: all classes are about equally likely, and the first loss
                                            is near ln K: about v/2 above it, if a bottom has mean square 1
    anything else       v = 1               the mean square stays (LeCun et al. 1998, Glorot & Bengio 2010)

In between there may be layers that leave the scale of values as it is, or nearly so: pooling, dropout, what only moves
elements, sums such as residual connections; also normalisation. Of several layers that read a top the strongest
decides: a rectifier, then anything else, then a loss, for what is too small for one reader is lost to all that is above
it, while a loss only has farther to go. Of several rectifiers it is the one of the largest v, of equals the first in
the net. Metrics do not count, nor does the phase eval for a layer that runs in train too.

A filler that a user names stays. A shared parameter starts as its owner does, by what follows the owner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..contract.declarations import ParamDecl
from ..contract.fillers import Filler, Gaussian, Msra, Xavier
from ..contract.layer import Layer
from .graph import Node, PhaseGraph, StartingValue

# By names of types: subclasses of these layers, such as those of an engine or of a user, do as their bases do.
RECTIFIERS = frozenset(
    ["CELU", "ELU", "GELU", "HardSwish", "LeakyReLU", "Mish", "PReLU", "ReLU", "ReLU6", "SiLU", "Softplus"]
)
SLOPES = ("negative_slope", "init")  # the hyper-parameters that hold a
NORMALISATIONS = frozenset(["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "MVN", "RMSNorm"])
PASSING = frozenset(
    [
        *("AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "GlobalAvgPool2d"),
        *("LPPool2d", "Max", "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool2d", "Mean"),
        *("SpatialPyramidPool", "StochasticPool2d"),
        *("Bias", "Detach", "Dropout", "Dropout2d", "Identity", "LocalResponseNorm", "Neg", "PositionalEmbedding"),
        *("BatchReindex", "Crop", "Diagonal", "Expand", "Filter", "Flatten", "Flip", "Gather", "GridSample", "Index"),
        *("IndexSelect", "Pad", "Permute", "PixelShuffle", "Repeat", "RepeatInterleave", "Reshape", "Scale", "Slice"),
        *("Split", "Squeeze", "Tile", "Transpose", "Unfold", "Unfold1d", "Unfold3d", "Unsqueeze", "Upsample"),
        *("PSROIPooling", "ROIPooling"),
    ]
)
JOINING = frozenset(["Add", "Concat", "Stack", "Sub"])  # all bottoms pass; of the others only the first is a signal
CLASSIFYING = frozenset(
    [
        *("BCEWithLogitsLoss", "DiceLoss", "FocalLoss", "HingeLoss", "InfogainLoss", "SigmoidFocalLoss"),
        "SoftmaxCrossEntropy",
    ]
)
PROBABILITIES: Mapping[str, frozenset[str]] = {  # what makes them of scores, and the losses that read them
    "LogSoftmax": frozenset(["CTCLoss", "KLDivLoss", "NLLLoss"]),
    "Softmax": frozenset(["BCELoss", "DiceLoss", "MultinomialLogisticLoss"]),
    "Sigmoid": frozenset(["BCELoss", "DiceLoss"]),
}
UNDECIDED = 0.25  # v in front of a classifying loss

LOSS, PLAIN, RECTIFIER = range(3)  # the strength of what follows: the strongest decides


@dataclass(frozen=True)
class Follower:
    """What a blob reaches: a layer, what it is to the weight above, and its slope a where it is a rectifier."""

    node: Node
    strength: int
    slope: float = 0.0

    @property
    def variance(self) -> float:
        """v of the formulas above."""
        return {LOSS: UNDECIDED, PLAIN: 1.0, RECTIFIER: 2 / (1 + self.slope**2)}[self.strength]

    @property
    def filler(self) -> Filler:
        """That of a weight whose fan_in is count / shape[0]."""
        if self.strength == RECTIFIER:
            return Msra(negative_slope=self.slope)
        return Xavier(gain=math.sqrt(UNDECIDED)) if self.strength == LOSS else Xavier()

    @property
    def why(self) -> str:
        return f"{self.node.layer.type_name} '{self.node.name}' follows"


def in_words(several: Sequence[Follower | None]) -> str:
    """What a null filler means, whatever the shapes: the variance and the reason.

    several  what follows each use of the layer: one, or more where the layer is written in a block
    """
    if len(several) == 1:
        return f"variance {_variance(several[0]):.3g} / fan_in, as {_why(several[0])}"
    kinds = {(_variance(one), one.node.layer.type_name if one else "nothing") for one in several}
    each = [f"{variance:.3g} / fan_in where {kind} follows" for variance, kind in sorted(kinds, reverse=True)]
    return f"variance {', '.join(each)}"


def starting_values(
    nodes: Sequence[Node], phases: Mapping[str, PhaseGraph], shared: Mapping[Any, Any]
) -> dict[tuple[str, str], StartingValue]:
    """The filler of each parameter that declares none and belongs to its layer, by (layer, parameter)."""
    following = followers(phases)
    chosen = {}
    for node in nodes:
        follower = following.get(node.name)
        for name, decl in node.layer.param_decls.items():
            if decl.filler is None and (node.name, name) not in shared:
                chosen[node.name, name] = _value(decl, follower)
    return chosen


def _value(decl: ParamDecl, follower: Follower | None) -> StartingValue:
    if decl.fan_in is not None:
        return StartingValue(Gaussian(std=math.sqrt(_variance(follower) / max(1.0, decl.fan_in))), _why(follower))
    return StartingValue(Xavier() if follower is None else follower.filler, _why(follower))


def _variance(follower: Follower | None) -> float:
    return 1.0 if follower is None else follower.variance


def _why(follower: Follower | None) -> str:
    return "nothing follows" if follower is None else follower.why


def followers(phases: Mapping[str, PhaseGraph]) -> dict[str, Follower | None]:
    """What follows each layer, by its name: the strongest of what its tops reach, in training where it runs there.

    It depends on the wiring alone: shapes need not be known.
    """
    return _followers(phases["eval"]) | _followers(phases["train"])


def _followers(phase: PhaseGraph) -> dict[str, Follower | None]:
    found: dict[int, Follower | None] = {}  # by blob
    after: dict[str, Follower | None] = {}
    for step in reversed(phase.steps):
        beyond = _strongest([found.get(top) for top in step.tops])
        after[step.node.name] = beyond
        for position, blob in enumerate(step.bottoms):
            found[blob] = _strongest([_met(step.node, position, beyond), found.get(blob)])
    return after


def _strongest(candidates: Sequence[Follower | None]) -> Follower | None:
    """The one that decides; the first of equals."""
    real = [one for one in candidates if one is not None]
    return max(real, key=lambda one: (one.strength, one.variance), default=None)


def _met(node: Node, position: int, beyond: Follower | None) -> Follower | None:
    """What a layer is to a blob that it reads at this bottom; `beyond` is what follows the layer itself."""
    layer = node.layer
    if _kind(layer, JOINING) or (position == 0 and _kind(layer, PASSING)):
        return beyond
    if not layer.is_differentiable() or position in layer.no_grad_bottoms or layer.tops == 0:
        return None
    plain = Follower(node, PLAIN)
    if position:
        return plain
    if _kind(layer, RECTIFIERS):
        slope = next((float(getattr(layer, key)) for key in SLOPES if hasattr(layer, key)), 0.0)
        return Follower(node, RECTIFIER, slope)
    if _kind(layer, CLASSIFYING) and getattr(layer, "activation", None) != "none":  # which reads probabilities
        return Follower(node, LOSS)
    if _kind(layer, NORMALISATIONS):  # which takes the factor out that a loss asks for
        return beyond if beyond is not None and beyond.strength == RECTIFIER else plain
    return _behind_probabilities(layer, beyond) or plain


def _behind_probabilities(layer: Layer, beyond: Follower | None) -> Follower | None:
    """The loss that reads probabilities made by this layer, as that of their scores; None where there is none."""
    losses = PROBABILITIES.get(_kind(layer, frozenset(PROBABILITIES)), frozenset())
    if beyond is None or not _kind(beyond.node.layer, losses):
        return None
    return Follower(beyond.node, LOSS)


def _kind(layer: Layer, names: frozenset[str]) -> str:
    """The name in `names` of a layer's class or of a base of it; "" where there is none."""
    return next((cls.__name__ for cls in type(layer).__mro__ if cls.__name__ in names), "")
