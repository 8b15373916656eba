"""Losses, with what Caffe divides each of them by, and Accuracy."""

from __future__ import annotations

import math
from typing import Any

from ..blobs import array
from ..conversion import Site, Stream, converts
from ..loading import load_blob
from ..message import Message, single
from .common import flat

LEAST = 1.17549435e-38  # the smallest normal number of 32 bits, which Caffe limits probabilities to


def classes_first(site: Site, scores: Stream, axis: int) -> Stream:
    """Scores with the classes on axis 1: the axes in front of them count as samples."""
    if axis == 1:
        return scores
    if axis == 0:
        return site.emit("Unsqueeze", scores, part="scores", dim=0)[0]
    return site.emit("Flatten", scores, part="scores", start_dim=0, end_dim=axis - 1)[0]


def labels_of(site: Site, scores: Stream, labels: Stream, axis: int = 1) -> Stream:
    """Labels as integers, one for each position of the scores: Caffe only counts them.

    axis   of the classes before `classes_first`. Labels that lack it, or have 1 there, follow images of any size
    """
    wanted = (scores.shape[0], *scores.shape[2:])
    if labels.spec.size != math.prod(wanted):
        told = f"{labels.spec.size} labels, of shape {labels.shape}, for {math.prod(wanted)} positions"
        raise site.invalid(told, site.layer, "bottom")
    labels = site.index(labels)
    if labels.shape == wanted:
        return labels
    if labels.ndim == scores.ndim and axis == 1 and labels.shape[1] == 1 and labels.shape[0] == wanted[0]:
        return site.emit("Squeeze", labels, part="labels", dim=1)[0]
    if axis == 0 and labels.shape == wanted[1:]:
        return site.emit("Unsqueeze", labels, part="labels", dim=0)[0]
    if axis > 1 and labels.ndim >= axis and labels.shape[axis:] == wanted[1:]:
        return site.emit("Flatten", labels, part="labels", start_dim=0, end_dim=axis - 1)[0]
    return site.emit("Reshape", labels, part="labels", shape=[-1, *wanted[1:]])[0]


def normalization(site: Site, default: str) -> dict[str, Any]:
    """loss_param as hyper-parameters: the label that is ignored, and what the sum is divided by."""
    p = site.param("loss_param")
    ignored = p.get("ignore_label") if p.has("ignore_label") else None
    return {"ignore_index": ignored, "normalization": divisor(site, p, default)}


def divisor(site: Site, p: Message, default: str) -> str:
    """What the sum is divided by, of a loss that may ignore no label."""
    mode = default
    if p.has("normalization"):
        mode = p.get("normalization")
        site.harmless(p, "normalize", why="normalization is said, too")
    elif p.has("normalize"):
        mode = "VALID" if p.get("normalize") else "BATCH_SIZE"
    if mode not in ("VALID", "FULL", "BATCH_SIZE", "NONE"):
        raise site.unsupported(f"normalization {mode}", p, "normalization")
    return mode.lower()


@converts("SoftmaxWithLoss")
def softmax_with_loss(site: Site) -> None:
    """SoftmaxCrossEntropy with Caffe's normalization, over the class axis."""
    site.count(2, (1, 2))
    if len(site.tops) > 1:
        raise site.invalid("a second top cannot be had from a definition: Caffe refuses it", site.layer, "top")
    p = site.param("softmax_param")
    site.harmless(p, "engine")
    x = site.real(site.bottoms[0])
    axis = site.axis(p.get("axis"), x.ndim, p)
    scores = classes_first(site, x, axis)
    labels = labels_of(site, scores, site.bottoms[1], axis)
    options = {**normalization(site, "VALID"), "min_probability": LEAST}
    loss = site.param("loss_param")
    if loss.get("weight_by_label_freqs"):
        _weighted(site, loss, [scores, labels], options)
    else:
        site.harmless(loss, "class_weighting", why="it is for weight_by_label_freqs: true")
        site.emit("SoftmaxCrossEntropy", [scores, labels], **options)


