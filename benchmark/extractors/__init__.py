"""The models that judge pictures: each turns them into unit vectors."""
