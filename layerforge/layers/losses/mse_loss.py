"""MSELoss: the mean of squared differences."""

from __future__ import annotations

from .regression_loss import of_difference

MSELoss = of_difference(
    "MSELoss", "mean squared error",
    loss="(x - t)²",                           f=lambda self, u: u * u,
    dx="dx = 2 dℓ (x - t)",                    df=lambda self, u: 2 * u,
    source="Gauss 1809; compare torch.nn.MSELoss",
)  # fmt: skip
