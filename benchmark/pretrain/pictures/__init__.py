"""The world's pictures: what is rendered to train on, what it shows, and how it is damaged."""
