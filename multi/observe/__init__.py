"""What is true of each node now."""
