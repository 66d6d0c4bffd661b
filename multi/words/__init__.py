"""From words to nodes."""
