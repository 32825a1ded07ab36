"""Who makes the stages of a run: this process, others beside it, or the nodes of a cluster."""
