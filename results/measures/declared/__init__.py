"""The declarations of the metrics, by what they are about."""
