"""Continual personalization methods, one file each, and their registry."""
