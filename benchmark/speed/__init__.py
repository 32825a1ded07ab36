"""How fast learning and sampling are on this device, beside diffusers' own way."""
