"""The same nodes for other supervisors."""
