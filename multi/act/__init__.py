"""Does the steps and yields events."""
