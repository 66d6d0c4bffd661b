"""What can be set, and the files that say it."""
