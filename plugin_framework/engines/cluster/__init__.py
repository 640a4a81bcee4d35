"""What many machines need to run subtasks together, whatever hands them around."""
