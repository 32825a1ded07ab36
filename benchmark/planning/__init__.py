"""A run on paper: what is asked for, what must be made for it, and under which keys."""
