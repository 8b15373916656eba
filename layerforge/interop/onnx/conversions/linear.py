"""Linear maps."""

from __future__ import annotations

from ..exporting import Export, Value, exports


@exports("Linear")
def linear(w: Export, x: Value) -> Value:
    """Gemm for samples that are rows; MatMul and Add for more axes."""
    bias = w.param("bias") if w.has("bias") else None
    if x.ndim == 2:
        y: Value = w.op("Gemm", x, w.param("weight"), bias, transB=1)
        return y
    y = w.op("MatMul", x, w.array("weight", w.numbers("weight").T))
    return w.op("Add", y, bias) if bias is not None else y
