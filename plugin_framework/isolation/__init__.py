"""Where hooks run: a process of their own, or a thread."""
