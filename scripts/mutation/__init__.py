"""Mutations of the layers' backward methods, for scripts/mutate.py: where they can be made, what they are, trials."""
