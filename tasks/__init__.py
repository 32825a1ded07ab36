"""Concepts, sequences and prompts; the avatar world and the folders of photos that their pictures come from."""
