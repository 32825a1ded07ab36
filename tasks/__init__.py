"""Concepts, sequences, prompts and the avatar world they are drawn from."""
