"""`rum doctor`: what a VM needs of this host, looked at without making anything."""
