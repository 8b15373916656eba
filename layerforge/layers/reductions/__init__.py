"""Reductions: results along axes: sums, extremes, scans and softmax."""

TITLE = "Reductions"
