"""Everything a run has to say, in one folder and one page."""
