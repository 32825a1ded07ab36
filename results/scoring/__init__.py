"""From the embeddings of one stage to its rows of the long table: the formulas, and who is recognised."""
