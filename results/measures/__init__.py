"""The numbers: declared metrics and figures, their formulas, from embeddings to R[t, k]."""
