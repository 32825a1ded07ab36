"""What each method's own idea adds."""
