"""The hub: run specifications, backbones, training, sampling, scoring and the command line."""
