"""How sure it is that one method differs from another: intervals, margins, verdicts."""
