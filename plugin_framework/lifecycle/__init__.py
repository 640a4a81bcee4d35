"""The life of one subtask: states, control, heartbeats, reports."""
