"""Engines: faster ways to compute what the layer files say. rewrite.py picks them; the layer files do not know."""
