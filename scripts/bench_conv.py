"""Conv2d on NumPy against other ways to compute a convolution: median milliseconds, forward and backward.

    OPENBLAS_NUM_THREADS=1 python scripts/bench_conv.py [CASE ...]

Every way gets its arrays in the memory order that it likes best. All make columns (im2col) and multiply matrices:

layer      layerforge's Conv2d: batch last, one product for a chunk of rows of all samples
nchw       (N, C, H, W): a product for every sample
nhwc       channels last, one product for every 4 samples, so that the columns stay in the cache
tensordot  np.tensordot on a sliding window view, which makes the columns itself
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from layerforge.arrays.spec import Spec
from layerforge.check.harness import Probe
from layerforge.contract.layer import Example
from layerforge.layers.convolutions.conv import Conv2d

# name: samples, channels, height and width, output channels, kernel, stride, padding
CASES = {
    "lenet conv1": (64, 1, 28, 20, 5, 1, 0),
    "lenet conv2": (64, 20, 12, 50, 5, 1, 0),
    "quick conv1": (100, 3, 32, 32, 5, 1, 2),
    "quick conv2": (100, 32, 16, 32, 5, 1, 2),
    "quick conv3": (100, 32, 8, 64, 5, 1, 2),
    "resnet stage 1": (128, 16, 32, 16, 3, 1, 1),
    "resnet stage 2": (128, 32, 16, 32, 3, 1, 1),
    "resnet stage 3": (128, 64, 8, 64, 3, 1, 1),
    "resnet stride 2": (128, 16, 32, 32, 3, 2, 1),
    "resnet 1x1": (128, 16, 32, 32, 1, 2, 0),
}
Way = tuple[Callable[[], Any], Callable[[], Any]]


def windows_of(x: np.ndarray, kernel: int, stride: int, padding: int) -> np.ndarray:
    """(N, C, H', W', kernel, kernel), a view of x (N, C, H, W) or of a padded copy in the same memory order."""
    if padding:
        n, c, h, w = x.shape
        padded = np.zeros_like(x, shape=(n, c, h + 2 * padding, w + 2 * padding))
        padded[:, :, padding:-padding, padding:-padding] = x
        x = padded
    return sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]


def add_back(dwindows: np.ndarray, shape: tuple[int, ...], stride: int, padding: int) -> np.ndarray:
    """The transpose of windows_of."""
    (n, c, h, w), kernel, (rows, cols) = shape, dwindows.shape[-1], dwindows.shape[2:4]
    dx = np.zeros_like(dwindows, shape=(n, c, h + 2 * padding, w + 2 * padding, 1, 1))[..., 0, 0]
    for i in range(kernel):
        for j in range(kernel):
            dx[:, :, i : i + stride * rows : stride, j : j + stride * cols : stride] += dwindows[..., i, j]
    return dx[:, :, padding : padding + h, padding : padding + w]


def layer(x: np.ndarray, weight: np.ndarray, dy: np.ndarray, stride: int, padding: int) -> Way:
    out_channels, _, kernel, _ = weight.shape
    params = {"out_channels": out_channels, "kernel_size": kernel, "stride": stride, "padding": padding, "bias": False}
    probe = Probe(Conv2d, Example(params, [Spec(x.shape)]), dtype="float32")
    probe.layer.params.weight[...] = weight
    x, dy = (np.ascontiguousarray(a.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2) for a in (x, dy))

    def backward() -> Any:
        probe.zero_grad()
        return probe.backward([dy])[0], probe.layer.grads.weight

    return lambda: probe.forward([x])[0], backward


def nchw(x: np.ndarray, weight: np.ndarray, dy: np.ndarray, stride: int, padding: int) -> Way:
    (m, c, kernel, _), n = weight.shape, len(x)
    matrix, dy = weight.reshape(m, -1), dy.reshape(n, m, -1)

    def columns() -> np.ndarray:
        return windows_of(x, kernel, stride, padding).transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kernel**2, -1)

    def backward() -> Any:
        dweight = np.matmul(dy, columns().transpose(0, 2, 1)).sum(axis=0).reshape(weight.shape)
        rows = windows_of(x, kernel, stride, padding).shape[2]
        dwindows = (matrix.T @ dy).reshape(n, c, kernel, kernel, rows, -1).transpose(0, 1, 4, 5, 2, 3)
        return add_back(dwindows, x.shape, stride, padding), dweight

    return lambda: (matrix @ columns()).reshape(n, m, -1), backward


def nhwc(x: np.ndarray, weight: np.ndarray, dy: np.ndarray, stride: int, padding: int, samples: int = 4) -> Way:
    (m, c, kernel, _), n = weight.shape, len(x)
    matrix = weight.transpose(2, 3, 1, 0).reshape(-1, m)
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    dy = np.ascontiguousarray(dy.transpose(0, 2, 3, 1))

    def parts() -> Any:
        for start in range(0, n, samples):
            windows = windows_of(x[start : start + samples], kernel, stride, padding).transpose(0, 2, 3, 4, 5, 1)
            yield slice(start, start + samples), windows.shape, windows.reshape(-1, kernel**2 * c)

    def forward() -> Any:
        y = np.empty_like(dy)
        for part, _, columns in parts():
            np.matmul(columns, matrix, out=y[part].reshape(-1, m))
        return y.transpose(0, 3, 1, 2)

    def backward() -> Any:
        dx, dmatrix = np.empty_like(x), np.zeros_like(matrix)
        for part, shape, columns in parts():
            d = dy[part].reshape(-1, m)
            dmatrix += columns.T @ d
            dwindows = (d @ matrix.T).reshape(shape).transpose(0, 5, 1, 2, 3, 4)
            dx[part] = add_back(dwindows, x[part].shape, stride, padding)
        return dx, dmatrix.reshape(kernel, kernel, c, m).transpose(3, 2, 0, 1)

    return forward, backward


def tensordot(x: np.ndarray, weight: np.ndarray, dy: np.ndarray, stride: int, padding: int) -> Way:
    windows = windows_of(x, weight.shape[-1], stride, padding)

    def backward() -> Any:
        dwindows = np.tensordot(dy, weight, (1, 0)).transpose(0, 3, 1, 2, 4, 5)
        return add_back(dwindows, x.shape, stride, padding), np.tensordot(dy, windows, ((0, 2, 3), (0, 2, 3)))

    return lambda: np.tensordot(windows, weight, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2), backward


WAYS = (layer, nchw, nhwc, tensordot)
REPEATS = 9


def times(runs: list[Callable[[], Any]]) -> list[float]:
    """Median milliseconds of each; they take turns, so that all meet the same disturbances."""
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(REPEATS):
        for run, seconds in zip(runs, taken, strict=True):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    return [1000 * statistics.median(seconds) for seconds in taken]


def main(names: list[str]) -> None:
    rng = np.random.default_rng(0)
    print(f"{'ms forward + backward':24}" + "".join(f"{way.__name__:>18}" for way in WAYS))
    totals = np.zeros(len(WAYS))
    for name in names or CASES:
        n, c, size, m, kernel, stride, padding = CASES[name]
        positions = (size + 2 * padding - kernel) // stride + 1
        shapes = (n, c, size, size), (m, c, kernel, kernel), (n, m, positions, positions)
        arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        ways = [way(*arrays, stride, padding) for way in WAYS]
        y, (dx, dweight) = (run() for run in ways[0])
        for forward, backward in ways[1:]:
            got = (forward().reshape(y.shape), *backward())
            for a, b in zip(got, (y, dx, dweight), strict=True):
                assert np.abs(a - b).max() <= 1e-3 * np.abs(b).max(), f"{name}: the ways disagree"
        found = times([run for way in ways for run in way])
        totals += np.reshape(found, (-1, 2)).sum(axis=1)
        print(f"{name:24}" + "".join(f"{f:9.1f}{b:9.1f}" for f, b in zip(found[::2], found[1::2], strict=True)))
    print(f"{'sum':24}" + "".join(f"{total:18.1f}" for total in totals))
    print(f"{'ratio to the layer':24}" + "".join(f"{total / totals[0]:18.2f}" for total in totals))


if __name__ == "__main__":
    main(sys.argv[1:])
