"""What commands show: text for people, JSON lines for programs."""
