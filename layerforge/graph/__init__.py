"""From a configuration to a graph: names resolved, blocks expanded, gradients pruned, in-place uses proved."""
