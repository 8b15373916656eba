"""Array libraries and the mathematics over them: backends, specs, random numbers, windows, threads."""
