"""The documentation: every block runs, every link leads somewhere, nothing is left out."""
