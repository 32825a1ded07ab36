"""A run carried out: run → cell → stage, resumable at any moment."""
