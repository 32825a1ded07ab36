"""Tests of the instrument: pictures and adapters that are known to be worse or better, scored as a run scores them."""
