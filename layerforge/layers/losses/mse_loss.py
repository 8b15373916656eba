"""MSELoss: the mean of squared differences."""

from __future__ import annotations

from .regression_loss import of_difference

MSELoss = of_difference(
    "MSELoss", "mean squared error",
    loss="(x - t)²",                           f=lambda self, d: d * d,
    dx="dx = 2 (x - t) dy/m",                  df=lambda self, d: 2 * d,
    source="Gauss 1809; compare torch.nn.MSELoss",
)  # fmt: skip
