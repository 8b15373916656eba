"""Several blobs element by element."""

from __future__ import annotations

from ..conversion import Site, converts


@converts("Eltwise")
def eltwise(site: Site) -> None:
    """Add, Mul or Maximum of blobs of one shape."""
    site.count((2, None), 1)
    p, x = site.param("eltwise_param"), [site.real(bottom) for bottom in site.bottoms]
    operation, factors = p.get("operation"), list(p.get("coeff"))
    for i, one in enumerate(x):
        if one.shape != x[0].shape:
            told = f"bottom {i} has shape {one.shape}, bottom 0 {x[0].shape}: they must be equal"
            raise site.invalid(told, site.layer, "bottom")
    if factors and len(factors) != len(x):
        raise site.invalid(f"{len(factors)} coeff for {len(x)} bottoms", p, "coeff")
    if factors and operation == "PROD":
        raise site.invalid("coeff is for operation: SUM", p, "coeff")
    stable = p.get("stable_prod_grad")
    if operation == "SUM":
        site.emit("Add", x, coeff=None if set(factors) <= {1.0} else factors)
    elif operation == "PROD":
        site.emit("Mul", x)
        if not stable:
            site.note("Caffe's gradient divides by the bottom, and is NaN where that is 0; here it is exact")
    else:
        site.emit("Maximum", x, ties="caffe")
        if factors:
            site.ignored.append(("eltwise_param.coeff", p.place("coeff"), "Caffe does not read it for MAX"))
