"""Fit the polynomials of layerforge/arrays/erf.py, and print values of erf to hold them against.

    python scripts/fit_erf.py

needs mpmath. Remez's exchange algorithm: the polynomial of degree n whose weighted error touches ± its maximum in
turn at n + 2 points has the smallest maximum of all. The weight turns an error of r into the relative error of erf.
"""

from __future__ import annotations

import sys

from mpmath import cos, erf, erfc, log, lu_solve, matrix, mp, mpf, nstr, pi, polyval, sqrt

FITS = {"float64": (24, 6), "float32": (8, 4)}  # degree, and where erf is 1 but for rounding
POINTS = [i * 0.0625 for i in range(24)] + [1.5 + i * 0.25 for i in range(20)] + [1e-300, 1e-8, 1e-3, 0.01]
GRID, SWEEPS = 1500, 12


def r(a: mpf) -> mpf:
    """What is fitted: erfc a = exp(-a (1 + r(a)))."""
    return (-log(erfc(a)) / a if a else 2 / sqrt(pi)) - 1


def weight(a: mpf) -> mpf:
    """The derivative of log erf by r."""
    return a * erfc(a) / erf(a) if a else sqrt(pi) / 2


def chebyshev(count: int, end: int) -> list[mpf]:
    """`count` points from 0 to `end`, closer together towards both."""
    return [end * (1 - cos(pi * mpf(k) / (count - 1))) / 2 for k in range(count)]


def through(points: list[mpf]) -> list[mpf]:
    """The polynomial, highest power first, that errs by ±E in turn at the points."""
    n = len(points) - 2
    system, values = matrix(n + 2, n + 2), matrix(n + 2, 1)
    for i, a in enumerate(points):
        for j in range(n + 1):
            system[i, j] = a ** (n - j)
        system[i, n + 1], values[i] = (-1) ** i / weight(a), r(a)
    return list(lu_solve(system, values))[:-1]


def fit(degree: int, end: int) -> tuple[list[mpf], mpf]:
    """The coefficients, lowest power first, and the largest relative error of erf."""
    grid, points = chebyshev(GRID, end), chebyshev(degree + 2, end)
    weights, wanted = [weight(a) for a in grid], [r(a) for a in grid]
    for _ in range(SWEEPS):
        found = through(points)
        errors = [(polyval(found, a) - want) * w for a, want, w in zip(grid, wanted, weights, strict=True)]
        peaks: list[int] = []  # one for each run of errors of one sign
        for k, error in enumerate(errors):
            if not peaks or (error > 0) != (errors[peaks[-1]] > 0):
                peaks.append(k)
            elif abs(error) > abs(errors[peaks[-1]]):
                peaks[-1] = k
        while len(peaks) > degree + 2:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        if len(peaks) < degree + 2:
            sys.exit(f"degree {degree} on [0, {end}]: the errors change sign too rarely; take another degree")
        points = [grid[k] for k in peaks]
    return found[::-1], max(map(abs, errors))


def main() -> None:
    """Print everything as Python source."""
    mp.dps = 50
    for dtype, (degree, end) in FITS.items():
        coefficients, error = fit(degree, end)
        print(f"# {dtype}, a <= {end}: relative error {nstr(error, 2)}")
        print(*(f"    {float(c)!r}," for c in coefficients), sep="\n")
    print("# (x, erf x)")
    print(*(f"    ({float(x)!r}, {float(erf(mpf(x)))!r})," for x in POINTS), sep="\n")


if __name__ == "__main__":
    main()