def _weighted(site: Site, p: Message, bottoms: list[Stream], options: dict[str, Any]) -> None:
    """SegNet's: each loss times the weight of its label, but divided by a number of positions, not by their weights."""
    weights, classes, ignored = list(p.get("class_weighting")), bottoms[0].shape[1], options["ignore_index"]
    if len(weights) != classes:
        raise site.invalid(f"{len(weights)} class_weighting for {classes} classes", p, "class_weighting")
    options["weight"] = weights
    if options["normalization"] != "valid" or ignored is None:
        usual = {"normalization": "full"} if ignored is None and options["normalization"] == "valid" else {}
        site.emit("SoftmaxCrossEntropy", bottoms, **{**options, **usual})
        return
    (total,) = site.emit("SoftmaxCrossEntropy", bottoms, part="total", **{**options, "normalization": "none"})
    (count,) = site.emit("Pow", site.real(bottoms[1]), part="distance", exponent=1, shift=-ignored)
    (count,) = site.emit("Abs", count, part="apart")
    (count,) = site.emit("Clamp", count, part="counts", max=1.0)  # 0 where the label is ignored, otherwise 1
    (count,) = site.emit("Sum", count, part="count")
    (count,) = site.emit("Clamp", count, part="divisor", min=1.0)
    site.emit("Div", [total, count])


@converts("MultinomialLogisticLoss")
def multinomial_logistic_loss(site: Site) -> None:
    """MultinomialLogisticLoss over all that a sample has."""
    site.count(2, 1)
    scores = flat(site, site.bottoms[0], "scores")
    site.emit("MultinomialLogisticLoss", [scores, labels_of(site, scores, site.bottoms[1])])


@converts("HingeLoss")
def hinge_loss(site: Site) -> None:
    """HingeLoss over all that a sample has."""
    site.count(2, 1)
    scores = flat(site, site.bottoms[0], "scores")
    labels = labels_of(site, scores, site.bottoms[1])
    site.emit("HingeLoss", [scores, labels], norm=site.param("hinge_loss_param").get("norm"))


@converts("InfogainLoss")
def infogain_loss(site: Site) -> None:
    """InfogainLoss with the matrix of its third bottom; a second top is a Softmax."""
    site.count((2, 3), (1, 2))
    p, loss = site.param("infogain_loss_param"), site.param("loss_param")
    if loss.has("normalize"):
        raise site.invalid("normalize is not for this loss", loss, "normalize", hint="write normalization")
    x = site.real(site.bottoms[0])
    axis = site.axis(p.get("axis"), x.ndim, p)
    softmax = site.param("softmax_param")
    site.harmless(softmax, "engine")
    if site.axis(softmax.get("axis"), x.ndim, softmax) != axis:
        raise site.unsupported("softmax_param.axis and infogain_loss_param.axis that differ", p, "axis")
    scores = classes_first(site, x, axis)
    options = normalization(site, "VALID")
    bottoms = [scores, labels_of(site, scores, site.bottoms[1], axis)]
    if len(site.bottoms) == 3:
        site.harmless(p, "source", why="the matrix is the third bottom")
        bottoms += _matrix(site, scores.shape[1])
    else:
        options["matrix"] = _stored_matrix(site, p, scores.shape[1])
    site.emit("InfogainLoss", bottoms, tops=site.tops[:1], **options, min_probability=1e-20)
    if len(site.tops) > 1:
        site.emit("Softmax", x, part="probabilities", tops=site.tops[1:], dim=axis)


def _stored_matrix(site: Site, p: Message, classes: int) -> list[list[float]]:
    """The matrix in the file that source names."""
    if not p.has("source"):
        raise site.invalid("a third bottom or source is needed: the matrix", p)
    values = array(load_blob(site.file(p, "source")))
    if values.size != classes**2:
        raise site.invalid(f"source holds {values.size} numbers for {classes} classes", p, "source")
    return [[single(float(value)) for value in row] for row in values.reshape(classes, classes)]


