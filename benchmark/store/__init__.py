"""A run on disk: files that are whole or not there, stages, and what all runs share."""
