"""What the papers claim, declared, and what a run's figures say of it: supported, contradicted or undecided."""
