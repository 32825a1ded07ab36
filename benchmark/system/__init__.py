"""The machine: devices, determinism, where results come from."""
