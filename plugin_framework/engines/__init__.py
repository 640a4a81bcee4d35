"""Where subtasks run."""
