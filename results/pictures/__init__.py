"""Plots and grids of pictures."""
