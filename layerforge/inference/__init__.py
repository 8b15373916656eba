"""A trained net, used: opened from a run or a checkpoint, and its predictions."""
