"""Concepts made of photos of your own: found, checked, described."""
