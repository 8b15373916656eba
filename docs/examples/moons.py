"""A data source of one's own: docs/data.md explains it. Named by `import: [moons.py]` in moons.yaml."""

import numpy as np

from layerforge import Source, Spec, param, register_source


@register_source
class Moons(Source):
    """Two half circles that interlock: blobs `x` (2,) and `label`."""

    samples: int = param(1000, help="how many points", ge=2)

    def specs(self) -> dict[str, Spec]:
        return {"x": Spec((2,)), "label": Spec((), role="index", low=0, high=2)}

    def read(self, part: str, progress: bool | None = None) -> dict[str, np.ndarray]:
        t, label = np.linspace(0, np.pi, self.samples), np.arange(self.samples) % 2
        x = np.stack([np.cos(t) + label, np.sin(t) * (1 - 2 * label)], axis=1)
        return {"x": x, "label": label}
