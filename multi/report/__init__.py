"""Events and views to text, JSON and exit codes."""
