"""The one error of this wing."""


class MethodError(ValueError):
    """A method, its settings or its registration is not as it must be. One line: what, where, how to mend."""
