"""The reference results that ship: which runs they are, how they are made, and whether one still comes out the same."""
