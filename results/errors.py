"""The one error a person can mend: a run folder or a table that does not hold what the report needs."""


class ResultError(ValueError):
    """Says in one line what is wrong with results, where, and how to mend it."""
