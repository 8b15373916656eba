"""Training runs: the loop, the run directory, checkpoints, metrics. The function is `layerforge.train`."""
