"""How each digit is drawn: the stroke models of Digits, and their curves.

A way of writing a digit is a list of control points in a box of [-100, 100] x [-100, 100] (x to the right, y down) and
the strokes of the pen, each a sequence of point numbers. A stroke is the Catmull-Rom spline through its points. Strokes
that meet share a point number, so that they still meet when the points are moved.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

SPACING = 0.068  # between two dots of ink along a stroke, in half heights: two thirds of a pixel at the usual size
MOST_POINTS = 11  # control points of the most complicated model

# digit, control points, strokes
WAYS = [
    (0, "20,-93 -33,-81 -56,0 -27,88 27,88 56,0 33,-81 -7,-99", "0 1 2 3 4 5 6 7"),
    (0, "-15,-87 -49,-17 -34,67 12,89 48,28 36,-63 -6,-91 -34,-67", "0 1 2 3 4 5 6 7"),
    (1, "6,-100 2,-35 -2,30 -6,100", "0 1 2 3"),
    (1, "-36,-52 10,-100 6,-30 6,35 4,100", "0 1; 1 2 3 4"),
    (1, "-34,-60 5,-100 4,0 4,96 -42,98 46,96", "0 1; 1 2 3; 4 3 5"),
    (2, "-50,-55 -30,-92 15,-100 48,-62 34,-10 -10,45 -56,95 0,93 60,93", "0 1 2 3 4 5 6; 6 7 8"),
    (2, "-48,-62 -10,-100 40,-75 32,-20 -12,50 -45,92 -62,72 -36,58 8,86 60,90", "0 1 2 3 4 5 6 7 8 9"),
    (3, "-50,-75 -5,-100 42,-70 30,-22 -12,-5 40,10 55,50 20,95 -25,100 -56,70", "0 1 2 3 4; 4 5 6 7 8 9"),
    (3, "-50,-93 0,-95 46,-95 18,-50 -8,-12 42,8 52,58 10,100 -50,80", "0 1 2; 2 3 4; 4 5 6 7 8"),
    (4, "-36,-100 -44,-40 -52,12 0,12 58,6 34,-75 30,10 26,100", "0 1 2; 2 3 4; 5 6 7"),
    (4, "22,-100 -18,-40 -60,26 0,28 60,24 22,0 18,100", "0 1 2; 2 3 4; 0 5 6"),
    (5, "52,-95 5,-95 -40,-93 -43,-55 -46,-14 0,-30 45,0 50,50 15,95 -30,98 -56,74", "0 1 2; 2 3 4; 4 5 6 7 8 9 10"),
    (5, "50,-90 -10,-95 -42,-55 -26,-15 20,-10 50,30 30,85 -15,100 -50,80", "0 1 2 3 4 5 6 7 8"),
    (6, "36,-95 -10,-60 -45,0 -45,60 -5,100 42,75 40,25 5,4 -30,22 -46,50", "0 1 2 3 4 5 6 7 8 9"),
    (6, "2,-100 -30,-30 -44,40 -20,94 25,95 45,55 20,18 -20,26 -42,58", "0 1 2 3 4 5 6 7 8"),
    (7, "-50,-90 0,-92 50,-94 20,-20 -15,100", "0 1 2; 2 3 4"),
    (7, "-50,-88 0,-92 52,-94 20,-10 -10,100 -28,2 42,-4", "0 1 2; 2 3 4; 5 6"),
    (7, "-52,-55 -46,-92 0,-90 50,-94 26,-20 12,100", "0 1; 1 2 3; 3 4 5"),
    (8, "40,-72 2,-100 -38,-70 -20,-30 22,10 46,56 0,100 -46,56 -20,10 22,-30", "0 1 2 3 4 5 6 7 8 9 0"),
    (8, "0,-8 -38,-30 -34,-80 0,-100 34,-80 38,-30 -45,20 -42,80 0,100 42,80 45,20", "0 1 2 3 4 5 0; 0 6 7 8 9 10 0"),
    (9, "42,-60 10,-100 -36,-82 -42,-36 -2,-8 34,-34 42,10 20,70 -24,100", "0 1 2 3 4 5 0; 0 6 7 8"),
    (9, "42,-62 5,-100 -40,-70 -32,-20 10,-12 40,-40 40,20 36,100", "0 1 2 3 4 5 0; 0 6 7"),
]


@dataclass(frozen=True)
class Model:
    """One way of writing a digit. `dots` (P, K) times the control points (K, 2) is where the ink lies (P, 2)."""

    digit: int
    points: np.ndarray
    dots: np.ndarray


def spline_weights(points: np.ndarray, stroke: list[int]) -> np.ndarray:
    """(P, K) weights of the control points in the dots along one stroke.

    Between p1 and p2, at 0 <= t < 1 (Catmull & Rom 1974):
        p(t) = ½ [(2 p1) + (p2 - p0) t + (2 p0 - 5 p1 + 4 p2 - p3) t² + (3 p1 - p0 - 3 p2 + p3) t³]
    where a missing neighbour at an end is the end itself.
    """
    rows = []
    for i in range(len(stroke) - 1):
        near = [stroke[max(i - 1, 0)], stroke[i], stroke[i + 1], stroke[min(i + 2, len(stroke) - 1)]]
        length = float(np.hypot(*(points[near[2]] - points[near[1]])))
        times = np.linspace(0, 1, max(2, round(length / SPACING)), endpoint=False)
        for t in np.append(times, 1.0) if i == len(stroke) - 2 else times:
            row = np.zeros(len(points))
            cubic = [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]
            np.add.at(row, near, 0.5 * np.array(cubic))
            rows.append(row)
    return np.array(rows)


@functools.cache
def models() -> list[Model]:
    """All the ways of writing the ten digits, in a box of [-1, 1] x [-1, 1]."""
    known = []
    for digit, places, strokes in WAYS:
        points = np.array([[int(n) for n in pair.split(",")] for pair in places.split()]) / 100
        parts = [spline_weights(points, [int(n) for n in stroke.split()]) for stroke in strokes.split(";")]
        known.append(Model(digit, points, np.concatenate(parts)))
    return known
