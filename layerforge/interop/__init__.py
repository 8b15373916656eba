"""Models of other programs: read, proven layer by layer, and written back."""
