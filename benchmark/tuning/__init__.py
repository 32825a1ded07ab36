"""Settings chosen on a development sequence: as many trials for every method, one objective (docs/tuning.md)."""
