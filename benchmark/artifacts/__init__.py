"""What a run has learned, taken away: exports that stock diffusers loads, pictures for looking."""
