"""What a run has left: the long table of scores, and its folder as it lies on disk."""
