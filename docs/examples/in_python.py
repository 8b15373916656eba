"""A script: a net that is built, used, saved and loaded in Python, and a whole training run that it starts."""

import sys
import tempfile
from pathlib import Path

import numpy as np

from layerforge import DivergedError, Net, Solver, train

NET = {
    "inputs": {"x": {"shape": [8, 3], "grad": True}, "t": {"shape": [8], "dtype": "int64"}},
    "net": [
        {"name": "fc", "type": "Linear", "out_features": 4},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
    ],
}


def few_steps(folder: Path) -> float:
    """A net and a solver, step by step; the loss of the last step."""
    net = Net.from_config(NET)
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(8, 3)), rng.integers(0, 4, 8)

    scores = net.forward(phase="eval", outputs="fc", x=x)["fc"]
    print(f"scores {scores.shape}, computed by {net.engines['fc']}")

    net.forward(x=x, t=t)
    net.backward(fc=np.ones((8, 4)))  # a vector-Jacobian product
    print(f"a gradient of {net.blobs['x'].grad.shape}, a weight of {net.params['fc']['weight'].shape}")

    solver = Solver(net, type="SGD", lr=0.1, momentum=0.9)
    loss = 0.0
    for _ in range(10):
        loss = solver.step(x=x, t=t)

    solver.net.save(folder / "weights.h5")  # the net that it was made of
    Net.from_config(NET).load(folder / "weights.h5")
    return loss


def whole_run(config: Path, folder: Path) -> float:
    """Training as `layerforge train` does it; the accuracy on the val data."""
    result = train(config, ["train.epochs=2", f"train.output_dir={folder}"])
    print(f"{result.status} after {result.steps} steps: {result.run}")
    return result.best["val/accuracy"]


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        try:
            print(f"loss {few_steps(Path(name)):.3f}")
            print(f"accuracy {whole_run(Path(__file__).with_name('moons.yaml'), Path(name)):.2f}")
        except DivergedError as error:
            print(error, file=sys.stderr)
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
