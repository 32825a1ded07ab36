"""One row a method: the summary, and how it is written for people."""
