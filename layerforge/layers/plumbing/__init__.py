"""Plumbing: where values come from, and where they go."""

TITLE = "Plumbing"
