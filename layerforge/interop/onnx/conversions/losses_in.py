"""Losses."""

from __future__ import annotations

from typing import Any

from ..importing import Site, imports


def _options(site: Site) -> dict[str, Any]:
    """reduction, ignore_index and the weights of the classes."""
    given: dict[str, Any] = {"reduction": site.attributes.text("reduction", "mean")}
    if site.attributes.has("ignore_index"):
        given["ignore_index"] = site.attributes.integer("ignore_index", 0)
    if site.has(2):
        given["weight"] = [float(w) for w in site.constant(2, "its weights").reshape(-1)]
    return given


@imports("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_loss(site: Site) -> None:
    """SoftmaxCrossEntropy; log_prob is a LogSoftmax beside it."""
    options, x = _options(site), site.real(0)
    if len(site.tops) > 1 and site.tops[1]:
        (log_prob,) = site.emit("LogSoftmax", x, part="log_prob", dim=1)
        site.pass_on(log_prob, 1)
    site.tops = site.tops[:1]
    site.emit("SoftmaxCrossEntropy", [x, site.index(1)], given=options)


@imports("NegativeLogLikelihoodLoss")
def negative_log_likelihood_loss(site: Site) -> None:
    """NLLLoss."""
    site.emit("NLLLoss", [site.real(0), site.index(1)], given=_options(site))
