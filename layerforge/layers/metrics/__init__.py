"""Metrics: values that are looked at and not learned from."""

TITLE = "Metrics"
