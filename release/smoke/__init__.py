"""What is tried with an installed wheel, with nothing of the repository beside it."""
