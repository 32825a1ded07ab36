"""Results of anyone: packed to be handed in, checked as data that nobody vouches for, shown beside each other."""
