"""Simulations that show what intervals and verdicts promise, and a page of them."""
