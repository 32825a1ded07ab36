"""The frozen text-to-image models that are personalised: where they lie, how they are read."""
