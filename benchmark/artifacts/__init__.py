"""What a run has learned and drawn, taken away: exports that stock diffusers loads, pictures, results for others."""
