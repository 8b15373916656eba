"""Losses: one number to be made smaller."""

TITLE = "Losses"
