"""Other clients as small programs, each in a process of its own. Run from the project's folder."""