def _matrix(site: Site, classes: int) -> list[Stream]:
    """The third bottom as a matrix."""
    matrix = site.real(site.bottoms[2])
    if matrix.spec.size != classes**2:
        told = f"bottom 2, the matrix, has shape {matrix.shape} for {classes} classes"
        raise site.invalid(told, site.layer, "bottom")
    if matrix.shape == (classes, classes):
        return [matrix]
    return site.emit("Reshape", matrix, part="matrix", shape=[classes, classes])


@converts("EuclideanLoss")
def euclidean_loss(site: Site) -> None:
    """EuclideanLoss, with a gradient for both bottoms."""
    site.count(2, 1)
    x, t = (site.real(bottom) for bottom in site.bottoms)
    if not x.ndim or x.shape[:1] != t.shape[:1] or x.spec.size != t.spec.size:
        raise site.invalid(f"the bottoms have the shapes {x.shape} and {t.shape}", site.layer, "bottom")
    if x.shape != t.shape:
        (t,) = site.emit("Reshape", t, part="targets", shape=[0 if x.spec.size == 0 else -1, *x.shape[1:]])
    site.emit("EuclideanLoss", [x, t])


@converts("SigmoidCrossEntropyLoss")
def sigmoid_cross_entropy_loss(site: Site) -> None:
    """BCEWithLogitsLoss: by default the sum over a sample, and the mean over the batch."""
    site.count(2, (1, 2))
    if len(site.tops) > 1:
        raise site.invalid("a second top cannot be had from a definition: Caffe refuses it", site.layer, "top")
    x, t = (site.real(bottom) for bottom in site.bottoms)
    if x.spec.size != t.spec.size:
        raise site.invalid(f"the bottoms have the shapes {x.shape} and {t.shape}", site.layer, "bottom")
    if x.shape != t.shape:
        (t,) = site.emit("Reshape", t, part="targets", shape=[-1, *x.shape[1:]])
    options = normalization(site, "BATCH_SIZE")
    site.emit("BCEWithLogitsLoss", [x, t], **options)


@converts("ContrastiveLoss")
def contrastive_loss(site: Site) -> None:
    """ContrastiveLoss, with what Caffe adds to the distance in its gradient."""
    site.count(3, 1)
    p = site.param("contrastive_loss_param")
    x = [site.real(bottom) for bottom in site.bottoms[:2]]
    site.demand_axes(x[0], 1)
    if x[0].shape[:2] != x[1].shape[:2] or any(math.prod(one.shape[2:]) != 1 for one in x):
        raise site.invalid(f"the bottoms have the shapes {x[0].shape} and {x[1].shape}", site.layer, "bottom")
    labels = site.bottoms[2]
    if labels.spec.size != x[0].shape[0]:
        raise site.invalid(f"bottom 2 has shape {labels.shape} for {x[0].shape[0]} pairs", site.layer, "bottom")
    labels = site.index(labels)
    if labels.ndim != 1:
        (labels,) = site.emit("Reshape", labels, part="labels", shape=[-1])
    options = {name: p.get(name) for name in ("margin", "legacy_version")}
    added = 0.0 if p.get("legacy_version") else 1e-4
    site.emit("ContrastiveLoss", [*x, labels], **options, gradient_eps=added)


@converts("Accuracy")
def accuracy(site: Site) -> None:
    """Accuracy, in which a tie counts as wrong; a second top has it for each class."""
    site.count(2, (1, 2))
    p, x = site.param("accuracy_param"), site.real(site.bottoms[0])
    axis = site.axis(p.get("axis"), x.ndim, p)
    scores = classes_first(site, x, axis)
    labels = labels_of(site, scores, site.bottoms[1], axis)
    ignored = p.get("ignore_label") if p.has("ignore_label") else None
    if not 1 <= p.get("top_k") <= scores.shape[1]:
        raise site.invalid(f"top_k {p.get('top_k')} of {scores.shape[1]} classes", p, "top_k")
    site.emit("Accuracy", [scores, labels], top_k=p.get("top_k"), ignore_index=ignored)
