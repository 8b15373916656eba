"""Types of forks that are known, and why they are not imported."""

from __future__ import annotations

from ..conversion import REFUSED

OHEM = "which regions are hard is found while the net trains; there is no layer for it"
FIXED_POINT = "it rounds to fixed point by a code that is not known; for the plain net write the type without Float"

REFUSED |= {
    "BoxAnnotatorOHEM": OHEM,
    "SmoothL1LossOHEM": OHEM,
    "SoftmaxWithLossOHEM": OHEM,
    "ConvolutionFloat": FIXED_POINT,
    "InnerProductFloat": FIXED_POINT,
    "PoolingFloat": FIXED_POINT,
    "DetectionEvaluate": "it scores a data set, not a batch: take the layer out, and judge the rows of DetectionOutput",
    "SegAccuracy": "it adds up over a data set: take the layer out, and judge what the net predicts",
    "MarginInnerProduct": "its margin changes from step to step; an InnerProduct has the same weight without it",
    "SeLuDropout": "no layer keeps mean and variance while it drops; in phase TEST it is nothing, and can be taken out",
    "SqueezeDetLoss": "there is no such loss here: take the layer out where the net only predicts",
    "ImageOutput": "nothing is written here: take the layer out, net.blobs has what it would write",
    "Proposal": "the number of its regions depends on the data, and shapes here do not",
}
