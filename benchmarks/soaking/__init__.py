"""The parts of the soak: what works, what it works on, what goes wrong, and what is looked at."""
