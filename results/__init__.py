"""From scores to verdicts: records, metrics, matrices, tables, plots and the report."""
