"""What scikit-learn's exporter writes beside ONNX's own operators: the parts of linear models that are nets."""

from __future__ import annotations

import numpy as np

from ..importing import REFUSED, Site, imports
from .norms_in import normalized

REFUSED.update(
    {
        f"ai.onnx.ml.{op}": "it is no part of a net"
        for op in ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "SVMClassifier", "SVMRegressor", "LabelEncoder")
    }
)
REFUSED.update(
    {
        f"ai.onnx.ml.{op}": "it prepares samples: do it before the net, and export the model without this step"
        for op in ("Imputer", "Binarizer", "OneHotEncoder", "FeatureVectorizer", "CategoryMapper", "DictVectorizer")
    }
)


@imports("ai.onnx.ml.Normalizer")
def normalizer(site: Site) -> None:
    """A division by a norm of each sample: of the sums of sizes (L1), of squares (L2), or of the largest (MAX).

    Where the norm is 0 the sample stays as it is: one is added to it there.
    """
    x, kind = site.real(0), site.attributes.text("norm", "MAX")
    if kind == "MAX":
        (norm,) = site.emit("Max", x, part="norm", dim=x.ndim - 1, keepdim=True)
        (there,) = site.emit("Sign", site.emit("Abs", norm, part="size"), part="not_zero")
        (divisor,) = site.emit("Add", [norm, there], part="divisor_less_one", coeff=[1.0, -1.0])
        (divisor,) = site.emit("Pow", divisor, part="divisor", exponent=1.0, shift=1.0)
        site.emit("Div", [x, divisor])
    elif kind in ("L1", "L2"):
        normalized(site, x, x.ndim - 1, float(kind[1]))
    else:
        raise site.invalid(f"norm is {kind}")


@imports("ai.onnx.ml.Scaler")
def scaler(site: Site) -> None:
    """(x - offset) scale: a Bias and a Scale that do not learn."""
    x = site.real(0)
    features = x.shape[-1]
    given = {name: site.attributes.numbers(name) or [usual] for name, usual in (("offset", 0.0), ("scale", 1.0))}
    for name, values in given.items():
        if len(values) not in (1, features):
            raise site.invalid(f"{len(values)} numbers as {name} of {features} features")
    offset, scale = (np.broadcast_to(np.asarray(given[name], np.float32), (features,)) for name in ("offset", "scale"))
    (centred,) = site.emit("Bias", x, part="centred", dim=x.ndim - 1)
    site.made[-1].item["freeze"] = True
    site.param("bias", -offset)
    site.emit("Scale", centred, dim=x.ndim - 1)
    site.made[-1].item["freeze"] = True
    site.param("weight", np.ascontiguousarray(scale))


@imports("ai.onnx.ml.LinearRegressor")
def linear_regressor(site: Site) -> None:
    """Linear."""
    if site.attributes.text("post_transform", "NONE") != "NONE":
        raise site.unsupported(f"post_transform {site.attributes.text('post_transform', '')}")
    targets = site.attributes.integer("targets", 1)
    weight, bias = _coefficients(site, targets)
    site.emit("Linear", site.real(0), out_features=targets, bias=bias is not None)
    site.param("weight", weight)
    if bias is not None:
        site.param("bias", bias)


def _coefficients(site: Site, count: int) -> tuple[np.ndarray, np.ndarray | None]:
    found = np.asarray(site.attributes.numbers("coefficients", []) or [], np.float32)
    features = site.real(0).shape[-1]
    if found.size != count * features:
        raise site.invalid(f"{found.size} coefficients for {count} outputs of {features} features")
    bias = site.attributes.numbers("intercepts")
    if bias is not None and len(bias) != count:
        raise site.invalid(f"{len(bias)} intercepts for {count} outputs")
    return found.reshape(count, features), None if bias is None else np.asarray(bias, np.float32)


@imports("ai.onnx.ml.LinearClassifier")
def linear_classifier(site: Site) -> None:
    """Linear, and Softmax or Sigmoid behind it; of two classes with one score both are given."""
    if site.tops[0]:
        raise site.unsupported("its labels are used: the net gives scores")
    site.attributes.has("multi_class")
    classes = [site.attributes.get(name, None, list) for name in ("classlabels_ints", "classlabels_strings")]
    count = next((len(one) for one in classes if one), 0)
    site.note(f"its classes are {', '.join(str(one) for one in next((c for c in classes if c), []))}")
    after = site.attributes.text("post_transform", "NONE")
    kinds = {"NONE": "", "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}
    if after not in kinds:
        raise site.unsupported(f"post_transform {after}: {', '.join(kinds)} are supported")
    rows = len(site.attributes.numbers("coefficients", []) or []) // max(1, site.real(0).shape[-1])
    if rows != count:
        raise site.unsupported(f"{rows} scores for {count} classes")
    weight, bias = _coefficients(site, rows)
    part = "scores" if kinds[after] else ""
    site.tops = site.tops[1:]
    site.names = site.names[1:]
    scores = site.emit("Linear", site.real(0), part=part, out_features=rows, bias=bias is not None)
    site.param("weight", weight)
    if bias is not None:
        site.param("bias", bias)
    if kinds[after]:
        site.emit(kinds[after], scores, given={"dim": 1} if after == "SOFTMAX" else {})
