"""Circular and hyperbolic functions and their inverses. The table is the whole file."""

from __future__ import annotations

from .elementwise import elementwise

# Each entry: name and what it is; f and how to compute it; f' times dy and how to compute it. -------------------------

Sin = elementwise(
    "Sin", "sine",
    y="sin x",                             f=lambda self, x, y: self.xp.sin(x, out=y),
    dx="dy cos x",                         df=lambda self, dy, x: dy * self.xp.cos(x),  reads="bottom",
    source="compare torch.sin",
)  # fmt: skip

Cos = elementwise(
    "Cos", "cosine",
    y="cos x",                             f=lambda self, x, y: self.xp.cos(x, out=y),
    dx="-dy sin x",                        df=lambda self, dy, x: -dy * self.xp.sin(x),  reads="bottom",
    source="compare torch.cos",
)  # fmt: skip

Tan = elementwise(
    "Tan", "tangent",
    y="tan x = sin x / cos x",             f=lambda self, x, y: self.xp.tan(x, out=y),
    dx="dy (1 + y²), as tan' = 1 / cos² = (cos² + sin²) / cos²",
    df=lambda self, dy, y: dy * (1 + y * y),  reads="top",
    domain="not an odd multiple of π/2",  low=-1.4,  high=1.4,
    source="compare torch.tan",
)  # fmt: skip

Asin = elementwise(
    "Asin", "inverse sine",
    y="arcsin x",                          f=lambda self, x, y: self.xp.arcsin(x, out=y),
    dx="dy / √(1 - x²), as sin y = x gives cos y · y' = 1",
    df=lambda self, dy, x: dy / self.xp.sqrt((1 - x) * (1 + x)),  reads="bottom",
    domain="-1 to 1; at both ends the gradient is infinite",  low=-0.95,  high=0.95,
    source="compare torch.asin",
)  # fmt: skip

Acos = elementwise(
    "Acos", "inverse cosine",
    y="arccos x",                          f=lambda self, x, y: self.xp.arccos(x, out=y),
    dx="-dy / √(1 - x²), as cos y = x gives -sin y · y' = 1",
    df=lambda self, dy, x: -dy / self.xp.sqrt((1 - x) * (1 + x)),  reads="bottom",
    domain="-1 to 1; at both ends the gradient is infinite",  low=-0.95,  high=0.95,
    source="compare torch.acos",
)  # fmt: skip

Atan = elementwise(
    "Atan", "inverse tangent",
    y="arctan x",                          f=lambda self, x, y: self.xp.arctan(x, out=y),
    dx="dy / (1 + x²), as tan y = x gives (1 + tan² y) y' = 1",
    df=lambda self, dy, x: dy / (1 + x * x),  reads="bottom",
    source="compare torch.atan",
)  # fmt: skip

Sinh = elementwise(
    "Sinh", "hyperbolic sine",
    y="sinh x = (eˣ - e⁻ˣ) / 2",           f=lambda self, x, y: self.xp.sinh(x, out=y),
    dx="dy cosh x",                        df=lambda self, dy, x: dy * self.xp.cosh(x),  reads="bottom",
    low=-4.0,  high=4.0,
    source="compare torch.sinh",
)  # fmt: skip

Cosh = elementwise(
    "Cosh", "hyperbolic cosine",
    y="cosh x = (eˣ + e⁻ˣ) / 2",           f=lambda self, x, y: self.xp.cosh(x, out=y),
    dx="dy sinh x",                        df=lambda self, dy, x: dy * self.xp.sinh(x),  reads="bottom",
    low=-4.0,  high=4.0,
    source="compare torch.cosh",
)  # fmt: skip

Tanh = elementwise(
    "Tanh", "hyperbolic tangent (Caffe: TanH)",
    y="tanh x = (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ)",  f=lambda self, x, y: self.xp.tanh(x, out=y),
    dx="dy (1 - y²), as tanh' = 1 - tanh²",
    df=lambda self, dy, y: dy * (1 - y * y),  reads="top",
    source="compare torch.nn.Tanh",
)  # fmt: skip
