"""Losses."""

from __future__ import annotations

from typing import Any

from ..conversion import Site, Stream, converts
from ..message import Message


@converts("SoftmaxWithLoss")
def softmax_with_loss(site: Site) -> None:
    """SoftmaxCrossEntropy with Caffe's normalization, over the class axis."""
    site.count(2, (1, 2))
    if len(site.tops) > 1:
        raise site.invalid("a second top is not to be had from a definition: Caffe refuses it, too", site.layer, "top")
    p = site.param("softmax_param")
    site.harmless(p, "engine")
    scores = classes_first(site, site.real(site.bottoms[0]), p)
    labels = labels_of(site, scores, site.bottoms[1])
    site.emit("SoftmaxCrossEntropy", [scores, labels], **normalization(site, "VALID"))


def classes_first(site: Site, scores: Stream, p: Message) -> Stream:
    """Scores with the classes on axis 1: Caffe's class axis may be another one."""
    axis = site.axis(p.get("axis"), scores.ndim, p)
    if axis == 1:
        return scores
    if axis == 0:
        return site.emit("Unsqueeze", scores, part="scores", dim=0)[0]
    shape = list(scores.shape)
    outer = [-1, *shape[axis:]] if axis else shape
    return site.emit("Reshape", scores, part="scores", shape=outer)[0]


def labels_of(site: Site, scores: Stream, labels: Stream) -> Stream:
    """Labels as integers, one for each position of the scores: Caffe counts them only."""
    wanted = (scores.shape[0], *scores.shape[2:])
    count = 1
    for length in wanted:
        count *= length
    if labels.spec.size != count:
        raise site.invalid(f"{labels.spec.size} labels {labels.shape} for {count} positions", site.layer, "bottom")
    labels = site.index(labels)
    if labels.shape == wanted:
        return labels
    return site.emit("Reshape", labels, part="labels", shape=[-1, *wanted[1:]])[0]


def normalization(site: Site, default: str) -> dict[str, Any]:
    """loss_param as hyper-parameters: the label that is ignored, and what the sum is divided by."""
    p = site.param("loss_param")
    mode = default
    if p.has("normalization"):
        mode = p.get("normalization")
        site.harmless(p, "normalize", why="normalization is said, too")
    elif p.has("normalize"):
        mode = "VALID" if p.get("normalize") else "BATCH_SIZE"
    if mode not in ("VALID", "FULL", "BATCH_SIZE", "NONE"):
        raise site.unsupported(f"normalization {mode}", p, "normalization")
    ignored = p.get("ignore_label") if p.has("ignore_label") else None
    return {"ignore_index": ignored, "normalization": mode.lower()}
