"""Chooses: from what is asked and what is observed to steps."""
