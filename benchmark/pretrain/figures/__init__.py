"""What the embedded models are held to, measured on pictures never seen."""
