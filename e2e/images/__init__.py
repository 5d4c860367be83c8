"""Cloud images for the end-to-end tests: built from Debian packages, without root, loop devices or mounts."""
