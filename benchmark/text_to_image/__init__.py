"""The domain: how concepts are learned, sampled and scored with text-to-image models."""
