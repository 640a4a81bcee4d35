"""What plugin authors touch."""
