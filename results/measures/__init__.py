"""What is declared and derived: metrics, figures, R[t, k] and all that is read off it."""
