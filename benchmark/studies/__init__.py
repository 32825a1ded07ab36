"""Experiments on the benchmark itself: tuning, and speed beside the usual way."""
