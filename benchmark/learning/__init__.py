"""The adapter that learns and the loop that trains it, for any domain."""
