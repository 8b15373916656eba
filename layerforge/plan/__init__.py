"""From a graph and the shapes of its inputs to a plan: what runs, who computes it, what is fused and overwritten."""
