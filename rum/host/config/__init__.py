"""rum.toml: read, checked as a whole, described for editors and people."""
