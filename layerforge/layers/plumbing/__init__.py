"""Plumbing: where numbers come from, and where they go."""

TITLE = "Plumbing"
