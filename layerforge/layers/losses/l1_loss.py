"""L1Loss: the mean of absolute differences."""

from __future__ import annotations

from .regression_loss import of_difference

L1Loss = of_difference(
    "L1Loss", "mean absolute error",
    loss="|x - t|",                            f=lambda self, u: self.xp.abs(u),
    dx="dx = dℓ sign(x - t), 0 at x = t",      df=lambda self, u: self.xp.sign(u),
    source="Laplace 1774; compare torch.nn.L1Loss",
)  # fmt: skip
