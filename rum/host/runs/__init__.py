"""Runs as the host sees them: started, read to their end, copied, shown again."""
