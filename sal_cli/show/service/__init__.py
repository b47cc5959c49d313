"""What is shown of a service: its audit log, its tokens."""
