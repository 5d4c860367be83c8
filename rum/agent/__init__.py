"""The guest daemon: standard library only, one thread, one selectors loop."""
