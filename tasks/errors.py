"""What a user can get wrong about sequences, concepts and pictures."""


class TaskError(ValueError):
    """A sequence, concept or picture cannot be had as asked: one line that says what, where and how to mend it."""
