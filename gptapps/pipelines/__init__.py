"""The tasks, ready to call."""
